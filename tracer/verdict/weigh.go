package verdict

import (
	"slices"

	"github.com/podpath/podpath/tracer"
)

// reach is what a fault breaks all of, for as long as it lasts.
type reach struct {
	// kind of share: a Service's port in one family, an endpoint, a path to another
	// node, or what one client has of these.
	kind, what string
	codes      []string
}

// reaches is that as data. Most codes are not in it: what a policy or a limit
// breaks is not all of any of these.
func reaches() []reach {
	return []reach{
		{byFamily, "the same Service", []string{"svc-no-endpoints", "svc-no-local-endpoints", "svc-kubeproxy-no-rules", "svc-wrong-service-port", "svc-clusterip-unallocated",
			"node-ip-forward-off", "egr-no-default-route", "node-link-down"}},
		{byEndpoint, "the same endpoint", []string{"cni-veth-down", "cni-veth-detached", "cni-pod-eth-down", "cni-host-route-missing", "cni-stale-neigh", "app-no-listener",
			"app-localhost-only", "svc-stale-endpoint", "svc-stale-affinity", "svc-wrong-targetport", "cni-hostport-missing"}},
		{byPair, "the same endpoint by the same client", []string{"cni-port-isolated"}},
		{byAsker, "the same destination by the same client", []string{"node-notrack", "node-redirected"}},
		{byPath, "the same node", []string{"node-down", "cni-route-missing", "cni-overlay-fdb-missing", "cni-overlay-fdb-wrong-node", "cni-overlay-neigh-missing",
			"cni-overlay-vni-mismatch", "cni-overlay-stale-vtep-mac", "cni-overlay-port-mismatch", "cni-wrong-interface"}},
	}
}

// weigh holds findings against what became of the other connections. What breaks
// all of something is less sure if a connection to it that began later was
// answered; what was only suspected is probable if all that failed had it in
// common, and none of the others.
func (e *Engine) weigh(in *Input, found []*Finding) {
	g := in.Beside
	if !g.partly() {
		return
	}
	for _, f := range found {
		i := slices.IndexFunc(e.reaches, func(r reach) bool { return slices.Contains(r.codes, f.Code) })
		if i < 0 {
			continue
		}
		r := e.reaches[i]
		switch {
		case in.answeredLater(r.kind):
			f.Confidence = lower(f.Confidence)
			f.Blind = append(f.Blind, tracer.Blind{What: "why a connection to " + r.what + " that began later was answered",
				Effect: "the fault comes and goes, or is not all of the cause"})
		case f.Confidence == tracer.Suspected && min(g.all.failed, g.all.answered()) >= enoughShared && g.onlyOf(in, r.kind):
			f.Confidence = tracer.Probable
		}
	}
}

// answeredLater: a connection with the same value of a kind began after this one,
// and was answered.
func (in *Input) answeredLater(kind string) bool {
	return slices.ContainsFunc(in.shareKeys(), func(k shareKey) bool {
		t := in.Beside.by[k]
		return k.kind == kind && t != nil && t.lastAnswer.After(in.Journey.First)
	})
}

// onlyOf: those that failed are those with this flow's value of a kind.
func (g *Group) onlyOf(in *Input, kind string) bool {
	k, ok := g.only(kind)
	return ok && slices.Contains(in.shareKeys(), k)
}

func lower(c tracer.Confidence) tracer.Confidence {
	if c == tracer.Confirmed {
		return tracer.Probable
	}
	return tracer.Suspected
}

// apportioned puts into the verdict which part of the connections fails. It comes
// and goes if this flow's own client was answered in its family between failures:
// what others get is no answer to it.
func (in *Input) apportioned(v *tracer.Verdict) {
	if !in.Beside.partly() {
		return
	}
	s := in.Beside.shares()
	v.Evidence = append(v.Evidence, in.seenState(in.NodeName, "so far %s; this one: %s", &s, in.Outcome))
	for _, text := range s.Shared {
		v.Evidence = append(v.Evidence, in.seenState(in.NodeName, "%s", text))
	}
	if own := in.Beside.by[in.asker()]; own != nil && own.mixed() && in.Outcome != tracer.OutcomeDNSError {
		v.Outcome = tracer.OutcomeIntermittent
	}
}
