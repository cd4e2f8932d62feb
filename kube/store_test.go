package kube

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/tracer"
)

var ip7 = netip.MustParseAddr("10.0.0.7")

func ipPod(name string, created time.Time, ips ...string) *Pod {
	p := &Pod{Meta: Meta{Namespace: "a", Name: name}, Phase: "Running", Node: "n1", Created: created}
	for _, ip := range ips {
		p.IPs = appendAddr(p.IPs, ip)
	}
	return p
}

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func put(s *Store, o object, t time.Time) {
	s.put(op{kind: kindOf(o), key: o.Key(), obj: o, at: t})
	s.flush()
}

func del(s *Store, o object, t time.Time) {
	s.put(op{kind: kindOf(o), key: o.Key(), at: t})
	s.flush()
}

// TestReusedIP is the case the history exists for: one address, two pods, one
// after the other.
func TestReusedIP(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	old, young := ipPod("old", at(0), "10.0.0.7"), ipPod("young", at(15), "10.0.0.7")
	put(st, old, at(1))
	del(st, old, at(20))
	put(st, young, at(25))
	tests := []struct {
		at   int
		want string
	}{
		{-100, ""}, // before the trace: the oldest state, where nobody had it
		{1, "old"},
		{19, "old"},
		{20, "young"}, // gone, and the next one existed although not reported yet
		{24, "young"},
		{25, "young"},
		{1000, "young"},
	}
	for _, tt := range tests {
		got := ""
		if p, ok := st.At(at(tt.at)).PodByIP(ip7); ok {
			got = p.Name
		}
		if got != tt.want {
			t.Errorf("at %d s: got %q, want %q", tt.at, got, tt.want)
		}
	}
}

func TestReportedLateNeedsThePodToExist(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	put(st, ipPod("late", at(10), "10.0.0.7"), at(12))
	if p, ok := st.At(at(9)).PodByIP(ip7); ok {
		t.Errorf("at 9 s nobody can have the address, got %s", p.Name)
	}
	if _, ok := st.At(at(11)).PodByIP(ip7); !ok {
		t.Error("at 11 s the pod existed")
	}
}

func TestFormerPod(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	p := ipPod("gone", at(0), "10.0.0.7", "fd00::7")
	put(st, p, at(1))
	if _, ok := st.Current().FormerPod(ip7); ok {
		t.Error("a living pod is not former")
	}
	ended := *p
	ended.Phase = "Succeeded"
	put(st, &ended, at(2))
	f, ok := st.Current().FormerPod(ip7)
	if !ok || f.Pod.Name != "gone" || !f.Gone.Equal(at(2)) {
		t.Errorf("got %+v (%v), want the ended pod at 2 s", f, ok)
	}
	put(st, ipPod("next", at(3), "10.0.0.7"), at(3))
	if _, ok := st.Current().FormerPod(ip7); ok {
		t.Error("the address is in use again")
	}
	if _, ok := st.Current().FormerPod(netip.MustParseAddr("fd00::7")); !ok {
		t.Error("the IPv6 address is still nobody's")
	}
	put(st, ipPod("other", at(0), "10.0.0.8"), at(3).Add(historyAge))
	del(st, ipPod("other", at(0), "10.0.0.8"), at(3).Add(historyAge))
	if _, ok := st.Current().FormerPod(netip.MustParseAddr("fd00::7")); ok {
		t.Error("former pods are forgotten after the history's age")
	}
}

func TestFormerPodKeepsUpdatedPod(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	p := ipPod("p", at(0), "10.0.0.7")
	put(st, p, at(1))
	relabelled := *p
	relabelled.Labels = map[string]string{"a": "b"}
	put(st, &relabelled, at(2))
	if _, ok := st.Current().FormerPod(ip7); ok {
		t.Error("a pod that only changed its labels is not former")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	for i := range historyChanges + 100 {
		put(st, ipPod("p", at(i), "10.0.0.7"), epoch.Add(time.Duration(i)*time.Millisecond))
	}
	if n := len(st.history); n > historyChanges+1 {
		t.Errorf("history holds %d snapshots", n)
	}
	put(st, ipPod("q", at(0), "10.0.0.8"), epoch.Add(time.Hour))
	if n := len(st.history); n > 2 {
		t.Errorf("after an hour history holds %d snapshots", n)
	}
	if got := st.At(at(0)); got == nil {
		t.Error("the oldest state must still answer")
	}
}

func TestUnchangedObjectsMakeNoSnapshot(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	p := ipPod("p", at(0), "10.0.0.7")
	p.rv = "1"
	put(st, p, at(1))
	before := st.Current()
	again := *ipPod("p", at(0), "10.0.0.7")
	again.rv = "2" // a status update that podpath does not look at
	put(st, &again, at(2))
	if st.Current() != before {
		t.Error("nothing changed that matters")
	}
}

func TestSnapshotsAreImmutable(t *testing.T) {
	st := NewStore(shop(t))
	first := st.Current()
	text := dumpText(t, first)
	for _, o := range first.objects() {
		del(st, o, at(1))
	}
	if len(st.Current().objects()) != 0 {
		t.Fatal("not everything was deleted")
	}
	if dumpText(t, first) != text {
		t.Error("the first snapshot changed")
	}
	e := first.Endpoint(netip.MustParseAddr("10.96.0.20"), 80, 6)
	if e.Name != "api" {
		t.Errorf("look-ups in the first snapshot changed: got %+v", e)
	}
	e = st.Current().Endpoint(netip.MustParseAddr("10.96.0.20"), 80, 6)
	if e.Name != "" {
		t.Errorf("look-ups in the last snapshot: got %+v", e)
	}
}

func TestDuplicateIPs(t *testing.T) {
	going := ipPod("going", at(5), "10.0.0.7")
	going.Deleting = at(9)
	ready := ipPod("ready", at(1), "10.0.0.7")
	ready.Ready = true
	host := ipPod("host", at(1), "10.0.0.7")
	host.HostNetwork = true
	s := newSnapshot([]object{going, ready, host, ipPod("single", at(1), "10.0.0.8")}, at(0))
	if p, _ := s.PodByIP(ip7); p != ready {
		t.Errorf("got %v, want the pod that stays", p)
	}
	d := s.DuplicateIPs()
	if len(d) != 1 || len(d[ip7]) != 2 {
		t.Errorf("got %v, want two pods for one address", d)
	}
}

func TestSubscribeMergesWhatWasMissed(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	changes, stop := st.Subscribe()
	put(st, ipPod("p", at(0), "10.0.0.7"), at(1))
	put(st, &Node{Meta: Meta{Name: "n1"}}, at(2))
	c := <-changes
	if !c.Pods || !c.Nodes || c.Services || c.Snapshot != st.Current() {
		t.Errorf("got %+v, want pods and nodes with the newest snapshot", c)
	}
	stop()
	stop()
	if _, open := <-changes; open {
		t.Error("the channel must be closed")
	}
	put(st, &Node{Meta: Meta{Name: "n2"}}, at(3)) // must not reach the closed channel
}

func TestHostPodNeedsOneCandidate(t *testing.T) {
	host := func(name string) *Pod {
		p := ipPod(name, at(0), "10.0.0.1")
		p.HostNetwork = true
		p.Ports = append(p.Ports, containerPorts(fakePodWithPort(9100))...)
		return p
	}
	node := &Node{Meta: Meta{Name: "n1"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	one := newSnapshot([]object{node, host("a")}, at(0))
	if e := one.Endpoint(netip.MustParseAddr("10.0.0.1"), 9100, 6); e.Name != "a" || !e.HostNetwork {
		t.Errorf("got %+v, want pod a", e)
	}
	two := newSnapshot([]object{node, host("a"), host("b")}, at(0))
	if e := two.Endpoint(netip.MustParseAddr("10.0.0.1"), 9100, 6); e.Name != "n1" {
		t.Errorf("got %+v, want the node", e)
	}
}

// A pod with a hostPort is found by its node's address, if it is there and is the
// only one.
func TestPublishedBy(t *testing.T) {
	publisher := func(name, hostIP string, with func(*Pod)) *Pod {
		p := ipPod(name, at(0), "10.244.1.7")
		p.Ports = containerPorts(&corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80, HostPort: 9000, HostIP: hostIP}}}}}})
		if with != nil {
			with(p)
		}
		return p
	}
	node := &Node{Meta: Meta{Name: "n1"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}}
	tests := map[string]struct {
		pods  []object
		ip    string
		port  uint16
		proto uint8
		want  string
	}{
		"every address":               {[]object{publisher("a", "", nil)}, "10.0.0.1", 9000, 6, "a"},
		"every address of a family":   {[]object{publisher("a", "0.0.0.0", nil)}, "10.0.0.1", 9000, 6, "a"},
		"this address":                {[]object{publisher("a", "10.0.0.1", nil)}, "10.0.0.1", 9000, 6, "a"},
		"another address":             {[]object{publisher("a", "127.0.0.1", nil)}, "10.0.0.1", 9000, 6, ""},
		"the other family":            {[]object{publisher("a", "::", nil)}, "10.0.0.1", 9000, 6, ""},
		"a family the pod has not":    {[]object{publisher("a", "", nil)}, "fd00::1", 9000, 6, ""},
		"the container's port":        {[]object{publisher("a", "", nil)}, "10.0.0.1", 80, 6, ""},
		"another protocol":            {[]object{publisher("a", "", nil)}, "10.0.0.1", 9000, 17, ""},
		"no node's address":           {[]object{publisher("a", "", nil)}, "10.0.0.2", 9000, 6, ""},
		"a pod of another node":       {[]object{publisher("a", "", func(p *Pod) { p.Node = "n2" })}, "10.0.0.1", 9000, 6, ""},
		"a pod of the node's network": {[]object{publisher("a", "", func(p *Pod) { p.HostNetwork = true })}, "10.0.0.1", 9000, 6, ""},
		"a pod that has ended":        {[]object{publisher("a", "", func(p *Pod) { p.Phase = "Failed" })}, "10.0.0.1", 9000, 6, ""},
		"a pod being deleted":         {[]object{publisher("a", "", func(p *Pod) { p.Deleting = at(1) })}, "10.0.0.1", 9000, 6, ""},
		"the heir of one":             {[]object{publisher("a", "", func(p *Pod) { p.Deleting = at(1) }), publisher("b", "", nil)}, "10.0.0.1", 9000, 6, "b"},
		"two of them":                 {[]object{publisher("a", "", nil), publisher("b", "", nil)}, "10.0.0.1", 9000, 6, ""},
		"two, by address":             {[]object{publisher("a", "10.0.0.1", nil), publisher("b", "127.0.0.1", nil)}, "10.0.0.1", 9000, 6, "a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSnapshot(append(tt.pods, node), at(0))
			got := ""
			if p, ok := s.PublishedBy(netip.MustParseAddr(tt.ip), tt.port, tt.proto); ok {
				got = p.Name
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A pod that is gone, or that does not want the port any more, publishes nothing.
func TestPublishedNoMore(t *testing.T) {
	node := netip.MustParseAddr("10.0.0.1")
	with := func(port uint16) *Pod {
		p := ipPod("a", at(0), "10.244.1.7")
		p.Ports = []tracer.ContainerPort{{Port: 80, Proto: 6, HostPort: port}}
		return p
	}
	st := NewStore(newSnapshot([]object{&Node{Meta: Meta{Name: "n1"}, IPs: []netip.Addr{node}}, with(9000)}, at(0)))
	put(st, with(9001), at(5))
	if _, ok := st.At(at(5)).PublishedBy(node, 9000, 6); ok {
		t.Error("the old port is still published")
	}
	if _, ok := st.At(at(5)).PublishedBy(node, 9001, 6); !ok {
		t.Error("the new port is not published")
	}
}

// A pod that was known before it had its address had it all the same, also where
// the API server's clock is ahead of this one's.
func TestReportedLateByAnotherClock(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	put(st, ipPod("young", at(500)), at(10))
	put(st, ipPod("young", at(500), "10.0.0.7"), at(20))
	if p, ok := st.At(at(15)).PodByIP(ip7); !ok || p.Name != "young" {
		t.Errorf("got %v", p)
	}
	if p, ok := st.At(at(9)).PodByIP(ip7); ok {
		t.Errorf("before it was known: %v", p)
	}
}

// stepped is a time of this process with another wall clock, as it is after a step:
// only the wall part of the value differs (time.Time: wall, monotonic, location).
func stepped(at time.Time, by time.Duration) time.Time {
	wall := at.Add(by)
	(*struct{ wall, ext uint64 })(unsafe.Pointer(&wall)).ext = (*struct{ wall, ext uint64 })(unsafe.Pointer(&at)).ext
	return wall
}

// What the cluster was at a moment does not depend on how the wall clock was set
// since.
func TestClockSteps(t *testing.T) {
	began := time.Now()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		st := NewStore(newSnapshot(nil, began))
		old, young := ipPod("old", at(0), "10.0.0.7"), ipPod("young", at(0), "10.0.0.7")
		put(st, old, began.Add(time.Second))
		put(st, ipPod("other", at(0)), stepped(began.Add(2*time.Second), step))
		del(st, old, stepped(began.Add(3*time.Second), step))
		put(st, young, stepped(began.Add(4*time.Second), step))
		for second, want := range map[int]string{1: "old", 2: "old", 5: "young"} {
			moment := began.Add(time.Duration(second)*time.Second + 500*time.Millisecond)
			if p, ok := st.At(moment).PodByIP(ip7); !ok || p.Name != want {
				t.Errorf("clock set by %s, after %d s: got %v, want %s", step, second, p, want)
			}
		}
		if n := len(st.history); n != 5 {
			t.Errorf("clock set by %s: %d snapshots are kept, want 5", step, n)
		}
	}
}
