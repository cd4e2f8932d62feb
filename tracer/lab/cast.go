package lab

import "net/netip"

const (
	systemNS = "kube-system"
	dnsApp   = "kube-dns"
	dnsName  = "cluster.local."
)

// newCluster casts the pods and Services of a healthy cluster.
func newCluster(p *plan) *cluster {
	c := &cluster{p: p}
	for _, n := range []struct{ name, team string }{
		{"default", ""}, {systemNS, ""}, {"kube-flannel", ""}, {p.clientNS, p.clientTeam}, {p.serverNS, p.serverTeam},
	} {
		labels := map[string]string{"kubernetes.io/metadata.name": n.name}
		if n.team != "" {
			labels["team"] = n.team
		}
		c.namespaces = append(c.namespaces, namespace{n.name, labels})
	}
	c.addPods()
	c.addServices()
	return c
}

func (c *cluster) addPods() {
	p := c.p
	web := []podPort{{name: "http", port: p.podPort, proto: "TCP"}, {name: "quic", port: p.podPort, proto: "UDP"}}
	far := []podPort{{name: "https", port: p.farPort, proto: "TCP"}, {name: "https-udp", port: p.farPort, proto: "UDP"}}
	dns := []podPort{{name: "dns", port: 53, proto: "UDP"}, {name: "dns-tcp", port: 53, proto: "TCP"}}
	local := []*pod{
		c.workload(p.clientNS, p.client, nil),
		c.workload(p.serverNS, p.server, web),
		c.workload(p.serverNS, p.server, web),
		c.workload(systemNS, "coredns", dns),
	}
	local[2].hash, local[2].name = local[1].hash, p.server+"-"+local[1].hash+"-"+p.token(5)
	local[3].labels = map[string]string{"k8s-app": dnsApp, "pod-template-hash": local[3].hash}
	remote := c.workload(p.serverNS, p.far, far)
	remote.node = p.peer
	remote.ip4, remote.ip6 = nth(p.peerPods4, 20), nth(p.peerPods6, 20)
	host := p.rng.Perm(200)
	for i, x := range local {
		x.labels["pod-template-hash"] = x.hash
		x.ip4, x.ip6 = nth(p.pods4, uint16(4+host[i])), nth(p.pods6, uint16(4+host[i]))
		x.hostVeth = "veth" + p.hex(8)
	}
	c.pods = append(local, remote)
	for _, n := range []string{p.node, p.peer} {
		c.pods = append(c.pods, c.daemon(systemNS, "kube-proxy", n), c.daemon("kube-flannel", "kube-flannel-ds", n))
	}
	p.rng.Shuffle(len(c.pods), func(i, j int) { c.pods[i], c.pods[j] = c.pods[j], c.pods[i] })
}

func (c *cluster) workload(ns, app string, ports []podPort) *pod {
	hash := c.p.token(10)
	return &pod{
		ns: ns, app: app, name: app + "-" + hash + "-" + c.p.token(5), hash: hash, uid: c.p.uid(),
		labels: map[string]string{"app": app, "pod-template-hash": hash},
		owner:  "ReplicaSet", node: c.p.node, ports: ports,
	}
}

func (c *cluster) daemon(ns, app, node string) *pod {
	x := &pod{
		ns: ns, app: app, name: app + "-" + c.p.token(5), uid: c.p.uid(),
		labels: map[string]string{"k8s-app": app}, owner: "DaemonSet", node: node, hostNetwork: true,
		ip4: c.p.node4, ip6: c.p.node6,
	}
	if node == c.p.peer {
		x.ip4, x.ip6 = c.p.peer4, c.p.peer6
	}
	return x
}

func (c *cluster) addServices() {
	p := c.p
	at := p.rng.Perm(200)
	clusterIP := func(s *service, n uint16) *service {
		s.uid, s.ip4, s.ip6 = p.uid(), nth(p.svc4, n), nth(p.svc6, n)
		return s
	}
	c.services = []*service{
		clusterIP(&service{
			ns: "default", name: "kubernetes", fixed: []netip.Addr{p.peer4, p.peer6},
			ports: []servicePort{{"https", "TCP", 443, 6443}},
		}, 1),
		clusterIP(&service{
			ns: systemNS, name: dnsApp, selector: map[string]string{"k8s-app": dnsApp},
			ports: []servicePort{{"dns", "UDP", 53, 53}, {"dns-tcp", "TCP", 53, 53}},
		}, 10),
		clusterIP(&service{
			ns: p.serverNS, name: p.server, selector: map[string]string{"app": p.server},
			ports: []servicePort{{"http", "TCP", p.svcPort, p.podPort}, {"quic", "UDP", p.svcPort, p.podPort}},
		}, uint16(20+at[0])),
		clusterIP(&service{
			ns: p.serverNS, name: p.far, selector: map[string]string{"app": p.far},
			ports: []servicePort{{"https", "TCP", p.svcPort, p.farPort}, {"https-udp", "UDP", p.svcPort, p.farPort}},
		}, uint16(20+at[1])),
	}
}

// zone is what the cluster's DNS answers.
func (c *cluster) zone() map[string][]netip.Addr {
	z := map[string][]netip.Addr{c.p.hostName: {c.p.host4, c.p.host6}}
	for _, s := range c.services {
		z[s.dns()] = []netip.Addr{s.ip4, s.ip6}
	}
	return z
}

func (s *service) dns() string { return s.name + "." + s.ns + ".svc." + dnsName }
