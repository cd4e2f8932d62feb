package lab

import (
	"net/netip"
	"time"
)

// attemptTimeout lets a SYN be sent three times on every kernel: at 0, 1 and
// 2 s with linear timeouts (6.5 and later), at 0, 1 and 3 s without. An address
// that nobody answers for is given up after 3 s.
const attemptTimeout = 4500 * time.Millisecond

// between makes a scene of requests from a namespace to an address.
func (l *Lab) between(from *space, fromRef string, to netip.AddrPort, toRef string) *scene {
	kind, retries := dialHTTP, 0
	if l.opts.Protocol == "udp" {
		kind, retries = dialUDP, 3
	}
	return &scene{
		Scenario: Scenario{From: fromRef, To: toRef},
		from:     from, attempts: 4, gap: 300 * time.Millisecond,
		dial: dialArgs{Kind: kind, To: to, Timeout: attemptTimeout, Retries: retries},
	}
}

// toService goes from the client to the server's Service.
func (l *Lab) toService() *scene {
	c, s := l.client(), l.api()
	return l.between(c.space, c.ref(), netip.AddrPortFrom(s.ip(l.opts.IPv6), l.p.svcPort), s.ref(l.p.svcPort))
}

// toServiceTCP is toService for faults that only TCP knows.
func (l *Lab) toServiceTCP() *scene {
	s := l.toService()
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s
}

// toHost goes from the client to an address, port included.
func (l *Lab) toHost(v4, v6 netip.Addr, port uint16) *scene {
	c := l.client()
	to := netip.AddrPortFrom(l.pick(v4, v6), port)
	return l.between(c.space, c.ref(), to, to.String())
}

func (l *Lab) toInternet() *scene { return l.toHost(l.p.host4, l.p.host6, l.p.hostPort) }

func (l *Lab) toFarPod() *scene {
	far := l.far()
	return l.toHost(far.ip4, far.ip6, l.p.farPort)
}

// toDNS asks the cluster's DNS for the server's name.
func (l *Lab) toDNS() *scene {
	c, s := l.client(), l.dnsService()
	x := l.between(c.space, c.ref(), netip.AddrPortFrom(s.ip(l.opts.IPv6), 53), s.ref(53))
	x.dial.Kind, x.dial.Retries, x.dial.Name = dialDNS, 3, l.api().dns()
	return x
}

// family is the nf_tables family of the scene's packets.
func (l *Lab) family() string {
	if l.opts.IPv6 {
		return "ip6"
	}
	return "ip"
}

func (l *Lab) pick(v4, v6 netip.Addr) netip.Addr {
	if l.opts.IPv6 {
		return v6
	}
	return v4
}

// blames names the object at fault.
func (s *scene) blames(kind, ns, name string) *scene {
	s.Object = Object{kind, ns, name}
	return s
}

func (s *scene) shows(o ...Outcome) *scene {
	s.Symptoms = o
	return s
}

// showsTCP is shows for faults that answer with an ICMP error which the kernel
// reports to a connecting TCP socket, but keeps from a UDP socket (udp(7):
// errors that are not fatal need IP_RECVERR).
func (s *scene) showsTCP(o ...Outcome) *scene {
	if s.dial.Kind == dialHTTP {
		return s.shows(o...)
	}
	return s.shows(Timeout)
}

// rarely makes few attempts. The kernel charges an ICMP error of its routing
// twice to the same allowance of the receiver (ip_error and icmp_send, net/ipv4,
// 6.18), which is used up after two, and refills too slowly for the rest.
func (s *scene) rarely() *scene {
	s.attempts = 2
	return s
}
