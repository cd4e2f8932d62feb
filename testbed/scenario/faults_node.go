package scenario

import (
	"context"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
)

// The node's own settings.
func nodeFaults() []Scenario {
	return []Scenario{
		{Name: "node-ip-forward-off", About: "the node does not forward", Build: forwardOff},
		{Name: "node-rp-filter", About: "strict rp_filter, and the answer comes in by another way than the route says", Flavours: []string{"flannel", "flannel-full", "calico"}, Build: rpFilter},
		{Name: "node-bridge-nf-off", About: "bridged packets do not pass iptables, so that answers of the same node are not translated back", Flavours: bridged, Build: bridgeNFOff},
		{Name: "node-foreign-drop", Beside: true, About: "somebody's own nftables table drops the port", Build: foreignDrop},
		{Name: "node-firewall-reject", Beside: true, About: "somebody's own iptables rule rejects the port in FORWARD", Build: firewallReject},
		{Name: "node-down", About: "the other node is gone from the network", Build: otherNodeDown},
	}
}

func forwardOff(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, _, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	key := s.byFamily("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
	sc.undoable(from.Space, words("sysctl -qw %s=0", key), words("sysctl -qw %s=1", key))
	sc.Symptom = silentOrNo
	sc.Want = Want{Component: "node", Code: "node-ip-forward-off", Object: Object{Kind: "Node", Name: from.Name}}
	return sc, nil
}

// rpFilter sends the way back around: what comes out of the tunnel has its
// source routed to the underlay by a more specific route.
func rpFilter(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, to, err := s.crossing(ctx, "udp")
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	route := client.Addr.String() + "/32 via " + from.Addr + " dev eth0"
	sc.Break = func(context.Context) error {
		for _, key := range []string{"all", "flannel.1"} {
			if err := to.Run("sysctl", "-qw", "net/ipv4/conf/"+key+"/rp_filter=1"); err != nil {
				return err
			}
		}
		return to.Run("ip", words("route add %s", route)...)
	}
	sc.Heal = func(context.Context) error {
		for _, key := range []string{"all", "flannel.1"} {
			if err := to.Run("sysctl", "-qw", "net/ipv4/conf/"+key+"/rp_filter=0"); err != nil {
				return err
			}
		}
		return to.Run("ip", words("route del %s", route)...)
	}
	sc.Node, sc.From = to, client.Addr.String()
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = Want{Component: "node", Code: "node-rp-filter", Object: Object{Kind: "Node", Name: to.Name}}
	return sc, nil
}

func bridgeNFOff(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	app, port, target := s.Word(), s.Port(), s.Port()
	if _, err := s.Server(ctx, n, app, target); err != nil {
		return nil, err
	}
	svc, err := s.Service(ctx, app, port, target, nil)
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	sc := &Scene{
		Client: client, Network: "tcp", Target: at(svc.Spec.ClusterIP, port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("svc", app) + ":" + itoa(port),
		Symptom: []workload.Outcome{workload.Timeout},
		Want:    Want{Component: "node", Code: "node-bridge-nf-off", Object: Object{Kind: "Node", Name: n.Name}},
	}
	key := "net.bridge.bridge-nf-call-" + s.byFamily("iptables", "ip6tables")
	sc.undoable(n.Space, words("sysctl -qw %s=0", key), words("sysctl -qw %s=1", key))
	return sc, nil
}

func foreignDrop(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, _, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	table := s.Word()
	sc.Break = func(context.Context) error {
		return from.Run("nft", "table "+s.table()+" "+table+" { chain forward { type filter hook forward priority 10; tcp dport "+port(sc.Target)+" drop; }; }")
	}
	sc.Heal = func(context.Context) error { return from.Run("nft", "delete", "table", s.table(), table) }
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = Want{Component: "node", Code: "node-forward-drop", Object: Object{Kind: "FirewallRule", Name: s.table() + " " + table + " forward"}}
	return sc, nil
}

func firewallReject(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, _, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	rule := " FORWARD -p tcp --dport " + port(sc.Target) + " -j REJECT --reject-with " + s.byFamily("icmp-admin-prohibited", "icmp6-adm-prohibited")
	sc.undoable(from.Space, words("%s -w -I%s", s.iptables(from), rule), words("%s -w -D%s", s.iptables(from), rule))
	sc.Symptom = []workload.Outcome{workload.Unreachable, workload.Prohibited}
	sc.Want = Want{Component: "node", Code: "node-firewall-reject", Object: Object{Kind: "FirewallRule", Name: s.table() + " filter FORWARD"}}
	return sc, nil
}

// otherNodeDown unplugs the other node.
func otherNodeDown(ctx context.Context, s *Stage) (*Scene, error) {
	sc, from, to, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	sc.Break = func(context.Context) error {
		if err := s.Plug(to, false); err != nil {
			return err
		}
		// The kernel forgets what it last knew within a minute. Until then
		// packets leave as if nothing had happened.
		return from.Run("ip", words("neighbour flush to %s dev eth0", to.Addr)...)
	}
	sc.Heal = func(ctx context.Context) error {
		if err := s.Plug(to, true); err != nil {
			return err
		}
		return s.reconnect(ctx, to)
	}
	sc.Symptom = silentOrNo
	sc.Queued = true
	sc.Want = Want{Component: "node", Code: "node-down", Object: Object{Kind: "Node", Name: to.Name}}
	return sc, nil
}

// reconnect has a node's daemons see the API server again: their connections have
// waited longer each time that they sent in vain, and they give one up after 45 s only.
// So long they would know nothing of the next scenario's pods and Services.
func (s *Stage) reconnect(ctx context.Context, n *k8s.Node) error {
	if err := s.killProxy(n); err != nil {
		return err
	}
	if err := n.StartProxy(ctx); err != nil {
		return err
	}
	return s.superviseFelix(ctx, n)
}

// superviseFelix starts Felix again, if there is one: it ends itself when the uplink
// goes away or changes its MTU, and leaves it to a supervisor to start it with what
// follows from that.
func (s *Stage) superviseFelix(ctx context.Context, n *k8s.Node) error {
	if s.Flavour.CNI != k8s.Calico {
		return nil
	}
	if err := s.killFelix(n); err != nil {
		return err
	}
	return n.StartFelix(ctx)
}
