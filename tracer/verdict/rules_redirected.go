package verdict

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// redirected: a rule that is no part of the cluster's gave the flow another
// destination, and there it failed.
func redirected(in *Input) *Finding {
	t, dnat := in.lostTo()
	if !dnat || in.delivered() {
		return nil
	}
	r := in.redirection(t)
	if r == nil {
		return nil
	}
	by := ""
	if r.Owner != "" {
		by = " (written by " + r.Owner + ")"
	}
	f := &Finding{
		Code: "node-redirected", Confidence: tracer.Confirmed, Rule: r,
		Object: &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain},
		Summary: fmt.Sprintf("a rule in table %s %s, chain %s%s on %s sends what %s asks %s for to %s instead, where it fails",
			r.Family, r.Table, r.Chain, by, in.NodeName, in.source(), in.destination()+" on "+in.port(), t.To),
		Evidence: []tracer.Evidence{in.seenTranslation(t), seenRule(in, r)},
	}
	if d := in.cause(); d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	if s := in.Cluster.Service; s != nil && (in.Node.Services == nil || len(in.Node.Services.Implementations) == 0) {
		f.Confidence = tracer.Probable // what serves Services here is not known: it may be its rule
	}
	return f
}

// redirection is the foreign rule that made a translation. What is sent to the node's
// own address is its firewall's to pass on, and where a Service is sent to one of its
// endpoints nothing is wrong.
func (in *Input) redirection(t tracer.Translation) *tracer.RuleFact {
	if len(in.Node.Redirected) == 0 || t.From != in.Journey.Flow.Dst || in.Cluster.Destination.Kind == tracer.KindNode {
		return nil
	}
	r := &in.Node.Redirected[0]
	if r.Owner != "" && !foreignOwner(r.Owner) || r.Endpoint.IsValid() && r.Endpoint != t.To {
		return nil
	}
	if d, ok := in.Inventory.Owner(t.From.Addr()); ok && in.onHost(d.DeviceKey) {
		return nil
	}
	if d, ok := in.Inventory.Owner(t.To.Addr()); !r.Endpoint.IsValid() && !(ok && in.onHost(d.DeviceKey)) {
		return nil
	}
	if s := in.Cluster.Service; s != nil && slices.ContainsFunc(s.Endpoints, func(e tracer.ServiceEndpoint) bool { return e.Addr == t.To }) {
		return nil
	}
	return r
}
