package scenario

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/testbed/k8s"
)

// What differs between scenarios that speak IPv4 and those that speak IPv6.

func (s *Stage) six() bool { return s.Flavour.Family() == corev1.IPv6Protocol }

// byFamily is the first for IPv4, the second for IPv6.
func (s *Stage) byFamily(four, six string) string {
	if s.six() {
		return six
	}
	return four
}

// route begins a command about routes, neighbour one about neighbours.
func (s *Stage) route() string     { return s.byFamily("ip -4 route", "ip -6 route") }
func (s *Stage) neighbour() string { return s.byFamily("ip -4 neighbour", "ip -6 neighbour") }

// iptables is the command that changes the family's rules on a node, with the
// backend that the node's daemons use.
func (s *Stage) iptables(n *k8s.Node) string {
	command := s.byFamily("iptables", "ip6tables")
	if n.Legacy {
		return command + "-legacy"
	}
	return command + "-nft"
}

// table is nft's name of the family.
func (s *Stage) table() string { return s.byFamily("ip", "ip6") }

// tunnel is flannel's device for the family.
func (s *Stage) tunnel() string { return s.byFamily("flannel.1", "flannel-v6.1") }

// everywhere and loopback are addresses to listen on.
func (s *Stage) everywhere() string { return s.byFamily("0.0.0.0", "::") }
func (s *Stage) loopback() string   { return s.byFamily("127.0.0.1", "::1") }

// single is a route to one address.
func single(addr string) string {
	a := netip.MustParseAddr(addr)
	return netip.PrefixFrom(a, a.BitLen()).String()
}

// patience is how long a try may take whose end is to be seen. Over IPv6 the
// kernel takes a REJECT that answers the first SYN for a passing error, because
// connect still holds the socket, and says refused after the second one, 1.02 s
// later (Linux 6.18; over IPv4 the first one did).
func (s *Stage) patience() time.Duration {
	if s.six() {
		return 1500 * time.Millisecond
	}
	return time.Second
}

// families asks for a Service of the family that scenarios speak first, and of
// every other that the cluster has.
func (s *Stage) families(svc *corev1.Service) {
	if !s.six() {
		return
	}
	policy := corev1.IPFamilyPolicyRequireDualStack
	svc.Spec.IPFamilyPolicy = &policy
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
}
