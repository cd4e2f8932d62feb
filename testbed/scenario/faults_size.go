package scenario

import (
	"context"
	"fmt"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// Small packets pass, and large ones do not.
func sizeFaults() []Scenario {
	return []Scenario{
		{Name: "cni-mtu-blackhole", About: "the node's uplink carries less than the pod was told, and the node's firewall drops the ICMP that would say so", Build: smallUplink},
		{Name: "ext-mtu-fabric", About: "the host outside drops large packets without a word", Build: smallOutside},
	}
}

const (
	// uploaded is more than any segment takes.
	uploaded = 20000
	// smaller is less than the pods' MTU in each flavour, and enough for IPv6.
	smaller = 1300
)

// upload is a client that sends more than a segment to the outside.
func (s *Stage) upload(ctx context.Context, n *k8s.Node) (*Scene, error) {
	sc, err := s.podToOutside(ctx, n, "tcp")
	if err != nil {
		return nil, err
	}
	sc.Bytes, sc.Symptom = uploaded, []workload.Outcome{workload.NoData}
	return sc, nil
}

func smallUplink(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.upload(ctx, n)
	if err != nil {
		return nil, err
	}
	before, err := n.MTU("eth0")
	if err != nil {
		return nil, err
	}
	table := s.Word()
	sc.Break = func(context.Context) error {
		if err := n.Run("ip", words("link set eth0 mtu %d", smaller)...); err != nil {
			return err
		}
		return n.Run("nft", fmt.Sprintf("table inet %s { chain output { type filter hook output priority 0; "+
			"icmp type destination-unreachable icmp code frag-needed drop; icmpv6 type packet-too-big drop; }; }", table))
	}
	sc.Heal = func(ctx context.Context) error {
		if err := n.Run("nft", "delete", "table", "inet", table); err != nil {
			return err
		}
		if err := n.Run("ip", words("link set eth0 mtu %d", before)...); err != nil {
			return err
		}
		return s.superviseFelix(ctx, n)
	}
	sc.Want = Want{Component: "cni", Code: "cni-mtu-blackhole", Object: Object{"Pod", s.Namespace, sc.Client.(*k8s.Pod).Name}}
	return sc, nil
}

func smallOutside(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.upload(ctx, s.Pick())
	if err != nil {
		return nil, err
	}
	table := s.Word()
	sc.Break = func(context.Context) error {
		return s.Outside.Run("nft", fmt.Sprintf("table inet %s { chain prerouting { type filter hook prerouting priority raw; "+
			"tcp dport %s meta length > %d drop; }; }", table, port(sc.Target), smaller))
	}
	sc.Heal = func(context.Context) error { return s.Outside.Run("nft", "delete", "table", "inet", table) }
	// Which link of the way is the small one cannot be seen from the node.
	sc.Want = Want{Component: "external", Code: "ext-mtu-fabric", Confidence: replays.Probable}
	return sc, nil
}
