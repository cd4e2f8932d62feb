package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// fakeSets holds sets as "ipset save" prints their elements.
type fakeSets struct {
	sets    map[string]*ipset
	elems   map[string][]string
	indexes []string
	local   []netip.Addr
}

func (f *fakeSets) addrType(a netip.Addr) (uint8, bool) {
	if slices.Contains(f.local, a) {
		return unix.RTN_LOCAL, true
	}
	return unix.RTN_UNICAST, true
}

func (f *fakeSets) ipset(name string, index uint16) (*ipset, error) {
	if name == "" && int(index) < len(f.indexes) {
		name = f.indexes[index]
	}
	if s := f.sets[name]; s != nil {
		return s, nil
	}
	return nil, errNoSet
}

func (f *fakeSets) inIPSet(s *ipset, e setElement) (bool, error) {
	if s.typ == "hash:ip" && s.name == "broken" {
		return false, errors.New("the kernel does not say")
	}
	return slices.ContainsFunc(f.elems[s.name], func(have string) bool { return sameElement(s.typ, have, e) }), nil
}

// sameElement compares "10.0.0.0/8,tcp:80,10.1.1.1" with an element.
func sameElement(typ, have string, e setElement) bool {
	addrs := []netip.Addr{e.addr, e.addr2}
	for i, field := range strings.Split(have, ",") {
		if strings.Split(strings.SplitN(typ, ":", 2)[1], ",")[i] == "port" {
			want := strconv.Itoa(int(e.port))
			if typ != "bitmap:port" {
				want = strings.ToLower(tracer.ProtoName(e.proto)) + ":" + want
			}
			if field != want {
				return false
			}
			continue
		}
		p, err := netip.ParsePrefix(field)
		if err != nil {
			a := netip.MustParseAddr(field)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if !p.Contains(addrs[0]) {
			return false
		}
		addrs = addrs[1:]
	}
	return true
}

// add makes a set; family 0 takes both.
func (f *fakeSets) add(name, typ string, family uint8, elems ...string) {
	if f.sets == nil {
		f.sets, f.elems = map[string]*ipset{}, map[string][]string{}
	}
	s := &ipset{name: name, typ: typ, family: family}
	if typ == listSet {
		s.members = elems
	}
	f.sets[name], f.elems[name] = s, elems
	f.indexes = append(f.indexes, name)
}

func tcp(src, dst string) *packet {
	t := tracer.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: tracer.ProtoTCP}
	return &packet{Tuple: t, orig: t, markKnown: true, state: stNew, reply: triNo, iif: device{index: 2, name: "cali1"}, oif: device{index: 3, name: "eth0"}}
}

// What one rule with a set does with a packet.
func TestMatchSet(t *testing.T) {
	f := &fakeSets{}
	f.add("ips", "hash:ip", unix.AF_INET, "10.244.1.7")
	f.add("nets", "hash:net", unix.AF_INET, "10.96.0.0/16")
	f.add("ipport", "hash:ip,port", unix.AF_INET, "10.96.0.20,tcp:80")
	f.add("netport", "hash:net,port", unix.AF_INET, "10.96.0.0/12,udp:53")
	f.add("loop", "hash:ip,port,ip", unix.AF_INET, "10.244.1.9,tcp:8080,10.244.1.9")
	f.add("ipportnet", "hash:ip,port,net", unix.AF_INET, "10.96.0.20,tcp:80,10.244.0.0/16")
	f.add("ports", "bitmap:port", 0, "80")
	f.add("six", "hash:net", unix.AF_INET6, "fd01::/64")
	f.add("macs", "hash:mac", 0)
	f.add("devs", "hash:net,iface", unix.AF_INET)
	f.add("broken", "hash:ip", unix.AF_INET)
	f.add("list", listSet, 0, "six", "ips")
	f.add("partly", listSet, 0, "gone", "nets")
	f.add("none", listSet, 0, "gone", "six")
	f.add("nested", listSet, 0, "list")
	p := func() *packet { return tcp("10.244.1.7:40000", "10.96.0.20:80") }
	icmp := p()
	icmp.Proto = tracer.ProtoICMP
	sctp := p()
	sctp.Proto = tracer.ProtoSCTP
	gre := p()
	gre.Proto = 47
	six := tcp("[fd00::7]:40000", "[fd01::20]:80")
	itself := tcp("10.244.1.9:40000", "10.244.1.9:8080")
	for _, tc := range []struct {
		name, match string
		at          *packet
		want        tri
	}{
		{"an address", "ips src", p(), triYes},
		{"the other end", "ips dst", p(), triNo},
		{"inverted", "! ips dst", p(), triYes},
		{"inverted and in it", "! ips src", p(), triNo},
		{"a network", "nets dst", p(), triYes},
		{"address and port", "ipport dst,dst", p(), triYes},
		{"its source port", "ipport dst,src", p(), triNo},
		{"another protocol", "ipport dst,dst", sctp, triNo},
		{"ICMP has a type for a port", "ipport dst,dst", icmp, triMaybe},
		{"a protocol without ports", "ipport dst,dst", gre, triNo},
		{"more dimensions than the set has", "ips src,dst", p(), triYes},
		{"fewer dimensions than the set has", "ipport dst", p(), triNo},
		{"fewer, inverted", "! ipport dst", p(), triYes},
		{"a network and a port of UDP", "netport dst,dst", p(), triNo},
		{"a pod that asks itself", "loop dst,dst,src", itself, triYes},
		{"a pod that asks another", "loop dst,dst,src", tcp("10.244.1.7:1", "10.244.1.9:8080"), triNo},
		{"a network as third", "ipportnet dst,dst,src", p(), triYes},
		{"ports", "ports dst", p(), triYes},
		{"ports of SCTP are not in a bitmap", "ports dst", sctp, triNo},
		{"another family", "six dst", p(), triNo},
		{"its family", "six dst", six, triYes},
		{"IPv4's set and IPv6", "! nets dst", six, triYes},
		{"hardware addresses", "macs src", p(), triMaybe},
		{"devices", "devs src,src", p(), triMaybe},
		{"inverted and not understood", "! macs src", p(), triMaybe},
		{"not there", "gone src", p(), triMaybe},
		{"an error", "broken src", p(), triMaybe},
		{"an error, inverted", "! broken src", p(), triMaybe},
		{"a list", "list src", p(), triYes},
		{"a list without it", "list dst", p(), triNo},
		{"a list, one member gone, another has it", "partly dst", p(), triYes},
		{"a list, one member gone", "none src", p(), triMaybe},
		{"a list in a list, which there cannot be", "nested src", p(), triMaybe},
	} {
		words, no := strings.CutPrefix(tc.match, "! ")
		name, where, _ := strings.Cut(words, " ")
		bang := map[bool]string{true: "! "}[no]
		rs := &ruleset{}
		parseSave(rs, fmt.Sprintf("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set %s--match-set %s %s -j DROP\nCOMMIT\n", bang, name, where), tc.at.family())
		if got := fateIn(rs, tc.at, f); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
		// The same as nft_compat has it: by index, in each revision.
		for rev := uint32(1); rev <= 4; rev++ {
			m := newMachine(tc.at, f)
			x, ok := decodeMatch("set", rev, setBytes(rev, f.index(name), where, no)).(setMatch)
			if got := m.inSet(x); !ok || got != tc.want {
				t.Errorf("%s, revision %d: %d, want %d", tc.name, rev, got, tc.want)
			}
			if text := x.text(func(i uint16) string { return f.nameAt(i) }); ok && text != bang+"match-set "+name+" "+where && f.nameAt(x.index) != "" {
				t.Errorf("text %q", text)
			}
		}
	}
}

func fateIn(rs *ruleset, p *packet, env environment) tri {
	hits := dropHits(rs, p, env, p.family(), hookForward, "")
	switch {
	case len(hits) == 0:
		return triNo
	case hits[0].sure:
		return triYes
	}
	return triMaybe
}

func (f *fakeSets) index(name string) uint16 {
	if i := slices.Index(f.indexes, name); i >= 0 {
		return uint16(i)
	}
	return 999
}

func (f *fakeSets) nameAt(i uint16) string {
	if int(i) < len(f.indexes) {
		return f.indexes[i]
	}
	return ""
}

// setBytes is what iptables hands to the kernel (linux/netfilter/xt_set.h).
func setBytes(rev uint32, index uint16, where string, invert bool) []byte {
	b := make([]byte, map[bool]int{true: 48, false: 4}[rev > 2])
	native.PutUint16(b, index)
	for i, w := range strings.Split(where, ",") {
		b[2]++
		if w == "src" {
			b[3] |= 1 << (i + 1)
		}
	}
	if invert {
		b[3] |= 1
	}
	return b
}

// Whatever else the match may ask for leaves it undecided.
func TestMatchSetUnknown(t *testing.T) {
	ok := setBytes(4, 0, "src", false)
	with := func(at int, v byte) []byte {
		b := slices.Clone(ok)
		b[at] = v
		return b
	}
	for _, tc := range []struct {
		name string
		rev  uint32
		info []byte
	}{
		{"revision 0", 0, ok}, {"revision 5", 5, ok}, {"cut off", 4, ok[:40]}, {"no dimension", 4, with(2, 0)}, {"seven dimensions", 4, with(2, 7)},
		{"exceptions count", 4, with(3, 1<<7)}, {"packets of revision 4", 4, with(16, 1)}, {"bytes of revision 4", 4, with(32, 3)},
		{"packets of revision 3", 3, with(8, 1)}, {"bytes of revision 3", 3, with(24, 1)}, {"a flag", 4, with(40, 1<<5)},
	} {
		if got := notUnderstood(decodeMatch("set", tc.rev, tc.info)); got == "" {
			t.Errorf("%s is understood", tc.name)
		}
	}
	for _, words := range []string{"--match-set ips src --return-nomatch", "--match-set ips src --packets-gt 3", "--match-set ips both", "--set ips src"} {
		rs := &ruleset{}
		parseSave(rs, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set "+words+" -j DROP\nCOMMIT\n", famIP)
		f := &fakeSets{}
		f.add("ips", "hash:ip", unix.AF_INET, "10.244.1.7")
		if got := fateIn(rs, tcp("10.244.1.7:40000", "10.96.0.20:80"), f); got != triMaybe {
			t.Errorf("%s: %d", words, got)
		}
	}
	f := &fakeSets{}
	f.add("ips", "hash:ip", unix.AF_INET, "10.244.1.7")
	m := newMachine(tcp("10.244.1.7:40000", "10.96.0.20:80"), f)
	m.rewritten = []rewrite{{}}
	if got := m.inSet(setMatch{name: "ips", src: []bool{true}}); got != triMaybe {
		t.Errorf("an address that rules changed: %d", got)
	}
}

// Rule sets that rest on sets, as their writers have them.
func TestRuleSetsOfSets(t *testing.T) {
	for _, tc := range []struct {
		name, rules string
		sets        func(*fakeSets)
		at          *packet
		want        string // the chain that drops, "" if none does
	}{
		{"kube-router lets a policy's sources in", kubeRouterSave, kubeRouterSets("10.244.1.7"), tcp("10.244.1.7:40000", "10.244.1.9:8080"), ""},
		{"kube-router keeps others out", kubeRouterSave, kubeRouterSets("10.244.1.8"), tcp("10.244.1.7:40000", "10.244.1.9:8080"), "KUBE-POD-FW-4SJ7Q2ZX"},
		{"kube-router, another pod", kubeRouterSave, kubeRouterSets("10.244.1.8"), tcp("10.244.1.7:40000", "10.244.1.10:8080"), ""},
		{"Felix, a selector that takes the source", felixSetSave, felixSets("10.244.1.7"), tcp("10.244.1.7:40000", "10.244.1.9:8080"), ""},
		{"Felix, a selector that does not", felixSetSave, felixSets("10.244.1.0/30"), tcp("10.244.1.7:40000", "10.244.1.9:8080"), "cali-tw-cali9"},
		{"Felix, a set that cannot be read", felixSetSave, func(f *fakeSets) {}, tcp("10.244.1.7:40000", "10.244.1.9:8080"), "?"},
	} {
		f := &fakeSets{}
		tc.sets(f)
		rs := &ruleset{}
		parseSave(rs, tc.rules, famIP)
		hits := dropHits(rs, tc.at, f, famIP, hookForward, "")
		got := ""
		if len(hits) > 0 {
			if got = "?"; hits[0].sure {
				got = hits[0].rule.chain.name
			}
		}
		if got != tc.want {
			t.Errorf("%s: dropped by %q, want %q", tc.name, got, tc.want)
		}
	}
}

const kubeRouterSave = `*filter
:FORWARD ACCEPT [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-POD-FW-4SJ7Q2ZX - [0:0]
:KUBE-NWPLCY-7HX2 - [0:0]
-A FORWARD -m comment --comment "kube-router netpol" -j KUBE-ROUTER-FORWARD
-A KUBE-ROUTER-FORWARD -d 10.244.1.9/32 -m comment --comment "rule to jump traffic destined to POD name:web namespace: shop to chain KUBE-POD-FW-4SJ7Q2ZX" -j KUBE-POD-FW-4SJ7Q2ZX
-A KUBE-POD-FW-4SJ7Q2ZX -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-POD-FW-4SJ7Q2ZX -m comment --comment "run through nw policy allow-front" -j KUBE-NWPLCY-7HX2
-A KUBE-POD-FW-4SJ7Q2ZX -m comment --comment "rule to REJECT traffic destined for POD name:web namespace: shop" -m mark ! --mark 0x10000/0x10000 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-NWPLCY-7HX2 -p tcp -m comment --comment "rule to mark traffic matching a network policy" -m set --match-set KUBE-SRC-ABC src -m set --match-set KUBE-DST-ABC dst -m tcp --dport 8080 -j MARK --set-xmark 0x10000/0x10000
-A KUBE-NWPLCY-7HX2 -m set --match-set KUBE-SRC-ABC src -m set --match-set KUBE-DST-ABC dst -m mark --mark 0x10000/0x10000 -j RETURN
COMMIT
`

func kubeRouterSets(source string) func(*fakeSets) {
	return func(f *fakeSets) {
		f.add("KUBE-SRC-ABC", "hash:ip", unix.AF_INET, source)
		f.add("KUBE-DST-ABC", "hash:ip", unix.AF_INET, "10.244.1.9")
	}
}

const felixSetSave = `*filter
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-tw-cali9 - [0:0]
:cali-pi-_front - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A cali-FORWARD -d 10.244.1.9/32 -g cali-tw-cali9
-A cali-tw-cali9 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali9 -m mark --mark 0x0/0x20000 -j cali-pi-_front
-A cali-tw-cali9 -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali9 -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
-A cali-pi-_front -p tcp -m comment --comment "Policy shop/knp.default.front ingress" -m set --match-set cali40s:6N3HVAzxz3-C6kXlqNE8JN2 src -m multiport --dports 8080 -j MARK --set-xmark 0x10000/0x10000
COMMIT
`

func felixSets(source string) func(*fakeSets) {
	return func(f *fakeSets) { f.add("cali40s:6N3HVAzxz3-C6kXlqNE8JN2", "hash:net", unix.AF_INET, source) }
}

// kube-proxy in IPVS mode masquerades by sets.
func TestMasqueradeBySets(t *testing.T) {
	const save = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES ! -s 10.244.0.0/16 -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
`
	f := &fakeSets{}
	f.add("KUBE-CLUSTER-IP", "hash:ip,port", unix.AF_INET, "10.96.0.20,tcp:80")
	f.add("KUBE-LOOP-BACK", "hash:ip,port,ip", unix.AF_INET, "10.244.1.9,tcp:8080,10.244.1.9")
	for _, tc := range []struct {
		name, src, service, endpoint string
		want                         bool
	}{
		{"a pod to itself", "10.244.1.9:40000", "10.96.0.20:80", "10.244.1.9:8080", true},
		{"a pod to another", "10.244.1.7:40000", "10.96.0.20:80", "10.244.1.9:8080", false},
		{"a client that is no pod", "10.0.0.5:40000", "10.96.0.20:80", "10.244.1.9:8080", true},
		{"a client that is no pod, another port", "10.0.0.5:40000", "10.96.0.20:81", "10.96.0.20:81", false},
	} {
		rs := &ruleset{}
		parseSave(rs, save, famIP)
		in := &walk{m: newMachine(tcp(tc.src, tc.service), f)}
		for _, c := range rs.hookChains(famIP, hookPrerouting, nil) {
			in.run(c)
		}
		at := tcp(tc.src, tc.endpoint)
		at.mark, at.markKnown = in.m.mark, in.m.markKnown
		out := &walk{m: newMachine(at, f)}
		for _, c := range rs.hookChains(famIP, hookPostrouting, nil) {
			out.run(c)
		}
		got := false
		for _, h := range out.hits {
			if sourceNAT(h.act.stmt) {
				got = true
				if !h.sure || h.afterMaybe {
					t.Errorf("%s: undecided", tc.name)
				}
			}
		}
		if got != tc.want {
			t.Errorf("%s: masqueraded %v", tc.name, got)
		}
	}
}

// needsIPSet opens a node's connection, if the kernel has sets.
func needsIPSet(t *testing.T, types string) (*lab, *space) {
	t.Helper()
	l := newLab(t)
	if out, err := l.try(types, "ipset", "restore"); err != nil {
		if !lacksSets(out) {
			t.Fatalf("ipset: %v: %s", err, out)
		}
		t.Log(out)
		t.Skip("needs ipset (modules ip_set...)")
	}
	ctx, cancel := testContext()
	t.Cleanup(cancel)
	s, err := l.r.enter(ctx, l.r.hostNS)
	must(t, err)
	t.Cleanup(l.r.leaveAll)
	return l, s
}

// lacksSets: the tool complains of the kernel, not of what it was told.
func lacksSets(out string) bool {
	for _, words := range []string{"Cannot open session to kernel", "module not loaded", "Couldn't load match", "set: Extension", "Kernel module xt_set is not loaded", "RULE_APPEND failed (No such file or directory)", "Can't open socket to ipset"} {
		if strings.Contains(out, words) {
			return true
		}
	}
	return false
}

// The kernel's own sets: types, networks with exceptions, timeouts, lists.
// Protocols are numbers, for machines without /etc/protocols.
func TestKernelSets(t *testing.T) {
	_, s := needsIPSet(t, `create ips hash:ip family inet
create mask hash:ip family inet netmask 24
create nets hash:net family inet
create ipport hash:ip,port family inet counters
create ipportip hash:ip,port,ip family inet
create ipportnet hash:ip,port,net family inet
create netport hash:net,port family inet
create ports bitmap:port range 80-100
create range bitmap:ip range 10.244.1.0-10.244.1.255
create six hash:net family inet6
create six-ipport hash:ip,port family inet6
create short hash:ip family inet timeout 3600
create devs hash:net,iface family inet
create list list:set size 8
create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add ips 10.244.1.7
add mask 10.244.7.0
add nets 10.96.0.0/12
add nets 10.96.9.0/24 nomatch
add ipport 10.96.0.20,6:80
add ipport 10.96.0.20,132:90
add ipportip 10.244.1.9,6:8080,10.244.1.9
add ipportnet 10.96.0.20,17:53,10.244.0.0/16
add netport 10.96.0.0/16,6:80
add ports 80
add range 10.244.1.7
add six fd01::/64
add six-ipport fd01::20,6:80
add short 10.244.1.7
add list six
add list ipport
`)
	for _, tc := range []struct {
		set, where string
		at         *packet
		want       tri
	}{
		{"ips", "src", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"ips", "src", tcp("10.244.1.8:1", "10.96.0.20:80"), triNo},
		{"mask", "src", tcp("10.244.7.9:1", "10.96.0.20:80"), triYes},
		{"mask", "src", tcp("10.244.8.9:1", "10.96.0.20:80"), triNo},
		{"nets", "dst", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"nets", "dst", tcp("10.244.1.7:1", "10.96.9.20:80"), triNo},
		{"nets", "dst", tcp("10.244.1.7:1", "10.1.9.20:80"), triNo},
		{"ipport", "dst,dst", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"ipport", "dst,dst", tcp("10.244.1.7:1", "10.96.0.20:81"), triNo},
		{"ipport", "dst,src", tcp("10.244.1.7:1", "10.96.0.20:80"), triNo},
		{"ipportip", "dst,dst,src", tcp("10.244.1.9:1", "10.244.1.9:8080"), triYes},
		{"ipportip", "dst,dst,src", tcp("10.244.1.7:1", "10.244.1.9:8080"), triNo},
		{"ipportnet", "dst,dst,src", tcp("10.244.1.7:1", "10.96.0.20:53"), triNo},
		{"netport", "dst,dst", tcp("10.244.1.7:1", "10.96.7.20:80"), triYes},
		{"netport", "dst,dst", tcp("10.244.1.7:1", "10.97.7.20:80"), triNo},
		{"ports", "dst", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"ports", "dst", tcp("10.244.1.7:1", "10.96.0.20:81"), triNo},
		{"ports", "dst", tcp("10.244.1.7:1", "10.96.0.20:8080"), triNo}, // out of its range
		{"range", "src", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"range", "src", tcp("10.243.1.7:1", "10.96.0.20:80"), triNo}, // out of its range
		{"six", "dst", tcp("[fd00::1]:1", "[fd01::20]:80"), triYes},
		{"six", "dst", tcp("[fd00::1]:1", "[fd02::20]:80"), triNo},
		{"six", "dst", tcp("10.244.1.7:1", "10.96.0.20:80"), triNo},
		{"six-ipport", "dst,dst", tcp("[fd00::1]:1", "[fd01::20]:80"), triYes},
		{"short", "src", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"devs", "src,src", tcp("10.244.1.7:1", "10.96.0.20:80"), triMaybe},
		{"list", "dst,dst", tcp("10.244.1.7:1", "10.96.0.20:80"), triYes},
		{"list", "dst,dst", tcp("10.244.1.7:1", "10.96.0.20:81"), triNo},
		{"list", "dst", tcp("10.244.1.7:1", "10.96.0.20:80"), triNo}, // too few dimensions
		{"list", "dst", tcp("[fd00::1]:1", "[fd01::20]:80"), triYes},
		{"KUBE-LOOP-BACK", "dst,dst,src", tcp("10.244.1.9:1", "10.244.1.9:8080"), triNo},
		{"gone", "src", tcp("10.244.1.7:1", "10.96.0.20:80"), triMaybe},
	} {
		x, ok := setWords(tc.set, tc.where, false).(setMatch)
		if got := newMachine(tc.at, s).inSet(x); !ok || got != tc.want {
			t.Errorf("%s %s of %v: %d, want %d", tc.set, tc.where, tc.at.Tuple, got, tc.want)
		}
	}
	if _, err := s.ipset("gone", 0); !errors.Is(err, errNoSet) {
		t.Errorf("a set that is not there: %v", err)
	}
	// Rules of iptables-nft hold indexes.
	found := map[string]bool{}
	for i := range uint16(64) {
		if name := s.nameOf(i); name != "" {
			found[name] = true
		}
	}
	for _, name := range []string{"ips", "list", "KUBE-LOOP-BACK"} {
		if !found[name] {
			t.Errorf("no index has the name %s: %v", name, found)
		}
	}
}

// A rule with a set drops a real packet, and is named, in both backends.
func TestDropBySet(t *testing.T) {
	for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(tool, func(t *testing.T) {
			l, _ := needsIPSet(t, "create allowed hash:ip family inet\ncreate ports hash:ip,port family inet\nadd allowed 10.99.0.1\nadd ports "+serverIP+",17:6000\n")
			l.r.leaveAll()
			l.warm(6000)
			rules := "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set allowed src -j DROP\n" +
				"-A FORWARD -p udp -m set ! --match-set allowed src -m set --match-set ports dst,dst -m comment --comment \"the set\" -j DROP\n-A FORWARD -p tcp -j DROP\nCOMMIT\n"
			if out, err := l.try(rules, tool+"-restore"); err != nil {
				if !lacksSets(out) {
					t.Fatalf("%s: %v: %s", tool, err, out)
				}
				t.Log(out)
				t.Skip("needs xt_set")
			}
			if l.send(6000) {
				t.Fatal("the packet was not dropped")
			}
			q := l.query(6000)
			if tool == "iptables-legacy" {
				q.Drops[0].Drop.Engine, q.Drops[0].Drop.Location = "xtables", "nf_hook_slow"
			}
			res := l.collect(q)
			if len(res.Rules) != 1 || res.Rules[0].Comment != "the set" || res.Rules[0].How != "computed" || !strings.Contains(res.Rules[0].Text, "match-set ports dst,dst") {
				t.Errorf("rules %+v, blind %+v", res.Rules, res.Blind)
			}
		})
	}
}
