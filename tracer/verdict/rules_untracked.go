package verdict

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// untracked: a rule exempts the flow from conntrack, without which neither a
// Service's address is translated nor a pod's own.
func untracked(in *Input) *Finding {
	j := in.Journey
	if len(in.Node.Untracked) == 0 || j.CTSeen || in.delivered() || !in.wentOn() && !in.pastTranslation(in.cause()) {
		return nil
	}
	r := &in.Node.Untracked[0]
	f := &Finding{
		Code: "node-notrack", Confidence: tracer.Confirmed, Rule: r,
		Object: &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain},
	}
	switch {
	case in.serviceUntranslated():
		s := in.Cluster.Service
		f.Summary = fmt.Sprintf("a rule in table %s %s, chain %s exempts %s from conntrack, so that Service %s/%s (%s %s) is not translated although its rules are there",
			r.Family, r.Table, r.Chain, in.source(), s.Namespace, s.Name, j.Flow.Dst.Addr(), in.port())
		f.Evidence = append(f.Evidence, seenRule(in, r))
		in.confirmByPackets(f)
	case in.leftUnmasked():
		f.Summary = fmt.Sprintf("a rule in table %s %s, chain %s exempts %s from conntrack, so that what goes to %s is not masqueraded and leaves with the pod's own address",
			r.Family, r.Table, r.Chain, in.source(), j.Flow.Dst.Addr())
		f.Evidence = append(f.Evidence, seenRule(in, r), in.seenLeft(), seenRule(in, &in.Node.Masquerade[0]))
	default:
		return nil
	}
	return f
}

// inAnotherZone: answers are not translated back, for a rule has conntrack look for
// them where it does not know the connection. f: what came of that at the client, nil
// if the node kept the answer for itself.
func (in *Input) inAnotherZone(f *Finding) *Finding {
	refused := in.turnedBack()
	if len(in.Node.Zoned) == 0 || in.delivered() || f == nil && refused == nil {
		return nil
	}
	r := &in.Node.Zoned[0]
	out := &Finding{
		Code: "node-notrack", Confidence: tracer.Confirmed, Rule: r,
		Object: &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain},
		Summary: fmt.Sprintf("a rule in table %s %s, chain %s has conntrack look for the answers to %s in another zone than the one that knows the connection, so that they are not translated back",
			r.Family, r.Table, r.Chain, in.source()),
	}
	if f != nil {
		out.Evidence = f.Evidence
	} else {
		out.Evidence = []tracer.Evidence{in.seenDrop(refused)}
	}
	out.Evidence = append(out.Evidence, seenRule(in, r))
	return out
}

// serviceUntranslated: the node has rules for the Service that is asked, and the
// packet kept its address. A cluster IP that the node has itself is served there, as
// NodeLocal DNSCache does, which exempts it for that; IPVS has them all.
func (in *Input) serviceUntranslated() bool {
	s, r := in.Cluster.Service, in.Node.Services
	if s != nil && r != nil && s.Frontend == "cluster-ip" && !hasIPVS(r) {
		if d, ok := in.Inventory.Owner(in.Journey.Flow.Dst.Addr()); ok && in.onHost(d.DeviceKey) {
			return false
		}
	}
	return s != nil && r != nil && s.PortKnown && readyEndpoints(s) > 0 && in.untranslated() && in.expectsTranslation() &&
		r.HasFrontend && !r.NoEndpoints && !translatesElsewhere(r)
}

// leftUnmasked: what goes outside left with the pod's own address, and nobody
// answered, although a rule would masquerade it.
func (in *Input) leftUnmasked() bool {
	j := in.Journey
	return j.LeftNode && in.Outcome == tracer.OutcomeNoAnswer && in.external() && in.Cluster.SourcePod != nil && !in.Cluster.Source.HostNetwork &&
		j.LeftAs.Src.Addr() == j.Flow.Src.Addr() && len(in.Node.Masquerade) > 0
}
