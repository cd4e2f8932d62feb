package scenario

import (
	"context"
	"strings"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// The way out of the cluster.
func egressFaults() []Scenario {
	return []Scenario{
		{Name: "egr-masquerade-missing", Beside: true, About: "flannel's masquerade rules are passed by, and the outside knows no way to pods", Build: masqueradeMissing},
		{Name: "egr-no-default-route", About: "the node has no default route", Build: nodeNoRoute},
		{Name: "egr-gateway-dead", About: "the node's default route leads to a router that does not answer", Build: gatewayDead},
		{Name: "egr-remote-refuses", Beside: true, About: "the host outside refuses", Build: remoteRefuses},
		{Name: "egr-remote-silent", About: "the host outside drops the port", Build: remoteSilent},
	}
}

func masqueradeMissing(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToOutside(ctx, n, "tcp")
	if err != nil {
		return nil, err
	}
	// flannel writes its rules again every few seconds: an exception before
	// them does what removing them did.
	rule := " POSTROUTING -s " + sc.Client.(*k8s.Pod).Addr.String() + " -j RETURN"
	sc.undoable(n.Space, words("%s -w -t nat -I%s", s.iptables(n), rule), words("%s -w -t nat -D%s", s.iptables(n), rule))
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = Want{Component: "egress", Code: "egr-masq-missing", Object: Object{Kind: "Node", Name: n.Name}}
	return sc, nil
}

func nodeNoRoute(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToOutside(ctx, n, "udp")
	if err != nil {
		return nil, err
	}
	route, err := s.defaultRoute(n.Space)
	if err != nil {
		return nil, err
	}
	sc.undoable(n.Space, words("%s del %s", s.route(), route), words("%s add %s", s.route(), route))
	sc.Symptom = silentOrNo
	sc.Want = Want{Component: "egress", Code: "egr-no-default-route", Object: Object{Kind: "Node", Name: n.Name}}
	return sc, nil
}

func gatewayDead(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToOutside(ctx, n, "tcp")
	if err != nil {
		return nil, err
	}
	route, err := s.defaultRoute(n.Space)
	if err != nil {
		return nil, err
	}
	sc.undoable(n.Space, words("%s replace default via %s dev eth0", s.route(), s.Nobody()), words("%s replace %s", s.route(), route))
	sc.Symptom = silentOrNo
	sc.Queued = true
	sc.Want = Want{Component: "egress", Code: "egr-gateway-dead", Object: Object{Kind: "Gateway", Name: s.Nobody()}}
	return sc, nil
}

func remoteRefuses(ctx context.Context, s *Stage) (*Scene, error) {
	port := s.Port()
	stop, err := s.ListenOutside(ctx, port)
	if err != nil {
		return nil, err
	}
	n := s.Pick()
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	restarted := stop
	s.onClose(func(context.Context) error { return restarted() })
	return &Scene{
		Client: client, Network: "tcp", Target: at(s.OutsideAddr(), port), Node: n,
		From: s.ref("pod", client.Name), To: "internet",
		Break: func(context.Context) error { return stop() },
		Heal: func(ctx context.Context) error {
			restarted, err = s.ListenOutside(ctx, port)
			return err
		},
		Symptom: []workload.Outcome{workload.Refused},
		Want:    Want{Component: "external", Code: "egr-remote-refused", Object: Object{Kind: "ExternalHost", Name: s.OutsideAddr()}},
	}, nil
}

func remoteSilent(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToOutside(ctx, n, "tcp")
	if err != nil {
		return nil, err
	}
	sc.Break = func(context.Context) error {
		return s.Outside.Run("nft", "table "+s.table()+" firewall { chain input { type filter hook input priority 0; tcp dport "+port(sc.Target)+" drop; }; }")
	}
	sc.Heal = func(context.Context) error { return s.Outside.Run("nft", "delete", "table", s.table(), "firewall") }
	sc.Symptom = []workload.Outcome{workload.Timeout}
	// What happens beyond the node cannot be seen from it.
	sc.Want = Want{Component: "external", Code: "beyond-node", Confidence: replays.Probable}
	return sc, nil
}

// defaultRoute is a namespace's, as ip route takes it.
func (s *Stage) defaultRoute(in *k8s.Space) (string, error) {
	argv := words("%s show default", s.route())
	out, err := in.Output(argv[0], argv[1:]...)
	return strings.TrimSpace(out), err
}
