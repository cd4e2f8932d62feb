package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// codeNoWayOut is what beyond-node becomes where all that left for the internet is
// silent.
const codeNoWayOut = "egr-no-nat-gateway"

const (
	// So many silent destinations in different networks, on so many ports, are no
	// affair of one host, one provider or one port.
	enoughNetworks     = 3
	enoughOutsidePorts = 2
	// gatewayGivenUp is how long a neighbour that does not answer stays resolved once
	// packets are sent to it: delay_first_probe_time and three probes, a second
	// apart (net/core/neighbour.c), rounded up.
	gatewayGivenUp = 10 * time.Second
)

// compared holds a flow that left and was not answered against the others that left
// like it, says what that tells, and names the fault if it tells one.
func (in *Input) compared(f *Finding) {
	o := in.Outside
	if o == nil || in.Outcome != tracer.OutcomeNoAnswer {
		return
	}
	switch {
	case len(o.answered) > 0:
		in.othersAnswer(f, o)
	case len(hostsOf(o.silent)) > 1:
		in.allSilent(f, o)
	}
	if g := in.Beside; g.partly() && g.comesAndGoes() && len(g.shared()) == 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName,
			"what leaves alike for it is answered now and then: a NAT gateway out of ports, a limit on new connections, and a far side with too much to do look like this"))
	}
}

// othersAnswer: the way out works, so that what is silent is the host, or something
// that knows it, its port, or who asks. Of what was answered only before the first of
// the silent ones that it is held against, nothing follows: the way out may have been
// lost since.
func (in *Input) othersAnswer(f *Finding, o *Departures) {
	say := func(format string, args ...any) {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, format, args...))
	}
	self := o.silent[0]
	in.wayOut(f, o)
	host := having(o.answered, func(d *departure) bool { return d.dst.Addr() == self.dst.Addr() && !samePort(d, self) })
	if host = since(host, having(o.silent, func(d *departure) bool { return d.dst == self.dst })); len(host) > 0 {
		say("the host is there, and answers at %s: silent is %s of it, or a filter for that port", places(host), in.port())
	}
	here := having(o.silent, func(d *departure) bool { return samePort(d, self) })
	if len(networksOf(here)) > 1 && len(since(o.answered, here)) > 0 && len(having(o.answered, func(d *departure) bool { return samePort(d, self) })) == 0 {
		say("on %s nothing answered (%s), on other ports something did: a filter of that port, or one that wants a proxy to be used, looks like this", in.port(), places(here))
	}
	others := having(o.answered, func(d *departure) bool { return d.as != self.as })
	meanwhile := since(others, having(o.silent, func(d *departure) bool { return d.as == self.as }))
	switch {
	case len(others) < len(o.answered) || len(meanwhile) == 0:
	case !self.own && !slices.ContainsFunc(others, func(d *departure) bool { return !d.own }):
		say("only the node's own connections were answered, which left as %s: a security group, routing rule or allow-list that tells them from %s looks like this", sources(others), self.as)
	default:
		say("all that were answered left as %s, this one as %s: a security group, routing rule or allow-list that tells them apart looks like this", sources(others), self.as)
	}
}

// wayOut says that something outside answered while this flow was silent, or when
// something last did.
func (in *Input) wayOut(f *Finding, o *Departures) {
	self := o.silent[0]
	by := in.nameOf(self.by)
	now := having(o.answered, func(d *departure) bool { return !d.heard.Before(self.begun) })
	if len(now) > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the way out works: by %s %s answered meanwhile", by, places(now)))
		return
	}
	last := lastHeard(o.answered)
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the way out by %s worked until %s before this flow began, when the last answer came (of %s); whether it still does is not known",
		by, rounded(self.begun.Sub(last)), places(having(o.answered, func(d *departure) bool { return d.heard.Equal(last) }))))
	if quiet := having(o.silent, func(d *departure) bool { return d.begun.After(last) }); len(hostsOf(quiet)) > 1 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "nothing outside answered since; silent are %s, asked by %s", places(quiet), clients(quiet)))
	}
}

// rounded is as exact as a person wants it.
func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// since are those that were answered after the first of the silent ones began.
func since(answered, silent []*departure) []*departure {
	first := firstOf(silent)
	return having(answered, func(d *departure) bool { return d.heard.After(first) })
}

func lastHeard(list []*departure) (last time.Time) {
	for _, d := range list {
		last = later(last, d.heard)
	}
	return last
}

// allSilent: nothing outside has answered. If that is so of enough, there is no way
// out; who takes it away is behind the gateway.
func (in *Input) allSilent(f *Finding, o *Departures) {
	nets, ports, hosts := networksOf(o.silent), portsOf(o.silent), len(hostsOf(o.silent))
	began := firstOf(o.silent)
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "nothing outside answered in the last %s: silent are %s, asked by %s",
		in.Now.Sub(began).Round(time.Second), places(o.silent), clients(o.silent)))
	if len(o.inside) > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "private addresses behind the same uplink answered meanwhile: %s", places(o.inside)))
	}
	n := in.gatewayEntry()
	if n != nil {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "neighbour %s dev %s: %s", n.Addr, n.Dev, n.State))
	}
	there := n != nil && (n.State == "REACHABLE" || resolved(n.State) && in.Node.At.Sub(began) >= gatewayGivenUp)
	if len(nets) < enoughNetworks || len(ports) < enoughOutsidePorts || len(o.inside) == 0 && !there {
		return
	}
	f.Code, f.Confidence = codeNoWayOut, tracer.Probable
	f.Object = in.nodeRef()
	if hop := in.gateway(); hop.IsValid() {
		f.Object = &tracer.Ref{Kind: "Gateway", Name: hop.String()}
	}
	control := "private addresses behind the gateway answer"
	if len(o.inside) == 0 {
		control = "the gateway is there"
	}
	for _, b := range o.doubts() {
		f.Confidence = tracer.Suspected
		f.Blind = append(f.Blind, b)
	}
	count := fmt.Sprintf("%d destinations in %d networks", hosts, len(nets))
	if o.moreSilent {
		count = "at least " + count
	}
	f.Summary = fmt.Sprintf("nothing on the internet answers: %s, on %s, are silent; their packets left node %s intact by %s as %s, and %s",
		count, joined(ports, portText), in.NodeName, in.nameOf(in.Journey.LeftBy), sources(o.silent), control)
	if !slices.ContainsFunc(o.silent, func(d *departure) bool { return d.own }) {
		f.Blind = append(f.Blind, tracer.Blind{What: "whether the node itself is answered from outside: no connection of its own was seen", Effect: "if it is, something tells the pods' connections from the node's"})
	}
	f.Blind = append(f.Blind, tracer.Blind{What: "what is behind the gateway", Effect: "a NAT gateway, a route or an Internet gateway that is missing, and a firewall that lets nothing out, or only to what is on its list, look alike"})
	if i := slices.IndexFunc(o.inside, func(d *departure) bool { return slices.Contains(proxyPorts(), d.dst.Port()) }); i >= 0 {
		proxy := o.inside[i].dst
		f.First = []string{fmt.Sprintf("%s answers; if that is a proxy, try it from a pod: curl -x http://%s -sSI https://HOST", proxy, proxy)}
	}
}

// doubts are what else would look like a missing way out, with what was seen: each of
// them makes it a suspicion.
func (o *Departures) doubts() []tracer.Blind {
	var list []tracer.Blind
	if len(o.inside) == 0 {
		list = append(list, tracer.Blind{What: "whether private addresses behind the gateway answer: none was asked", Effect: "the gateway may pass nothing on at all"})
	}
	if !slices.ContainsFunc(o.silent, func(d *departure) bool { return !webPort(d) }) {
		list = append(list, tracer.Blind{What: "whether other ports than those of the web are silent: none was tried", Effect: "a firewall that wants a proxy to be used looks the same"})
	}
	if !independent(o.silent) {
		list = append(list, tracer.Blind{What: "whether others are answered from outside: neither the node itself nor a second client with hosts of its own was seen to ask", Effect: "hosts that are gone (of a list of peers, or that are monitored) look the same"})
	}
	if o.moreSilent {
		list = append(list, tracer.Blind{What: "all flows that left: there were more silent ones than are remembered", Effect: "one client that asks very many hosts, of which most do not exist, looks the same"})
	}
	if o.moreAnswered {
		list = append(list, tracer.Blind{What: "connections of long ago: more were answered than are remembered", Effect: "one of them may still be answered"})
	}
	return list
}

// independent: that the hosts are gone, of which one client knows, does not explain
// it, because the node itself asks in vain beside a pod, or because a second client
// asks for another host than the first.
func independent(silent []*departure) bool {
	type client struct {
		own  bool
		from netip.Addr
	}
	asked := map[client]map[netip.Addr]bool{}
	hosts := map[netip.Addr]bool{}
	node := false
	for _, d := range silent {
		c := client{own: d.own}
		if !d.own {
			c.from = d.from
		}
		if asked[c] == nil {
			asked[c] = map[netip.Addr]bool{}
		}
		asked[c][d.dst.Addr()], hosts[d.dst.Addr()] = true, true
		node = node || d.own
	}
	if len(asked) < 2 || node {
		return len(asked) > 1
	}
	// Two that know the same hosts are as good as one.
	for _, of := range asked {
		if len(of) < len(hosts) {
			return true
		}
	}
	return false
}

// proxyPorts are where HTTP proxies listen by default (Squid, Tinyproxy, and what
// others use).
func proxyPorts() []uint16 { return []uint16{3128, 8080, 8888} }

func webPort(d *departure) bool {
	return d.dst.Port() == 80 || d.dst.Port() == 443
}

// gateway is the next hop of the flow's route, invalid if there is none or if it is
// one of several.
func (in *Input) gateway() netip.Addr {
	if r := in.route("forward"); r != nil && len(r.Hops) <= 1 {
		return r.Via
	}
	return netip.Addr{}
}

func (in *Input) gatewayEntry() *tracer.NeighbourFact {
	hop := in.gateway()
	i := slices.IndexFunc(in.Node.Neighbours, func(n tracer.NeighbourFact) bool {
		return hop.IsValid() && n.Addr == hop && in.onNode(tracer.DeviceKey{NetNS: n.NetNS})
	})
	if i < 0 {
		return nil
	}
	return &in.Node.Neighbours[i]
}

func resolved(state string) bool { return state != "" && state != "NONE" && !unresolved(state) }

// firstOf is when the first of them began.
func firstOf(list []*departure) time.Time {
	first := list[0].begun
	for _, d := range list {
		if d.begun.Before(first) {
			first = d.begun
		}
	}
	return first
}

func samePort(a, b *departure) bool { return a.dst.Port() == b.dst.Port() && a.proto == b.proto }

func having(list []*departure, test func(*departure) bool) []*departure {
	var out []*departure
	for _, d := range list {
		if test(d) {
			out = append(out, d)
		}
	}
	return out
}

// networksOf are the destinations' networks: a provider of one host rarely has that
// of another in the same /16 or /32.
func networksOf(list []*departure) []netip.Prefix {
	return each(list, func(d *departure) netip.Prefix {
		bits := 16
		if d.dst.Addr().Is6() {
			bits = 32
		}
		return netip.PrefixFrom(d.dst.Addr(), bits).Masked()
	})
}

func hostsOf(list []*departure) []netip.Addr {
	return each(list, func(d *departure) netip.Addr { return d.dst.Addr() })
}

// protoPort is a port of a protocol.
type protoPort struct {
	proto uint8
	port  uint16
}

func portsOf(list []*departure) []protoPort {
	return each(list, func(d *departure) protoPort { return protoPort{d.proto, d.dst.Port()} })
}

func portText(p protoPort) string { return fmt.Sprintf("%s %d", tracer.ProtoName(p.proto), p.port) }

func sources(list []*departure) string {
	return joined(each(list, func(d *departure) netip.Addr { return d.as }), netip.Addr.String)
}

func clients(list []*departure) string {
	type client struct {
		who string
		own bool
	}
	// Of a flow that was not judged yet the address may be all that is known.
	named := map[netip.Addr]string{}
	for _, d := range list {
		if d.who != d.from.String() {
			named[d.from] = d.who
		}
	}
	who := func(d *departure) client {
		if n := named[d.from]; n != "" && d.who == d.from.String() {
			return client{n, d.own}
		}
		return client{d.who, d.own}
	}
	return joined(each(list, who), func(c client) string {
		if c.own {
			return c.who + " (the node itself)"
		}
		return c.who
	})
}

func places(list []*departure) string {
	type place struct {
		dst   netip.AddrPort
		proto uint8
	}
	return joined(each(list, func(d *departure) place { return place{d.dst, d.proto} }), func(p place) string {
		return fmt.Sprintf("%s %s", p.dst, tracer.ProtoName(p.proto))
	})
}

// each gives the different values, in the order in which they are met. There may be
// many, and flows wait while they are looked at.
func each[T comparable](list []*departure, of func(*departure) T) []T {
	var out []T
	met := map[T]bool{}
	for _, d := range list {
		if v := of(d); !met[v] {
			met[v] = true
			out = append(out, v)
		}
	}
	return out
}

// joined is as much of a list as a line of evidence holds.
func joined[T any](list []T, text func(T) string) string {
	const most = 4
	var said []string
	for _, v := range list[:min(len(list), most)] {
		said = append(said, text(v))
	}
	line := strings.Join(said, ", ")
	if len(list) > most {
		line += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return line
}
