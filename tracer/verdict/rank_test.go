package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// otherPod: what the flow was translated to is, by the cluster's data, a pod that
// belongs to something else.
func otherPod(s *scene) {
	s.c.TargetPod = &tracer.PodFacts{Namespace: "db", Name: "other", Phase: "Running", Ready: true, Node: "n1"}
}

// Two findings of one flow: which is the cause, and how the other stands to it.
func TestRank(t *testing.T) {
	once := []dropChange{times(1), lasting(0, 0)}
	deadEnd := []change{toService, translated("10.1.0.66", 8080), otherPod, func(s *scene) {
		s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.66", 8080))
	}}
	scenes := map[string][]change{}
	for _, f := range append(faults(), agentFaults()...) {
		scenes[f.name] = f.with
	}
	for _, f := range lookalikes() {
		scenes[f.name] = f.with
	}
	tests := []struct {
		name       string
		with       []change
		code, also string
		why        string // how the why begins
		// rules: the order of the rules decides, because neither follows from the
		// other.
		rules bool
	}{
		{"a dead endpoint's neighbour", append(slices.Clone(deadEnd), noNeighbour()), "svc-stale-endpoint", "cni-host-route-missing", "follows from svc-stale-endpoint, which sends the packets where nobody waits for them: ", false},
		{"a policy at a dead endpoint's heir", append(slices.Clone(deadEnd), filtered(), denies("ingress", "peer")), "svc-stale-endpoint", "pol-ingress-deny", "follows from svc-stale-endpoint", false},
		{"a policy before the translation to a dead endpoint", slices.Concat([]change{toService, filtered(once...)}, deadEnd[1:], []change{noNeighbour(), rule("", "drop"), denies("egress", "peer")}),
			"svc-stale-endpoint", "cni-host-route-missing", "follows from svc-stale-endpoint", false},
		{"a sidecar's port", scenes["inbound sidecar"], "app-sidecar-missing", "app-no-listener", "follows from app-sidecar-missing, which sends the packets to a port where nobody listens: ", false},
		{"another pod with the address", scenes["two pods with the address"], "cni-duplicate-ip", "app-no-listener", "follows from cni-duplicate-ip, which lets another pod take the packets: ", false},
		{"no Service rules, no route", scenes["no rules, no route either"], "svc-kubeproxy-no-rules", "cni-route-none", "follows from svc-kubeproxy-no-rules, which leaves the packets with the Service's address", false},
		{"rejected for want of endpoints", scenes["no endpoints, rejected"], "svc-no-endpoints", "svc-stale-endpoint", "follows from svc-no-endpoints, which has the proxy turn the packets away: ", false},
		{"dropped before the Service was asked", scenes["no endpoints, but a policy agent's program drops"], "pol-egress-deny", "svc-no-endpoints", "another fault of the same flow: ", true},
		{"a veth that is down", scenes["target's veth down"], "cni-veth-down", "cni-stale-neigh", "follows from cni-veth-down, which leaves the packets without a way to their next hop: ", false},
		{"a question for the next hop that a firewall drops", []change{overSix, noNeighbour(at3(on(webNS, eth0))), blockedQuestion(tracer.StageForward)}, "node-forward-drop", "cni-gateway-arp", "follows from node-forward-drop, which leaves the packets without a way to their next hop: ", false},
		{"an uplink that is down", scenes["uplink down"], "node-link-down", "egr-no-default-route", "follows from node-link-down", false},
		{"no masquerade", scenes["no masquerade"], "egr-masq-missing", tracer.CodeBeyondNode, "follows from egr-masq-missing, which sends the packets out so that no answer can come: ", false},
		{"a loop", scenes["loop"], "node-routing-loop", tracer.CodeBeyondNode, "follows from node-routing-loop", false},
		{"large segments", scenes["large segments vanish outside"], "ext-mtu-fabric", tracer.CodeBeyondNode, "follows from ext-mtu-fabric, which lets small packets pass and large ones vanish: ", false},
		{"a denial that would be enforced elsewhere", []change{toFar, left(webIP), denies("ingress", "peer")}, tracer.CodeBeyondNode, "pol-ingress-deny", "may be the cause, but is only suspected: ", true},
		{"one drop, two readings", scenes["firewalld drops what a policy denies as well"], "pol-ingress-deny", "node-forward-drop", "another reading of the same packets: ", true},
		{"an endpoint that does not serve any more", []change{toService, translated(apiIP, 8080), refusedByTarget, terminating(false)}, "svc-terminating-endpoint", "app-no-listener", "follows from svc-terminating-endpoint, which sends the packets to a pod that does not serve any more: ", false},
		{"an endpoint that counts as serving", []change{toService, translated(apiIP, 8080), refusedByTarget, terminating(true)}, "svc-terminating-endpoint", "app-no-listener", "another reading of the same packets: ", true},
		{"nothing was seen", scenes["nothing seen, and the Service has no endpoints"], tracer.CodeUnknown, "svc-no-endpoints", "would explain it, but no packet met it: ", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := NewEngine()
			v := e.Decide(given(tt.with...))
			i := slices.IndexFunc(v.AlsoSeen, func(a tracer.AlsoSeen) bool { return a.Code == tt.also })
			if v.Code != tt.code || i < 0 || !strings.HasPrefix(v.AlsoSeen[i].Why, tt.why) {
				t.Fatalf("%s, also %+v, want %s, also %s because it %q", v.Code, v.AlsoSeen, tt.code, tt.also, tt.why)
			}
			slices.Reverse(e.rules)
			if again := e.Decide(given(tt.with...)); !tt.rules && again.Code != tt.code {
				t.Errorf("with the rules in another order it is %s: the relation does not decide", again.Code)
			}
		})
	}
}

// What looks like it follows, and does not.
func TestRankLookalikes(t *testing.T) {
	once := []dropChange{times(1), lasting(0, 0)}
	for _, tt := range []struct {
		name      string
		with      []change
		also, why string // also "": nothing may be said to follow
	}{
		{"a neighbour that fails for an endpoint that is listed", []change{toService, translated(apiIP, 8080), noNeighbour()}, "", ""},
		{"no route, and no Service in it", []change{noRouteAt(), routeIs("forward", "none", "")}, "", ""},
		{"a drop of packets before their translation to a dead endpoint", []change{toService, inCore(tracer.StageForward, once...), translated("10.1.0.66", 8080), noNeighbour(), func(s *scene) {
			s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.66", 8080))
		}, rule("ufw", "drop")}, "", ""},
		{"silence outside, beside one drop here that passed on", []change{toWorld, left(nodeIP), byTC(once...)}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := NewEngine().Decide(given(tt.with...))
			for _, a := range v.AlsoSeen {
				if strings.HasPrefix(a.Why, "follows") {
					t.Errorf("%s, and %+v", v.Code, a)
				}
			}
		})
	}
}

// Whatever is found together: a cause is never said to follow from its sign, and
// the verdict follows from nothing that is as sure.
func TestRankIsSound(t *testing.T) {
	e := NewEngine()
	for _, a := range faults() {
		for _, b := range faults() {
			in := together(a, b)
			if in == nil {
				continue
			}
			v := e.Decide(in)
			for _, s := range v.AlsoSeen {
				if s.Why == "" || strings.HasPrefix(s.Why, "follows from "+s.Code+",") {
					t.Fatalf("%s + %s: %s, also %+v", a.name, b.name, v.Code, s)
				}
			}
		}
	}
}

// Every effect has causes and signs, and nothing is its own.
func TestEffects(t *testing.T) {
	c := NewCatalogue()
	for _, x := range effects() {
		if x.does == "" || x.holds == nil || len(x.causes) == 0 || len(x.signs) == 0 {
			t.Errorf("%q is not complete", x.does)
		}
		for _, list := range [][]string{x.causes, x.signs} {
			if len(slices.Compact(slices.Sorted(slices.Values(list)))) != len(list) {
				t.Errorf("%q lists a code twice: %s", x.does, list)
			}
			for _, code := range list {
				if !c.Has(code) {
					t.Errorf("%q: no code %q", x.does, code)
				}
			}
		}
	}
}
