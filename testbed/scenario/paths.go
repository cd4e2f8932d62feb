package scenario

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/testbed/k8s"
)

// paths are healthy, too: what matters is that every hop has the right names.
func paths() []Scenario {
	all := []Scenario{
		{Name: "path-deployment", About: "a Deployment's pod to a Deployment's, one node", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			return s.workloads(ctx, "Deployment", n, "Deployment", n)
		}},
		{Name: "path-daemonset-other-node", About: "a DaemonSet's pod to a StatefulSet's on the other node, seen where it leaves", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			return s.workloads(ctx, "DaemonSet", n, "StatefulSet", s.Other(n))
		}},
		{Name: "path-from-other-node", About: "the same the other way about, seen where it arrives", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			sc, err := s.workloads(ctx, "StatefulSet", n, "DaemonSet", s.Other(n))
			if err != nil {
				return nil, err
			}
			sc.Node, sc.From = s.Other(n), sc.Client.(*k8s.Pod).Addr.String()
			sc.Want.Path = append(sc.Want.Path, "node "+sc.Node.Name)
			return sc, nil
		}},
		{Name: "path-headless", About: "a headless Service, asked for by its name", Build: headlessByName},
		{Name: "path-host-network", About: "a pod to a pod of the other node's own network", Build: toHostNetwork},
		{Name: "path-node-to-pod", About: "a program of the node itself to a pod of the other node", Build: nodeToPod},
		{Name: "path-dns-same-node", About: "UDP DNS through its Service, CoreDNS on the client's node", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return s.lookupFrom(ctx, s.dnsNode())
		}},
		{Name: "path-dns-other-node", About: "UDP DNS through its Service, CoreDNS on the other node", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return s.lookupFrom(ctx, s.Other(s.dnsNode()))
		}},
	}
	return append(all, proxied(
		eachProxy{"path-service", "a Service with one endpoint on the other node", serviceElsewhere},
		eachProxy{"path-nodeport-far", "outside to a node's NodePort, the endpoint on the other node", nodePortOfOther},
		eachProxy{"path-nodeport-local", "outside to a NodePort of a Service with externalTrafficPolicy Local", nodePortLocal},
		eachProxy{"path-host-port", "outside to a hostPort", hostPort},
	)...)
}

// eachProxy is a scenario that a node's kube-proxy, or its rules for ports of the
// node, decide.
type eachProxy struct {
	name, about string
	build       func(context.Context, *Stage, *k8s.Node) (*Scene, error)
}

// proxied are two scenarios of each, as each node has another mode of kube-proxy.
func proxied(scenarios ...eachProxy) []Scenario {
	var all []Scenario
	for _, one := range scenarios {
		for i, which := range []string{"first", "second"} {
			all = append(all, Scenario{Name: one.name + "-" + which, About: one.about, Build: func(ctx context.Context, s *Stage) (*Scene, error) {
				return one.build(ctx, s, s.Nodes()[i])
			}})
		}
	}
	return all
}

// tunnelled is how the path shows packets between pods, or addresses, of two nodes,
// and their answers: in flannel's tunnel, if there is one.
func (s *Stage) tunnelled(from *k8s.Node, src string, to *k8s.Node, dst string) []string {
	if s.Flavour.Backend != "vxlan" {
		return nil
	}
	return []string{inTunnel("vxlan", to.Addr, src, dst), inTunnel("vxlan", from.Addr, dst, src)}
}

// sourceOf is the address that a node, or the outside, sends from to somebody, and
// which a node gives what it masquerades on the way there.
func (s *Stage) sourceOf(n *k8s.Space, to string) (string, error) {
	out, err := n.Output("ip", "-json", s.byFamily("-4", "-6"), "route", "get", to)
	if err != nil {
		return "", err
	}
	var routes []struct{ PrefSrc string }
	if err := json.Unmarshal([]byte(out), &routes); err != nil || len(routes) != 1 || routes[0].PrefSrc == "" {
		return "", fmt.Errorf("the route to %s: %s", to, out)
	}
	return routes[0].PrefSrc, nil
}

// Workload makes pods by a controller, one on each node or on one node only.
func (s *Stage) Workload(ctx context.Context, kind string, node *k8s.Node, port int32) (k8s.Workload, *k8s.Pod, error) {
	name := s.Word()
	w := k8s.Workload{
		Kind: kind, Namespace: s.Namespace, Name: name, Labels: map[string]string{"app": name}, Node: node.Name, Pods: 1,
		Ports: []corev1.ContainerPort{{Name: "main", ContainerPort: port}},
	}
	pods, err := s.StartWorkload(ctx, w)
	if err != nil {
		return w, nil, err
	}
	for _, p := range pods {
		s.onClose(p.Remove)
	}
	s.onClose(func(ctx context.Context) error { return s.RemoveWorkload(ctx, w) })
	return w, pods[0], nil
}

// workloads is a client and a server that controllers made.
func (s *Stage) workloads(ctx context.Context, clientKind string, from *k8s.Node, serverKind string, to *k8s.Node) (*Scene, error) {
	port := s.Port()
	sw, server, err := s.Workload(ctx, serverKind, to, port)
	if err != nil {
		return nil, err
	}
	if err := s.Listen(ctx, server, "", port); err != nil {
		return nil, err
	}
	cw, client, err := s.Workload(ctx, clientKind, from, s.Port())
	if err != nil {
		return nil, err
	}
	w := healthy
	w.Path = []string{
		podName(client), podName(server), "owner " + clientKind + "/" + cw.Name, "owner " + serverKind + "/" + sw.Name,
		"node " + from.Name, "node " + to.Name,
	}
	if from != to {
		w.Path = append(w.Path, s.tunnelled(from, client.Addr.String(), to, server.Addr.String())...)
	}
	return &Scene{
		Client: client, Network: "tcp", Target: at(server.Addr.String(), port), Node: from,
		From: s.ref("pod", client.Name), To: s.ref("pod", server.Name) + ":" + itoa(port), Want: w,
	}, nil
}

func podName(p *k8s.Pod) string { return "pod " + p.Namespace + "/" + p.Name }

// toPod is how a translation names a pod.
func toPod(p *k8s.Pod) string { return "to " + p.Namespace + "/pod/" + p.Name }

func (s *Stage) serviceName(app string) string { return "service " + s.Namespace + "/" + app }

// behind is a Service with one server, on a node.
func (s *Stage) behind(ctx context.Context, n *k8s.Node, edit func(*corev1.Service)) (*corev1.Service, *k8s.Pod, error) {
	app, port, target := s.Word(), s.Port(), s.Port()
	server, err := s.Server(ctx, n, app, target)
	if err != nil {
		return nil, nil, err
	}
	svc, err := s.Service(ctx, app, port, target, edit)
	return svc, server, err
}

func serviceElsewhere(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	svc, server, err := s.behind(ctx, s.Other(n), nil)
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	port := svc.Spec.Ports[0].Port
	w := healthy
	w.Path = append(s.tunnelled(n, client.Addr.String(), s.Other(n), server.Addr.String()),
		podName(client), s.serviceName(svc.Name), toPod(server), "hop "+client.Namespace+"/"+client.Name,
		translated("dnat", svc.Spec.ClusterIP, server.Addr.String()))
	return &Scene{
		Client: client, Network: "tcp", Target: at(svc.Spec.ClusterIP, port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("svc", svc.Name) + ":" + itoa(port), Want: w,
	}, nil
}

// headlessByName: the packets carry the pod's address, which is all that there
// is of such a Service.
func headlessByName(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	svc, server, err := s.behind(ctx, s.Other(n), func(svc *corev1.Service) { svc.Spec.ClusterIP = corev1.ClusterIPNone })
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	w := healthy
	w.Path = append(s.tunnelled(n, client.Addr.String(), s.Other(n), server.Addr.String()),
		podName(client), podName(server), "node "+server.Node)
	return &Scene{
		Client: client, Network: "tcp", Target: at(server.Addr.String(), server.Ports[0].ContainerPort), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("svc", svc.Name), Want: w,
	}, s.awaitEndpoints(ctx, svc.Name, 1)
}

// nodePortOfOther is the outside that asks a node for a Service whose endpoint
// is on the other one.
func nodePortOfOther(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	svc, server, err := s.behind(ctx, s.Other(n), nodePortWith(corev1.ServiceExternalTrafficPolicyCluster))
	if err != nil {
		return nil, err
	}
	source, err := s.sourceOf(n.Space, server.Addr.String())
	if err != nil {
		return nil, err
	}
	client, err := s.sourceOf(s.Outside, n.Addr)
	if err != nil {
		return nil, err
	}
	w := healthy
	w.Path = append(s.tunnelled(n, source, s.Other(n), server.Addr.String()), s.serviceName(svc.Name), toPod(server),
		translated("dnat", n.Addr, server.Addr.String()), translated("snat", client, source))
	return &Scene{
		Client: s.Outside, Network: "tcp", Target: at(n.Addr, svc.Spec.Ports[0].NodePort), Node: n,
		From: "any", To: s.ref("svc", svc.Name), Want: w,
	}, nil
}

func nodePortWith(policy corev1.ServiceExternalTrafficPolicy) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, policy
		svc.Spec.Ports = svc.Spec.Ports[:1]
	}
}

func nodePortLocal(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	svc, server, err := s.behind(ctx, n, nodePortWith(corev1.ServiceExternalTrafficPolicyLocal))
	if err != nil {
		return nil, err
	}
	w := healthy
	w.Path = []string{
		s.serviceName(svc.Name), toPod(server), "hop " + server.Namespace + "/" + server.Name,
		translated("dnat", n.Addr, server.Addr.String()),
	}
	return &Scene{
		Client: s.Outside, Network: "tcp", Target: at(n.Addr, svc.Spec.Ports[0].NodePort), Node: n,
		From: "any", To: s.ref("svc", svc.Name), Want: w,
	}, nil
}

func hostPort(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	app, port, published := s.Word(), s.Port(), s.Port()
	server, err := s.Pod(ctx, n, app, corev1.ContainerPort{Name: "main", ContainerPort: port, HostPort: published})
	if err != nil {
		return nil, err
	}
	w := healthy
	w.Path = []string{
		toPod(server), "hop " + server.Namespace + "/" + server.Name, "node " + n.Name,
		translated("dnat", n.Addr, server.Addr.String()),
	}
	return &Scene{
		Client: s.Outside, Network: "tcp", Target: at(n.Addr, published), Node: n,
		From: "any", To: s.ref("pod", server.Name) + ":" + itoa(port), Want: w,
	}, s.Listen(ctx, server, "", port)
}

func toHostNetwork(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	port := s.Port()
	server, err := s.pod(ctx, k8s.PodSpec{
		Node: s.Other(n).Name, Labels: map[string]string{"app": s.Word()}, HostNetwork: true,
		Ports: []corev1.ContainerPort{{Name: "main", ContainerPort: port, HostPort: port}},
	})
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	w := healthy
	// flannel masquerades what leaves for no pod.
	w.Path = []string{podName(client), "node " + server.Node, translated("snat", client.Addr.String(), n.Addr)}
	w.Untold = "how a node's own address is reached is no CNI's affair"
	return &Scene{
		Client: client, Network: "tcp", Target: at(server.Addr.String(), port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("pod", server.Name) + ":" + itoa(port), Want: w,
	}, s.Listen(ctx, server, "", port)
}

func nodeToPod(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	port := s.Port()
	server, err := s.Server(ctx, s.Other(n), s.Word(), port)
	if err != nil {
		return nil, err
	}
	source, err := s.sourceOf(n.Space, server.Addr.String())
	if err != nil {
		return nil, err
	}
	w := healthy
	w.Path = append(s.tunnelled(n, source, s.Other(n), server.Addr.String()), podName(server), "node "+n.Name, "node "+server.Node)
	if source == n.Addr {
		// flannel masquerades what comes to a pod from another address than a pod's,
		// or than its tunnel's: then by another port only.
		w.Path = append(w.Path, translated("snat", source, source))
	}
	return &Scene{
		Client: n.Space, Network: "tcp", Target: at(server.Addr.String(), port), Node: n,
		From: "node/" + n.Name, To: s.ref("pod", server.Name) + ":" + itoa(port), Want: w,
	}, nil
}

// dnsNode is where CoreDNS runs.
func (s *Stage) dnsNode() *k8s.Node { return s.Node(s.DNS().Node) }

func (s *Stage) lookupFrom(ctx context.Context, n *k8s.Node) (*Scene, error) {
	svc, _, err := s.behind(ctx, s.Pick(), nil)
	if err != nil {
		return nil, err
	}
	sc, err := s.lookup(ctx, n, fmt.Sprintf("%s.%s.svc.cluster.local.", svc.Name, s.Namespace))
	if err != nil {
		return nil, err
	}
	client, dns := sc.Client.(*k8s.Pod), s.DNS()
	sc.Want.Path = []string{
		"service kube-system/kube-dns", "to kube-system/pod/" + dns.Name, podName(client),
		translated("dnat", s.DNSAddr(), dns.Addr.String()),
	}
	if on := s.dnsNode(); on != n {
		sc.Want.Path = append(sc.Want.Path, s.tunnelled(n, client.Addr.String(), on, dns.Addr.String())...)
	}
	return sc, nil
}
