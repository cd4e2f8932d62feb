package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/session"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// What is left of a range, with its holes, is the range, and nothing twice.
func TestWithout(t *testing.T) {
	for _, tt := range []struct {
		all   string
		holes []netip.Prefix
	}{
		{"0.0.0.0/0", nil},
		{"0.0.0.0/0", prefixes("10.244.0.0/16", "10.96.0.0/12")},
		{"0.0.0.0/0", prefixes("10.244.1.0/24", "10.244.2.0/24", "192.0.2.7/32", "fd00::/8")},
		{"::/0", prefixes("fd00:10:244::/56", "10.0.0.0/8", "fd00::1/128")},
		{"0.0.0.0/0", prefixes("0.0.0.0/0")},
	} {
		all := netip.MustParsePrefix(tt.all)
		rest, ok := without(nil, all, tt.holes)
		if !ok {
			t.Errorf("%s without %s is too much", tt.all, tt.holes)
		}
		sum := new(big.Int)
		add := func(p netip.Prefix) { sum.Add(sum, new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))) }
		for i, p := range rest {
			add(p)
			if p != p.Masked() {
				t.Errorf("%s has bits beyond its length", p)
			}
			if slices.ContainsFunc(slices.Concat(tt.holes, rest[:i]), func(o netip.Prefix) bool { return o.Overlaps(p) }) {
				t.Errorf("%s overlaps a hole or another", p)
			}
		}
		for i, h := range tt.holes {
			if h.Overlaps(all) && !slices.ContainsFunc(tt.holes[:i], func(o netip.Prefix) bool { return o.Overlaps(h) }) {
				add(h)
			}
		}
		if want := new(big.Int).Lsh(big.NewInt(1), uint(all.Addr().BitLen())); sum.Cmp(want) != 0 {
			t.Errorf("%s without %s: %d of %d addresses", tt.all, tt.holes, sum, want)
		}
	}
}

const dnsDump = `{"kind":"List","apiVersion":"v1","items":[
 {"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDRs":["10.244.1.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}},
 {"apiVersion":"v1","kind":"Node","metadata":{"name":"n2"},"spec":{"podCIDRs":["10.244.2.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.2"}]}},
 {"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},"spec":{"nodeName":"n1","containers":[{"name":"c"}]},"status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"},{"ip":"fd00::7"}]}},
 {"apiVersion":"v1","kind":"Pod","metadata":{"name":"far","namespace":"shop"},"spec":{"nodeName":"n2","containers":[{"name":"c"}]},"status":{"phase":"Running","podIP":"10.244.2.7"}},
 {"apiVersion":"v1","kind":"Pod","metadata":{"name":"coredns-1","namespace":"kube-system","labels":{"k8s-app":"kube-dns"}},"spec":{"nodeName":"n1","containers":[{"name":"c"}]},"status":{"phase":"Running","podIP":"10.244.1.53"}},
 {"apiVersion":"v1","kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"},"spec":{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],"selector":{"k8s-app":"kube-dns"},"ports":[{"name":"dns","port":53,"protocol":"UDP"}]}},
 {"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.99","clusterIPs":["10.96.0.99","fd00:96::99"],"selector":{"app":"web"},"ports":[{"port":80,"protocol":"TCP"}]}},
 {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"kube-dns-1","namespace":"kube-system","labels":{"kubernetes.io/service-name":"kube-dns"}},
  "ports":[{"name":"dns","port":53,"protocol":"UDP"}],"endpoints":[{"addresses":["10.244.1.53"],"nodeName":"n1","conditions":{"ready":true},"targetRef":{"kind":"Pod","namespace":"kube-system","name":"coredns-1"}}]}
]}`

// Only who asks the cluster's DNS has its pods' own lookups selected, and only
// those of this node.
func TestUpstreamSelection(t *testing.T) {
	view, _, err := kube.ReadDump(strings.NewReader(dnsDump), "dump")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, to, node string
		want           bool
	}{
		{"shop/pod/web", "kube-system/svc/kube-dns:53", "n1", true},
		{"shop/pod/web", "10.96.0.10:53", "n1", true},
		{"shop/pod/web", "kube-system/pod/coredns-1", "n1", true},
		{"shop/pod/far", "kube-system/svc/kube-dns:53", "n2", false}, // its node is another
		{"shop/pod/web", "shop/svc/web", "n1", false},
		{"any", "kube-system/svc/kube-dns:53", "n1", false}, // selected as it is
		{"shop/pod/web", "internet", "n1", false},
	} {
		e, err := parseEndpoints(tt.from, tt.to, "", "shop", tt.node)
		if err != nil {
			t.Fatal(err)
		}
		a, err := e.resolve(t.Context(), view)
		if err != nil {
			if tt.want {
				t.Errorf("%s to %s: %v", tt.from, tt.to, err)
			}
			continue
		}
		s := a.selected()
		dns, outside := netip.MustParsePrefix("10.244.1.53/32"), netip.MustParseAddr("192.0.2.53")
		holds := func(list []netip.Prefix, x netip.Addr) bool {
			return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(x) })
		}
		if got := slices.Contains(s.A, dns) && holds(s.B, outside); got != tt.want {
			t.Errorf("%s to %s on %s: the DNS pod's lookups are selected: %v, want %v (%v)", tt.from, tt.to, tt.node, got, tt.want, selectionSize(s))
		}
		if tt.want && (holds(s.B, netip.MustParseAddr("10.244.1.9")) || holds(s.B, netip.MustParseAddr("10.96.0.50"))) {
			t.Errorf("%s to %s: the cluster's own addresses are selected", tt.from, tt.to)
		}
		if a.watchesWorld() {
			t.Error("more devices are watched")
		}
	}
}

// scattered is a cluster with two families of which one has its pods' addresses in
// small blocks, all over a range that no Node tells of.
func scattered(t *testing.T, nodes int) *kube.Snapshot {
	t.Helper()
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(strings.TrimSpace(dnsDump), "]}"))
	for i := range nodes {
		fmt.Fprintf(&b, `,{"apiVersion":"v1","kind":"Node","metadata":{"name":"m%d"},"spec":{"podCIDRs":["10.%d.%d.0/24"]},"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.9"}]}}`, i, 64+i/256, i%256)
		for pod := range 2 {
			fmt.Fprintf(&b, `,{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p%[1]d-%[2]d","namespace":"shop"},"spec":{"nodeName":"m%[1]d","containers":[{"name":"c"}]},"status":{"phase":"Running","podIPs":[{"ip":"10.%[3]d.%[4]d.%[5]d"},{"ip":"fd00:10:244:%[6]x:%[7]x::%[8]x"}]}}`,
				i, pod, 64+i/256, i%256, 5+pod, i*40503%65536, i*30011%65536, i%977*64+pod*7+3)
		}
	}
	b.WriteString("]}")
	view, _, err := kube.ReadDump(strings.NewReader(b.String()), "dump")
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// Where everything outside takes too many prefixes, the lookup itself is selected
// all the same, and that the rest is not is said.
func TestUpstreamHasBounds(t *testing.T) {
	for _, tt := range []struct {
		nodes   int
		tooMany bool
	}{{5, false}, {250, true}, {3000, true}} {
		e, err := parseEndpoints("shop/pod/web", "kube-system/svc/kube-dns:53", "", "shop", "n1")
		if err != nil {
			t.Fatal(err)
		}
		a, err := e.resolve(t.Context(), scattered(t, tt.nodes))
		if err != nil {
			t.Fatal(err)
		}
		s := a.selected()
		if a.upstream.tooMany != tt.tooMany || (len(a.upstream.pods) == 0) != tt.tooMany {
			t.Errorf("%d nodes: %d DNS pods are followed, too many: %v", tt.nodes, len(a.upstream.pods), a.upstream.tooMany)
		}
		if len(s.B) > maxOutside+2 || !slices.Contains(s.A, netip.MustParsePrefix("10.244.1.7/32")) {
			t.Errorf("%d nodes: %d and %d ranges are selected", tt.nodes, len(s.A), len(s.B))
		}
	}
}

// What DNS pods ask is left out if the kernel does not take it, and nothing else.
func TestUpstreamYields(t *testing.T) {
	e, err := parseEndpoints("shop/pod/web", "kube-system/svc/kube-dns:53", "", "shop", "n1")
	if err != nil {
		t.Fatal(err)
	}
	full := func(most int) func(probe.Selection) error {
		return func(s probe.Selection) error {
			if len(s.B) > most {
				return probe.ErrTooMany
			}
			return nil
		}
	}
	for _, tt := range []struct {
		room     int
		followed bool
		err      error
	}{{1000, true, nil}, {5, false, nil}, {0, false, probe.ErrTooMany}} {
		a, err := e.resolve(t.Context(), scattered(t, 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.choose(full(tt.room)); !errors.Is(err, tt.err) {
			t.Errorf("room for %d: %v", tt.room, err)
		}
		if (len(a.upstream.pods) > 0) != tt.followed || a.upstream.tooMany == tt.followed {
			t.Errorf("room for %d: followed %v, too many %v", tt.room, a.upstream.pods, a.upstream.tooMany)
		}
	}
}

// A recording tells that DNS pods were not followed by what was not seen.
func TestUpstreamUnfollowedInReplay(t *testing.T) {
	dns := netip.MustParseAddrPort("10.244.1.53:53")
	j := &tracer.Journey{Translated: tracer.Tuple{Dst: dns}}
	a := newAnalyser("n", nil)
	for _, tt := range []struct {
		pods  []netip.Addr
		blind []tracer.Blind
		want  bool
	}{
		{nil, nil, false},
		{[]netip.Addr{dns.Addr()}, []tracer.Blind{{What: "else"}}, true},
		{[]netip.Addr{dns.Addr()}, []tracer.Blind{{What: "else"}, unfollowed}, false},
	} {
		a.follow(tt.pods)
		a.visibility(tt.blind)
		if got := a.input(j, tracer.OutcomeDelivered, j.First).Followed; got != tt.want {
			t.Errorf("%v, %v: followed %v", tt.pods, tt.blind, got)
		}
	}
}

// While a flow is judged, the cluster's state may follow in a recording: what is
// watched is chosen anew then, in the middle of a verdict.
func TestClusterChangesInReplay(t *testing.T) {
	began := time.Unix(1000, 0)
	file := filepath.Join(t.TempDir(), "session")
	w, err := session.Create(file, session.Header{Node: "n", From: "10.0.0.1", To: "10.0.0.2", Upstream: true, Started: began})
	if err != nil {
		t.Fatal(err)
	}
	state := json.RawMessage(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}]}`)
	errs := []error{w.Inventory(&tracer.Inventory{HostNetNS: 9}), w.Cluster(began, state)}
	for _, ev := range refusal(began) {
		errs = append(errs, w.Event(&ev))
	}
	later := began.Add(time.Second)
	errs = append(errs, w.Stats(later, session.Stats{Seen: 2, Counted: true}), w.Tick(later), w.Cluster(later, state), w.Close())
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	said := make(chan []render.Verdict, 1)
	go func() { said <- replayFile(t, file) }()
	select {
	case vs := <-said:
		if len(vs) != 1 || vs[0].Outcome != tracer.OutcomeRefused {
			t.Errorf("said %+v", vs)
		}
	case <-time.After(time.Minute):
		t.Fatal("the replay hangs")
	}
}

// Lookups that fail at once because of one resolver share what is found out about
// it, and the next tick asks anew; a recording that has it for each gets it for each.
func TestBehindIsToldOnce(t *testing.T) {
	for _, tt := range []struct {
		once bool
		want int
	}{{true, 2}, {false, 4}} {
		began := time.Unix(1000, 0)
		dns, resolver := netip.MustParseAddr("10.244.1.53"), netip.MustParseAddrPort("192.0.2.53:53")
		a := newAnalyser("n", func(f tracer.Tuple) bool { return f.Dst.Addr() == dns })
		a.behindOnce = tt.once
		a.inventory(tracer.Inventory{HostNetNS: 9, Devices: []tracer.Device{{
			DeviceKey: tracer.DeviceKey{NetNS: 1, IfIndex: 2}, Name: "eth0", Role: tracer.RolePod, Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.7/24")}}}})
		asked, told := 0, 0
		a.ask = func(_ uint64, q tracer.Query) *tracer.NodeFacts {
			if q.Flow.Src.Addr() == dns {
				asked++
			}
			return nil
		}
		a.emit = func(v *tracer.Verdict) bool {
			if len(v.Journey.Upstream) == 1 {
				told++
			}
			return true
		}
		seq := uint64(0)
		send := func(after time.Duration, src, dst netip.AddrPort, d tracer.DNS) {
			seq++
			ev := &tracer.Event{Seq: seq, Time: began.Add(after), MonoNS: uint64(after) + seq, Kind: tracer.EventTX, NetNS: 1, IfIndex: 2,
				Tuple: tracer.Tuple{Src: src, Dst: dst, Proto: tracer.ProtoUDP}, DNS: &d, Payload: 40, Len: 68}
			if d.Response {
				ev.Kind = tracer.EventRX
			}
			a.event(ev)
		}
		for round := range 2 {
			at := time.Duration(round) * 10 * time.Second
			server := netip.AddrPortFrom(dns, 53)
			var clients []netip.AddrPort
			for i := range 2 {
				c := netip.AddrPortFrom(netip.MustParseAddr("10.244.1.7"), uint16(4000+10*round+i))
				clients = append(clients, c)
				send(at, c, server, tracer.DNS{ID: 1, Questions: 1})
				send(at+time.Millisecond, netip.AddrPortFrom(dns, uint16(6000+10*round+i)), resolver, tracer.DNS{ID: 2, Questions: 1})
			}
			for _, c := range clients {
				send(at+3*time.Second, server, c, tracer.DNS{ID: 1, Questions: 1, Response: true, RCode: tracer.RCodeServFail})
			}
			a.tick(began.Add(at+4*time.Second), false)
		}
		if asked != tt.want || told != 4 {
			t.Errorf("once %v: facts of the DNS pod's questions asked for %d times, want %d; %d verdicts of 4 tell of them", tt.once, asked, tt.want, told)
		}
	}
}

func selectionSize(s probe.Selection) [2]int { return [2]int{len(s.A), len(s.B)} }

// watchesWorld: a pod with an address outside would be watched.
func (a *aim) watchesWorld() bool {
	world := netip.MustParseAddr("192.0.2.53")
	return slices.ContainsFunc(slices.Concat(a.selection.A, a.selection.B), func(p netip.Prefix) bool { return p.Contains(world) })
}
