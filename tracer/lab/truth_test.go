package lab

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// evidence reads a number from the kernel that rises where, and only where, the
// packets die that a fault is about.
type evidence func(t *testing.T, l *Lab) uint64

// stat is a counter of a namespace's /proc/net/snmp or netstat.
func stat(of func(*Lab) *space, group, name string) evidence {
	return func(t *testing.T, l *Lab) uint64 {
		t.Helper()
		s := of(l)
		for _, file := range []string{"snmp", "netstat"} {
			if v, ok := readStat(t, fmt.Sprintf("/proc/%d/net/%s", s.cmd.Process.Pid, file), group, name); ok {
				return v
			}
		}
		t.Fatalf("no counter %s %s", group, name)
		return 0
	}
}

// readStat looks a counter up in pairs of lines, names above values.
func readStat(t *testing.T, path, group, name string) (uint64, bool) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		names := strings.Fields(lines.Text())
		lines.Scan()
		values := strings.Fields(lines.Text())
		for i := range names {
			if names[0] == group+":" && names[i] == name {
				v, err := strconv.ParseUint(values[i], 10, 64)
				return v, err == nil
			}
		}
	}
	return 0, false
}

func onNode(l *Lab) *space             { return l.node }
func onOutside(l *Lab) *space          { return l.ext }
func inClient(l *Lab) *space           { return l.client().space }
func inServer(l *Lab) *space           { return l.server(0).space }
func inServer2(l *Lab) *space          { return l.server(1).space }
func named(x string) func(*Lab) string { return func(*Lab) string { return x } }

func agentTable(l *Lab) string { return l.p.agent }
func guardTable(l *Lab) string { return l.p.guard }
func hostTable(l *Lab) string  { return l.p.hostFW }

// denied is what the drop and reject rules of a table have counted.
func denied(of func(*Lab) *space, family nftables.TableFamily, table func(*Lab) string) evidence {
	return func(t *testing.T, l *Lab) uint64 {
		t.Helper()
		r, err := of(l).ruleset()
		if err != nil {
			t.Fatal(err)
		}
		chains, err := r.conn.ListChainsOfTableFamily(family)
		if err != nil {
			t.Fatal(err)
		}
		var sum uint64
		for _, c := range chains {
			if c.Table.Name != table(l) {
				continue
			}
			rules, err := r.conn.GetRules(c.Table, c)
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range rules {
				sum += denials(rule)
			}
		}
		return sum
	}
}

func denials(r *nftables.Rule) uint64 {
	var packets uint64
	denies := false
	for _, e := range r.Exprs {
		switch x := e.(type) {
		case *expr.Counter:
			packets = x.Packets
		case *expr.Verdict:
			denies = denies || x.Kind == expr.VerdictDrop
		case *expr.Reject:
			denies = true
		}
	}
	if !denies {
		return 0
	}
	return packets
}

// unanswered counts the node's neighbour entries on a device that failed.
func unanswered(dev func(*Lab) string, a func(*Lab) netip.Addr) evidence {
	return func(t *testing.T, l *Lab) uint64 {
		t.Helper()
		link, err := l.node.nl.LinkByName(dev(l))
		if err != nil {
			t.Fatal(err)
		}
		all, err := l.node.nl.NeighList(link.Attrs().Index, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			if got, _ := netip.AddrFromSlice(n.IP.To4()); got == a(l) && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
				return 1
			}
		}
		return 0
	}
}

func theBridge(l *Lab) string { return l.p.bridge }

func sum(all ...evidence) evidence {
	return func(t *testing.T, l *Lab) uint64 {
		t.Helper()
		var n uint64
		for _, e := range all {
			n += e(t, l)
		}
		return n
	}
}

// proofs says for each fault where the packets must die. The faults that are
// not here die where nothing counts (tc, hairpin, blackhole and prohibit, the
// policy of a chain, a reject without counter); for those the difference that
// Undo makes has to do.
func proofs() map[string]evidence {
	inet := nftables.TableFamilyINet
	resets := sum(stat(inServer, "Tcp", "OutRsts"), stat(inServer2, "Tcp", "OutRsts"))
	byPolicy := denied(onNode, inet, agentTable)
	return map[string]evidence{
		"healthy":                denied(onNode, inet, guardTable),
		"policy-ingress":         byPolicy,
		"policy-default-deny":    byPolicy,
		"policy-egress":          byPolicy,
		"policy-wrong-port":      byPolicy,
		"dns-policy":             byPolicy,
		"dns-upstream-policy":    byPolicy,
		"dns-upstream-silent":    denied(onOutside, inet, named("filter")),
		"dns-upstream-refused":   stat(onOutside, "Udp", "NoPorts"),
		"dns-tcp-refused":        stat(func(l *Lab) *space { return l.dnsPod().space }, "Tcp", "OutRsts"),
		"host-source":            byPolicy,
		"foreign-drop":           denied(onNode, inet, guardTable),
		"reply-drop":             denied(onNode, inet, guardTable),
		"firewall-reject":        denied(onNode, inet, hostTable),
		"no-endpoints":           denied(onNode, nftables.TableFamilyIPv4, named("filter")),
		"mtu-blackhole":          denied(onNode, inet, hostTable),
		"host-port-flushed":      denied(onNode, inet, hostTable),
		"external-silent":        denied(onOutside, inet, named("filter")),
		"invalid-drop-one-way":   denied(onNode, nftables.TableFamilyIPv4, named("filter")),
		"quiet-forgotten":        stat(onOutside, "Tcp", "OutRsts"),
		"overlay-wrong-checksum": stat(func(l *Lab) *space { return l.peer }, "Udp", "InCsumErrors"),
		"no-service-rules":       stat(onOutside, "IpExt", "InNoRoutes"),
		"masquerade-missing":     stat(onOutside, "Ip", "OutNoRoutes"),
		"no-default-route":       stat(onNode, "IpExt", "InNoRoutes"),
		"ip-forward-off":         stat(onNode, "Ip", "InAddrErrors"),
		"rp-filter":              stat(onNode, "TcpExt", "IPReversePathFilter"),
		"mtu-df":                 stat(onNode, "Ip", "FragFails"),
		"pod-no-default-route":   stat(inServer, "Ip", "OutNoRoutes"),
		"bridge-nf-off":          stat(inClient, "Tcp", "OutRsts"),
		"external-refused":       stat(onOutside, "Tcp", "OutRsts"),
		"wrong-target-port":      resets,
		"not-listening":          resets,
		"localhost-only":         resets,
		"stale-endpoint":         unanswered(theBridge, func(l *Lab) netip.Addr { return l.api().stale[0] }),
		"veth-down":              unanswered(theBridge, func(l *Lab) netip.Addr { return l.server(0).ip4 }),
		"gateway-dead":           unanswered(func(*Lab) string { return uplink }, func(l *Lab) netip.Addr { return l.p.dead4 }),
	}
}

// TestPacketsDieWhereTheyShould holds the faults against the kernel's counters:
// a symptom alone could have another cause than the one that is claimed.
func TestPacketsDieWhereTheyShould(t *testing.T) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, labsAtOnce)
	for name, read := range proofs() {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(name, func(t *testing.T) { showProof(t, name, read) })
		})
	}
	wg.Wait()
}

func showProof(t *testing.T, name string, read evidence) {
	t.Helper()
	l := newLab(t, Options{Seed: 11})
	s, err := l.Break(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, l)
	traffic(t, l, s.Symptoms...)
	if after := read(t, l); after <= before {
		t.Errorf("the evidence went from %d to %d", before, after)
	}
}

// TestNoiseIsThere: the noise that the traffic brings along is real, and in the
// healthy lab exactly one packet of the flow is lost.
func TestNoiseIsThere(t *testing.T) {
	l := newLab(t, Options{Seed: 12})
	if _, err := l.Break(t.Context(), "healthy"); err != nil {
		t.Fatal(err)
	}
	traffic(t, l, OK)
	baseline := func(l *Lab) string { return l.p.guard + "-baseline" }
	if n := denied(onNode, nftables.TableFamilyINet, baseline)(t, l); n == 0 {
		t.Error("no packet of noise was dropped")
	}
	if n := denied(onNode, nftables.TableFamilyINet, guardTable)(t, l); n != 1 {
		t.Errorf("%d packets of the flow were dropped, want 1", n)
	}
	if n := stat(func(l *Lab) *space { return l.dnsPod().space }, "Udp", "NoPorts")(t, l); n == 0 {
		t.Error("no noise came to a closed port")
	}
}
