package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

func nodesNotReady(names ...string) change {
	return func(s *scene) {
		for i := range s.c.Nodes {
			for _, name := range names {
				if s.c.Nodes[i].Name == name {
					s.c.Nodes[i].Ready = false
				}
			}
		}
	}
}

// toNode2: the client addresses a port of the other node itself.
func toNode2(s *scene) {
	toFar(s)
	s.j.Flow.Dst = ap(node2IP, 10250)
	s.j.Translated = s.j.Flow
	s.c.Target = tracer.Endpoint{IP: addr(node2IP), Kind: tracer.KindNode, Name: "n2"}
	s.c.Destination, s.c.TargetPod, s.c.InPodCIDR = s.c.Target, nil, ""
}

func TestNodesThatAreNotReady(t *testing.T) {
	e := NewEngine()
	for _, tt := range []struct {
		name string
		with []change
		code string
		sure tracer.Confidence
	}{
		{"the node is ready", []change{toFar, left(webIP)}, "beyond-node", probable},
		{"another one is not", []change{toFar, left(webIP), nodesNotReady("n1")}, "beyond-node", probable},
		{"data without conditions", []change{toFar, left(webIP), nodesNotReady("n1", "n2")}, "beyond-node", probable},
		{"the data is old", []change{toFar, left(webIP), nodesNotReady("n2"), func(s *scene) { s.c.Stale = time.Minute }}, "node-down", suspected},
		{"it answers", []change{toFar, left(webIP), nodesNotReady("n2"), outcomeIs(tracer.OutcomeDelivered)}, "ok", confirmed},
		{"its pod refuses", []change{toFar, left(webIP), nodesNotReady("n2"), answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused)}, "app-no-listener", probable},
		{"a rule here drops", []change{toFar, filtered(), rule("", "drop"), nodesNotReady("n2")}, "node-forward-drop", confirmed},
		{"they left by a wrong route", []change{toFar, overlayCNI, defaultRoute, left(webIP), nodesNotReady("n2")}, "cni-route-missing", confirmed},
		{"outside of the cluster", []change{toWorld, left(nodeIP), nodesNotReady("n2")}, "beyond-node", probable},
	} {
		if v := e.Decide(given(tt.with...)); v.Code != tt.code || v.Confidence != tt.sure {
			t.Errorf("%s: %s %s, want %s %s: %s", tt.name, v.Confidence, v.Code, tt.sure, tt.code, v.Summary)
		}
	}
}

// A client that could not send did not: that no packet was seen says less.
func TestOutcomeNotSent(t *testing.T) {
	e := NewEngine()
	noRoute := []change{unseen, routeIs("src-pod", "none", "")}
	for name, tt := range map[string]struct {
		with []change
		want tracer.Outcome
	}{
		"no route, and counted": {append([]change{counted(webNS, "IpOutNoRoutes", 2)}, noRoute...), tracer.OutcomeNotSent},
		"no route":              {noRoute, tracer.OutcomeNotSeen},
		"nothing seen":          {[]change{unseen}, tracer.OutcomeNotSeen},
		"seen":                  {[]change{routeIs("src-pod", "none", ""), counted(webNS, "IpOutNoRoutes", 2)}, tracer.OutcomeNoAnswer},
	} {
		if v := e.Decide(given(tt.with...)); v.Outcome != tt.want {
			t.Errorf("%s: %s, want %s (%s)", name, v.Outcome, tt.want, v.Code)
		}
	}
}

// Where no program is attached, nobody says that one dropped the packet.
func TestTCFilterIsNoProgram(t *testing.T) {
	e := NewEngine()
	v := e.Decide(given(byTC()))
	if v.Code != "pol-foreign-bpf" || !strings.Contains(v.Summary, "police") || v.Confidence != probable {
		t.Errorf("%s %s: %s", v.Confidence, v.Code, v.Summary)
	}
	if v := e.Decide(given(byTC(), program("", "tc ingress", on(hostNS, vethWeb)))); strings.Contains(v.Summary, "police") {
		t.Errorf("%s", v.Summary)
	}
}
