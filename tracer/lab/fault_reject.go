package lab

import (
	"context"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rejectFaults answer for the server, in ways that look like its own answers.
func rejectFaults() []Fault {
	f := func(code, name, title, desc string, protocols []string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "node", Code: code, Protocols: protocols, Visible: 2 * time.Second, arrange: arrange}
	}
	byReset := f("pol-reject-mode", "policy-reject-reset", "a policy agent that resets", "A NetworkPolicy of the server does not allow the client in, and the agent answers with a reset.",
		[]string{"tcp"}, arrangePolicyReset)
	byReset.Component = "policy"
	unheard := f("node-firewall-reject", "firewall-resets-service", "the host firewall resets what goes to a Service", "The node's firewall answers bridged packets with a reset, which nobody translates back: the client does not take it for an answer.",
		[]string{"tcp"}, arrangeResetUnheard)
	unheard.Visible = silence
	return []Fault{
		f("node-firewall-reject", "firewall-refuses", "the host firewall says that nobody listens", "The node's firewall answers forwarded packets with port unreachable.",
			bothProtocols, arrangeFirewallRefuses),
		f("node-firewall-reject", "firewall-resets", "the host firewall resets", "The node's firewall answers forwarded packets with a reset, as the server would.",
			[]string{"tcp"}, arrangeFirewallResets),
		unheard,
		f("node-firewall-reject", "node-port-rejected", "the node's firewall turns its own pods away", "A pod asks for a port of its own node, and the node's firewall answers that it is prohibited.",
			bothProtocols, arrangeNodePortRejected),
		byReset,
	}
}

// resetting is "meta l4proto tcp reject with tcp reset".
func resetting() exprs {
	return append(l4("tcp"), &expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
}

func arrangeFirewallRefuses(_ context.Context, l *Lab) (*scene, error) {
	return l.toService().blamesRule(l.p.hostFW, "forward").shows(Refused), l.foreign(l.p.hostFW, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport(l.opts.Protocol, l.p.podPort), counter(), t.reject())
	})
}

func arrangeFirewallResets(_ context.Context, l *Lab) (*scene, error) {
	s := l.toServerPod().blamesRule(l.p.hostFW, "forward").shows(Refused)
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s, l.foreign(l.p.hostFW, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport("tcp", l.p.podPort), resetting())
	})
}

// arrangeResetUnheard: to a bridged packet the kernel sends the reset right back,
// past conntrack (nf_send_reset, net/ipv4/netfilter/nf_reject_ipv4.c, 6.18).
func arrangeResetUnheard(ctx context.Context, l *Lab) (*scene, error) {
	_, err := arrangeFirewallResets(ctx, l)
	return l.toServiceTCP().blamesRule(l.p.hostFW, "forward").shows(Timeout), err
}

func arrangeNodePortRejected(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.toNode(ctx)
	if err != nil {
		return nil, err
	}
	s.blamesRule(l.p.hostFW, "input").shows(HostUnreachable)
	if l.opts.IPv6 {
		s.shows(Prohibited)
	}
	return s, l.addTable(nftables.TableFamilyINet, l.p.hostFW, func(t *table) {
		in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		// RFC 1812 §5.2.7.1 code 13, RFC 4443 §3.1 code 1.
		t.rule(in, "", t.family(false), dport(l.opts.Protocol, l.p.altPort), counter(), exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 13}})
		t.rule(in, "", t.family(true), dport(l.opts.Protocol, l.p.altPort), counter(), exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 1}})
	})
}

func arrangePolicyReset(ctx context.Context, l *Lab) (*scene, error) {
	with(l, &l.rules.resetDenied, true)
	denied, err := arrangeIngressDeny(ctx, l)
	if err != nil {
		return nil, err
	}
	s := l.toServerPod()
	s.dial.Kind, s.dial.Retries, s.Object = dialHTTP, 0, denied.Object
	return s.shows(Refused), nil
}
