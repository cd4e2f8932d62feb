package lab

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// TestPlanIsDeterministic: the same seed is the same cluster.
func TestPlanIsDeterministic(t *testing.T) {
	for seed := range uint64(5) {
		a, b := newCluster(newPlan(seed)), newCluster(newPlan(seed))
		if !reflect.DeepEqual(a, b) {
			t.Errorf("seed %d gives two different clusters", seed)
		}
	}
}

// TestPlansAreSound looks at many seeds for networks that overlap and names and
// ports that collide.
func TestPlansAreSound(t *testing.T) {
	for seed := range uint64(2000) {
		p := newPlan(seed)
		c := newCluster(p)
		for _, group := range [][]netip.Prefix{
			{p.lan4, p.side4, p.cluster4, p.svc4, host(p.host4), host(p.quiet4), host(p.web4[0]), host(p.web4[1]), host(p.office4)},
			{p.lan6, p.side6, p.cluster6, p.svc6, host(p.host6), host(p.quiet6), host(p.web6[0]), host(p.web6[1]), host(p.office6)},
			{p.pods4, p.peerPods4},
			{p.pods6, p.peerPods6},
		} {
			checkApart(t, seed, group)
		}
		if !p.cluster4.Contains(p.pods4.Addr()) || !p.cluster4.Contains(p.peerPods4.Addr()) ||
			!p.cluster6.Contains(p.pods6.Addr()) || !p.cluster6.Contains(p.peerPods6.Addr()) {
			t.Errorf("seed %d: pod ranges outside of the cluster's", seed)
		}
		unique(t, seed, "name", p.clientNS, p.serverNS)
		unique(t, seed, "name", p.client, p.server, p.far)
		unique(t, seed, "name", p.node, p.peer)
		unique(t, seed, "name", p.agent, p.guard, p.hostFW)
		unique(t, seed, "team", p.clientTeam, p.serverTeam)
		unique(t, seed, "port", p.svcPort, p.podPort, p.altPort)
		unique(t, seed, "port", p.hostPort, p.offPort)
		checkPods(t, seed, c)
	}
}

func checkApart(t *testing.T, seed uint64, group []netip.Prefix) {
	t.Helper()
	for i, a := range group {
		for _, b := range group[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("seed %d: %s and %s overlap", seed, a, b)
			}
		}
	}
}

func checkPods(t *testing.T, seed uint64, c *cluster) {
	t.Helper()
	var v4, v6 []netip.Addr
	var names, veths []string
	for _, x := range c.pods {
		names = append(names, x.ns+"/"+x.name)
		if !x.hostNetwork {
			v4, v6 = append(v4, x.ip4), append(v6, x.ip6)
		}
		if x.hostVeth != "" {
			veths = append(veths, x.hostVeth)
		}
	}
	unique(t, seed, "address", v4...)
	unique(t, seed, "address", v6...)
	unique(t, seed, "pod", names...)
	unique(t, seed, "veth", veths...)
	for _, x := range []string{c.p.bridge, veths[0]} {
		if len(x) > 15 {
			t.Errorf("seed %d: device name %q is too long", seed, x)
		}
	}
	// The dead address of stale-endpoint must not be anybody's.
	unique(t, seed, "address", append(v4, nth(c.p.pods4, 230), nth(c.p.pods4, 1))...)
}

func unique[T comparable](t *testing.T, seed uint64, what string, all ...T) {
	t.Helper()
	seen := map[T]bool{}
	for _, x := range all {
		if seen[x] {
			t.Errorf("seed %d: %s %v is used twice", seed, what, x)
		}
		seen[x] = true
	}
}

// TestSeedsDiffer: nothing of the readable default shows in another seed.
func TestSeedsDiffer(t *testing.T) {
	a := newPlan(0)
	for seed := uint64(1); seed < 200; seed++ {
		b := newPlan(seed)
		for _, x := range [][2]any{
			{a.clientNS, b.clientNS}, {a.client, b.client}, {a.serverNS, b.serverNS}, {a.server, b.server},
			{a.node, b.node}, {a.lan4, b.lan4}, {a.host4, b.host4}, {a.svcPort, b.svcPort}, {a.guard, b.guard},
		} {
			if x[0] == x[1] {
				t.Errorf("seed %d has %v of seed 0", seed, x[0])
			}
		}
	}
}

func TestFaultsAreWellFormed(t *testing.T) {
	components := "cni policy kube-proxy service egress dns node application external none"
	seen := map[string]bool{}
	for _, f := range Faults() {
		if seen[f.Name] {
			t.Errorf("%s is listed twice", f.Name)
		}
		seen[f.Name] = true
		if f.Name != strings.ToLower(f.Name) || strings.ContainsAny(f.Name, " _.") {
			t.Errorf("%q is not in kebab case", f.Name)
		}
		if f.Title == "" || f.Description == "" || f.Code == "" || f.Visible == 0 || len(f.Protocols) == 0 || f.arrange == nil {
			t.Errorf("%s lacks something: %+v", f.Name, f)
		}
		if !strings.Contains(components, f.Component) {
			t.Errorf("%s blames %q", f.Name, f.Component)
		}
		if f.Healthy != (f.Code == "ok") || f.Healthy != (f.Component == "none") {
			t.Errorf("%s is not sure whether it is healthy", f.Name)
		}
		if got, ok := FindFault(f.Name); !ok || got.Code != f.Code {
			t.Errorf("%s is not found by its name", f.Name)
		}
	}
	if _, ok := FindFault("no-such"); ok {
		t.Error("a fault that does not exist is found")
	}
}
