package verdict

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// endpointIs changes the Service's endpoint as the slices list it now.
func endpointIs(f func(*tracer.ServiceEndpoint)) change {
	return func(s *scene) { f(&s.c.Service.Endpoints[0]) }
}

func notReady(e *tracer.ServiceEndpoint) { e.Ready, e.Serving = false, false }

// another is a ready endpoint that the node may send to, of this node.
func another(s *scene) {
	s.c.Service.Endpoints = append(s.c.Service.Endpoints, tracer.ServiceEndpoint{Addr: ap("10.1.0.12", 8080), Ready: true, Serving: true, Pod: "db/api2", Node: "n1"})
	s.c.Service.Ready++
}

// expects says where the node ought to send the flow.
func expects(addrs ...netip.AddrPort) change {
	return func(s *scene) {
		s.c.Service.Expected = &tracer.ServiceTargets{Local: s.c.Service.InternalLocal, Addrs: addrs}
		for _, e := range s.c.Service.Endpoints {
			if s.c.Service.InternalLocal && e.Node != "n1" && e.Ready {
				s.c.Service.Expected.Elsewhere++
			}
		}
	}
}

// rulesName are the endpoints that the node's rules have.
func rulesName(addrs ...netip.AddrPort) change {
	return func(s *scene) { s.n.Services.Targets = addrs }
}

var (
	oldAddr, newAddr = ap(apiIP, 8080), ap(apiIP, 9090)
	api2             = ap("10.1.0.12", 8080)
	farAddr          = ap(farIP, 8080)
)

// newTargetPort: the Service's targetPort was edited to 9090, which the pod serves.
func newTargetPort(s *scene) {
	s.c.Service.TargetPort = "9090"
	s.c.Service.Endpoints[0].Addr = newAddr
	s.c.TargetPod.Ports[0].Port = 9090
	listening("0.0.0.0:9090")(s)
	expects(newAddr)(s)
}

// internalLocal: the traffic policy is Local, an endpoint is here and one on n2.
func internalLocal(s *scene) {
	s.c.Service.InternalLocal = true
	s.c.Service.Endpoints = append(s.c.Service.Endpoints, tracer.ServiceEndpoint{Addr: farAddr, Ready: true, Serving: true, Pod: "db/far", Node: "n2"})
	expects(oldAddr)(s)
}

func expectedFaults() []fault {
	const rule, stale = "stale-endpoint", "svc-stale-endpoint"
	svc := func(with ...change) []change { return append([]change{toService, translated(apiIP, 8080)}, with...) }
	far := func(with ...change) []change {
		return append([]change{toService, internalLocal, translated(farIP, 8080), left(webIP)}, with...)
	}
	udp := func(with ...change) []change {
		return append([]change{toService, proto(tracer.ProtoUDP), translated(apiIP, 8080)}, with...)
	}
	return []fault{
		{"the node has the old targetPort", rule, stale, confirmed, "Service db/api", svc(refusedByTarget, newTargetPort)},
		{"the node has just got the new targetPort", rule, stale, probable, "Service db/api", svc(refusedByTarget, newTargetPort, rulesName(newAddr))},
		{"an entry has the old targetPort", rule, "svc-stale-udp-conntrack", confirmed, "Service db/api", udp(newTargetPort, rulesName(newAddr))},
		{"an endpoint that is not ready, and another is", rule, stale, probable, "Service db/api", svc(refusedByTarget, another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2))},
		{"the same, silent", rule, stale, probable, "Service db/api", svc(reached, another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2))},
		{"the same, and the rules were not read", rule, stale, probable, "Service db/api", svc(refusedByTarget, another, endpointIs(notReady), expects(api2), func(s *scene) { s.n.Services = nil })},
		{"the same, and the cluster's data is old", rule, stale, probable, "Service db/api", svc(refusedByTarget, another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2), func(s *scene) { s.c.Stale = time.Minute })},
		{"an entry pins to one that is not ready", rule, "svc-stale-udp-conntrack", probable, "Service db/api", udp(reached, another, endpointIs(notReady), expects(api2), rulesName(api2))},
		{"Local, and the rules send to another node", rule, stale, confirmed, "Service db/api", far(rulesName(oldAddr, farAddr))},
		{"Local, and only the rules' end is unknown", rule, stale, probable, "Service db/api", far(func(s *scene) { s.n.Services.Complete = false })},
		{"not ready, silent, and its pod has crashed", rule, stale, probable, "Service db/api", svc(another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2), unwell(1), noNeighbour())},
		{"the node has the old targetPort, and the pod has started anew once", rule, stale, confirmed, "Service db/api", svc(refusedByTarget, newTargetPort, func(s *scene) { s.c.TargetPod.Restarts = 1 })},
		{"a terminating endpoint whose pod is gone, others are ready", rule, stale, confirmed, "Service db/api", svc(reached, another, endpointIs(func(e *tracer.ServiceEndpoint) {
			e.Ready, e.Terminating = false, true
		}), expects(api2), rulesName(oldAddr, api2))},
	}
}

func expectedLookalikes() []lookalike {
	const stale = "svc-stale-endpoint svc-stale-udp-conntrack"
	svc := func(with ...change) []change { return append([]change{toService, translated(apiIP, 8080)}, with...) }
	return []lookalike{
		{"translated as it ought to be, and refused", svc(refusedByTarget, expects(oldAddr)), "app-no-listener", stale, ""},
		{"one of two that are ready refuses", svc(refusedByTarget, another, expects(oldAddr, api2), rulesName(oldAddr, api2)), "app-no-listener", stale, ""},
		{"it has crashed, and the rules have not followed yet", svc(refusedByTarget, another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2), unwell(1)), "app-no-listener", "svc-stale-udp-conntrack", ""},
		{"it has started anew and is not ready, the rules have not followed yet", svc(refusedByTarget, another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2), func(s *scene) {
			s.c.TargetPod.Restarts = 1
		}), "app-no-listener", "svc-stale-udp-conntrack", ""},
		{"older recordings do not say what is expected", svc(refusedByTarget, another, endpointIs(notReady), rulesName(oldAddr, api2)), "app-no-listener", stale, ""},
		{"not ready, and no other is", svc(refusedByTarget, endpointIs(notReady), expects(), rulesName(oldAddr)), "app-no-listener", stale, ""},
		{"not ready since, and the rules have followed", svc(refusedByTarget, another, endpointIs(notReady), expects(api2), rulesName(api2)), "app-no-listener", stale, ""},
		{"a connection that is older than the endpoint's trouble", svc(reached, established, outcomeIs(tracer.OutcomeConnectedNoData), another, endpointIs(notReady), expects(api2), rulesName(api2)), "app-hang", stale, ""},
		{"a connection that is older than the new targetPort", svc(reached, established, outcomeIs(tracer.OutcomeConnectedNoData), newTargetPort, rulesName(newAddr)), "app-hang", stale, ""},
		{"a policy denies ingress to one that is not ready", svc(another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2), filtered(), rule("calico", "drop"), denies("ingress", "peer")), "pol-ingress-deny", stale, ""},
		{"a wrong targetPort that the node has as well", svc(refusedByTarget, listening("0.0.0.0:9090"), expects(oldAddr), func(s *scene) { s.c.TargetPod.Ports[0].Port = 9090 }), "svc-wrong-targetport", stale, ""},
		{"Local, and the endpoint here refuses", []change{toService, internalLocal, translated(apiIP, 8080), refusedByTarget, rulesName(oldAddr)}, "app-no-listener", stale, ""},
		{"not Local, and sent to another node", []change{toService, internalLocal, expects(oldAddr, farAddr), translated(farIP, 8080), left(webIP), rulesName(oldAddr, farAddr), func(s *scene) {
			s.c.Service.InternalLocal, s.c.Service.Expected.Local = false, false
		}}, "beyond-node", stale, ""},
		{"none is ready, and one that ends still serves", svc(refusedByTarget, terminating(true), expects(oldAddr), rulesName(oldAddr)), "svc-terminating-endpoint", stale, ""},
	}
}

// A control: what is delivered is healthy, wherever it was sent.
func TestExpectedHealthy(t *testing.T) {
	for name, with := range map[string][]change{
		"as expected":  {toService, translated(apiIP, 8080), reached, expects(oldAddr)},
		"not expected": {toService, translated(apiIP, 8080), reached, another, endpointIs(notReady), expects(api2)},
	} {
		if v := NewEngine().Decide(given(append(with, outcomeIs(tracer.OutcomeDelivered))...)); v.Code != tracer.CodeOK {
			t.Errorf("%s: %s: %s", name, v.Code, v.Summary)
		}
	}
}
