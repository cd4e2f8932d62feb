package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

var (
	overlay    = []string{"flannel", "flannel-dual", "flannel-full", "calico"}
	light      = []string{"flannel", "flannel-hostgw", "flannel-dual", "calico"}
	bridged    = []string{"flannel", "flannel-hostgw", "flannel-dual", "flannel-full"}
	silentOrNo = []workload.Outcome{workload.Timeout, workload.Unreachable}
)

// What connects the pods is damaged.
func cniFaults() []Scenario {
	return []Scenario{
		{Name: "cni-fdb-missing", Beside: true, About: "the forwarding entry for the other node's tunnel device is gone", Flavours: overlay, Build: fdbMissing},
		{Name: "cni-neigh-missing", About: "the neighbour entry for the other node's tunnel device is gone, and the device does not ask", Flavours: overlay, Build: neighMissing},
		{Name: "cni-route-missing", Beside: true, About: "the route to the other node's pods is gone", Flavours: overlay, Build: routeMissing},
		{Name: "cni-route-missing-hostgw", About: "the same where nodes route to each other", Flavours: []string{"flannel-hostgw"}, Build: routeMissing},
		{Name: "cni-route-blackhole", About: "a blackhole route covers the other node's pods", Build: routeBlackhole},
		{Name: "cni-veth-down", Beside: true, About: "the node's end of the server's veth is down", Build: vethDown},
		{Name: "cni-veth-detached", About: "the node's end of the server's veth is in no bridge", Flavours: bridged, Build: vethDetached},
		{Name: "cni-pod-no-default-route", Beside: true, About: "the client has no default route", Build: podNoRoute},
		{Name: "cni-pod-no-default-route-unnamed", About: "the same, when podpath is asked about the internet and not about one address", Build: podNoRouteUnnamed},
		{Name: "cni-host-route-missing", About: "the node's route to the server's address is gone", Flavours: calicoOnly, Build: hostRouteMissing},
	}
}

// undoable sets Break and Heal to one command each, on a node.
func (sc *Scene) undoable(s *k8s.Space, breakIt, heal []string) {
	run := func(argv []string) func(context.Context) error {
		return func(context.Context) error { return s.Run(argv[0], argv[1:]...) }
	}
	sc.Break, sc.Heal = run(breakIt), run(heal)
}

// without freezes a daemon while the scene is broken.
func (sc *Scene) without(p *k8s.Process) {
	breakIt, heal := sc.Break, sc.Heal
	sc.Break = func(ctx context.Context) error {
		if err := p.Freeze(); err != nil {
			return err
		}
		return breakIt(ctx)
	}
	sc.Heal = func(ctx context.Context) error {
		if err := heal(ctx); err != nil {
			return err
		}
		return p.Thaw()
	}
}

func words(format string, args ...any) []string { return strings.Fields(fmt.Sprintf(format, args...)) }

// crossing is a client on one node and a server on the other.
func (s *Stage) crossing(ctx context.Context, network string) (sc *Scene, from, to *k8s.Node, err error) {
	from = s.Pick()
	to = s.Other(from)
	sc, _, _, _, err = s.pair(ctx, from, to, network)
	return sc, from, to, err
}

// tunnel is the other node's end as this node knows it.
type tunnel struct{ network, gateway, mac string }

func (s *Stage) tunnelTo(n, other *k8s.Node) (tunnel, error) {
	var routes []struct{ Dst, Gateway, Dev string }
	out, err := n.Output("ip", "-json", s.byFamily("-4", "-6"), "route", "show", "dev", s.tunnel())
	if err != nil {
		return tunnel{}, err
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return tunnel{}, err
	}
	var links []struct{ Address string }
	out, err = other.Output("ip", "-json", "link", "show", s.tunnel())
	if err != nil {
		return tunnel{}, err
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		return tunnel{}, fmt.Errorf("%s of %s: %s", s.tunnel(), other.Name, out)
	}
	for _, r := range routes {
		if r.Gateway != "" {
			return tunnel{r.Dst, r.Gateway, links[0].Address}, nil
		}
	}
	return tunnel{}, fmt.Errorf("no route through %s on %s", s.tunnel(), n.Name)
}

func fdbMissing(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, to, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	t, err := s.tunnelTo(from, to)
	if err != nil {
		return nil, err
	}
	sc.undoable(from.Space, words("bridge fdb del %s dev %s dst %s", t.mac, s.tunnel(), to.Addr),
		words("bridge fdb add %s dev %s dst %s self permanent", t.mac, s.tunnel(), to.Addr))
	sc.Symptom = silentOrNo
	sc.Want = Want{Component: "cni", Code: "cni-overlay-fdb-missing", Object: Object{Kind: "Node", Name: from.Name}}
	return sc, nil
}

func neighMissing(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, to, err := s.crossing(ctx, "udp")
	if err != nil {
		return nil, err
	}
	t, err := s.tunnelTo(from, to)
	if err != nil {
		return nil, err
	}
	sc.undoable(from.Space, words("%s del %s dev %s", s.neighbour(), t.gateway, s.tunnel()),
		words("%s replace %s lladdr %s dev %s nud permanent", s.neighbour(), t.gateway, t.mac, s.tunnel()))
	sc.Symptom = silentOrNo
	sc.Queued = true
	sc.Want = Want{Component: "cni", Code: "cni-overlay-neigh-missing", Object: Object{Kind: "Node", Name: from.Name}}
	return sc, nil
}

// routeTo is the node's route to the other node's pods, as ip route takes it.
func (s *Stage) routeTo(n *k8s.Node, server string) (string, error) {
	out, err := n.Output("ip", s.byFamily("-4", "-6"), "route", "show", "match", server)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "default") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("no route to %s on %s", server, n.Name)
}

// host and port are the two parts of HOST:PORT.
func host(target string) string { return netip.MustParseAddrPort(target).Addr().String() }

func port(target string) string { return fmt.Sprint(netip.MustParseAddrPort(target).Port()) }

func routeMissing(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, _, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	route, err := s.routeTo(from, host(sc.Target))
	if err != nil {
		return nil, err
	}
	sc.undoable(from.Space, words("%s del %s", s.route(), route), words("%s replace %s", s.route(), route))
	sc.Want = Want{Component: "cni", Code: "cni-route-missing", Object: Object{Kind: "Node", Name: from.Name}}
	if s.Flavour.Backend == "host-gw" {
		// There flannel looks after its routes every ten seconds.
		sc.without(from.Daemons["flanneld"])
		// Without tunnels, the router might know the pods: that is out of sight.
		sc.Want.Confidence = replays.Probable
	}
	// The default route takes it outside, where nobody knows pods.
	sc.Symptom = silentOrNo
	return sc, nil
}

func routeBlackhole(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, _, err := s.crossing(ctx, "udp")
	if err != nil {
		return nil, err
	}
	dst := single(host(sc.Target))
	// More specific than the route that flannel keeps in order.
	sc.undoable(from.Space, words("%s add blackhole %s", s.route(), dst), words("%s del blackhole %s", s.route(), dst))
	sc.Symptom = []workload.Outcome{workload.Timeout, workload.NotSent, workload.Unreachable}
	sc.Want = Want{Component: "cni", Code: "cni-route-blackhole", Object: Object{Kind: "Route", Name: "blackhole " + dst}}
	return sc, nil
}

// vethOf is the node's end of a pod's device.
func vethOf(n *k8s.Node, p *k8s.Pod) (string, error) {
	peer, err := p.PeerIndex()
	if err != nil {
		return "", err
	}
	links, err := n.Links()
	if err != nil {
		return "", err
	}
	for _, l := range links {
		if l.Index == peer {
			return l.Name, nil
		}
	}
	return "", fmt.Errorf("no device %d on %s", peer, n.Name)
}

// onServer is a pair on one node, and the node's end of the server's veth.
func (s *Stage) onServer(ctx context.Context, network string) (sc *Scene, n *k8s.Node, server *k8s.Pod, veth string, err error) {
	n = s.Pick()
	app := s.Word()
	port := s.Port()
	if server, err = s.Server(ctx, n, app, port); err != nil {
		return nil, nil, nil, "", err
	}
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, nil, nil, "", err
	}
	veth, err = vethOf(n, server)
	sc = &Scene{
		Client: client, Network: network, Target: at(server.Addr.String(), port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("pod", server.Name) + ":" + itoa(port),
		Want: Want{Component: "cni", Object: Object{"Pod", s.Namespace, server.Name}},
	}
	return sc, n, server, veth, err
}

func vethDown(ctx context.Context, s *Stage) (*Scene, error) {
	sc, n, _, veth, err := s.onServer(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	sc.undoable(n.Space, words("ip link set %s down", veth), words("ip link set %s up", veth))
	if s.Flavour.CNI == k8s.Calico {
		// With the device its route goes away; Felix puts it back.
		heal := sc.Heal
		route := words("ip route replace %s dev %s scope link", host(sc.Target), veth)
		sc.Heal = func(ctx context.Context) error {
			if err := heal(ctx); err != nil {
				return err
			}
			return n.Run(route[0], route[1:]...)
		}
	}
	sc.Symptom = silentOrNo
	sc.Want.Code = "cni-veth-down"
	return sc, nil
}

func vethDetached(ctx context.Context, s *Stage) (*Scene, error) {
	sc, n, _, veth, err := s.onServer(ctx, "udp")
	if err != nil {
		return nil, err
	}
	sc.undoable(n.Space, words("ip link set %s nomaster", veth), words("ip link set %s master cni0", veth))
	heal := sc.Heal
	sc.Heal = func(ctx context.Context) error {
		if err := heal(ctx); err != nil {
			return err
		}
		return n.Run("bridge", words("link set dev %s hairpin on", veth)...)
	}
	sc.Symptom = silentOrNo
	sc.Want.Code = "cni-veth-detached"
	return sc, nil
}

func podNoRoute(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToOutside(ctx, n, "tcp")
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	route, err := s.defaultRoute(client.Space)
	if err != nil {
		return nil, err
	}
	sc.undoable(client.Space, words("%s del %s", s.route(), route), words("%s add %s", s.route(), route))
	sc.To = sc.Target
	sc.Symptom = []workload.Outcome{workload.Unreachable}
	sc.Verdicts = 1 // nothing was sent: no try has packets of its own
	sc.Want = Want{Component: "cni", Code: "cni-pod-no-default-route", Object: Object{"Pod", s.Namespace, client.Name}}
	return sc, nil
}

// podNoRouteUnnamed asks about any address.
func podNoRouteUnnamed(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := podNoRoute(ctx, s)
	if err == nil {
		sc.To = "internet"
	}
	return sc, err
}

func hostRouteMissing(ctx context.Context, s *Stage) (*Scene, error) {
	sc, n, _, veth, err := s.onServer(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	sc.undoable(n.Space, words("ip route del %s", host(sc.Target)), words("ip route replace %s dev %s scope link", host(sc.Target), veth))
	sc.without(n.Daemons["calico-felix"]) // which puts its routes back now and then
	sc.Symptom = silentOrNo
	sc.Want.Code = "cni-host-route-missing"
	return sc, nil
}
