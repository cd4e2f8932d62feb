package verdict

import "github.com/podpath/podpath/tracer"

// expected is where this node's proxy may send the flow. Recordings that do not
// say it have what the traffic policies and the endpoints' conditions give.
func (in *Input) expected(s *tracer.ServiceFacts) tracer.ServiceTargets {
	if s.Expected != nil {
		return *s.Expected
	}
	var t tracer.ServiceTargets
	if s.Frontend == "cluster-ip" {
		t.Local = s.InternalLocal
	} else {
		t.Local = s.ExternalLocal && !in.fromInside()
	}
	for _, e := range s.Endpoints {
		switch {
		case !e.Ready && !(e.Serving && e.Terminating):
		case t.Local && e.Node != in.NodeName:
			t.Elsewhere++
		default:
			t.Addrs = append(t.Addrs, e.Addr)
		}
	}
	return t
}

// fromInside: kube-proxy takes the client for the cluster's own, which
// externalTrafficPolicy does not bind: a pod, or this node itself (kubernetes
// pkg/proxy/iptables/proxier.go, chain KUBE-EXT). A pod in another node's network
// is that node.
func (in *Input) fromInside() bool {
	c := &in.Cluster.Source
	switch {
	case in.Journey.Flow.Src.Addr().IsLoopback(), c.Kind == tracer.KindPod && !c.HostNetwork:
		return true
	case c.Kind == tracer.KindPod:
		return c.Node == in.NodeName
	}
	return c.Kind == tracer.KindNode && c.Name == in.NodeName
}
