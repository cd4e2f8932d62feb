package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// host is a node while its pods are being placed.
type host struct {
	name string
	ip   netip.Addr
	used int // addresses dealt out
	pods int
}

// Node addresses are 172.16.0.0/16, pod ranges 10.0.0.0/24, 10.0.1.0/24 and so
// on, Service addresses 10.96.0.0/12.
func nodeIP(i int) netip.Addr { return numbered([4]byte{172, 16, 0, 10}, i) }

func podRange(i int) string { return fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255) }

func podRange6(i int) string { return fmt.Sprintf("fd00:10:%x::/64", i) }

func numbered(base [4]byte, i int) netip.Addr {
	binary.BigEndian.PutUint32(base[:], binary.BigEndian.Uint32(base[:])+uint32(i))
	return netip.AddrFrom4(base)
}

// podIP deals out the next address of a node.
func (m *maker) podIP(node int) (v4, v6 netip.Addr) {
	h := &m.hosts[node]
	n := h.used
	h.used++
	v6 = netip.MustParseAddr(fmt.Sprintf("fd00:10:%x::%x", node, n+2))
	if node == 0 && n < len(m.size.LocalIPs) {
		return m.size.LocalIPs[n], v6
	}
	return numbered([4]byte{10, byte(node >> 8), byte(node), 2}, n), v6
}

func (m *maker) addNodes() {
	zones := []string{"eu-west-1a", "eu-west-1b", "eu-west-1c"}
	for i := range m.size.Nodes {
		h := host{name: fmt.Sprintf("ip-172-16-%d-%d.eu-west-1.compute.internal", (i+10)>>8, (i+10)&255), ip: nodeIP(i)}
		if i == 0 && m.size.LocalNode != "" {
			h.name = m.size.LocalNode
		}
		if i == 0 && m.size.LocalNodeIP.IsValid() {
			h.ip = m.size.LocalNodeIP
		}
		m.hosts = append(m.hosts, h)
		m.Nodes = append(m.Nodes, m.node(i, zones[i%len(zones)]))
	}
}

func (m *maker) node(i int, zone string) *corev1.Node {
	h := m.hosts[i]
	n := &corev1.Node{ObjectMeta: m.meta("", h.name, map[string]string{
		corev1.LabelTopologyZone: zone, corev1.LabelTopologyRegion: "eu-west-1", corev1.LabelHostname: h.name,
		corev1.LabelArchStable: "amd64", corev1.LabelOSStable: "linux", corev1.LabelInstanceTypeStable: "m6i.4xlarge",
		"node.kubernetes.io/pool": "general",
	}, "kubelet")}
	n.Annotations = map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	n.Spec = corev1.NodeSpec{
		PodCIDR: podRange(i), PodCIDRs: []string{podRange(i), podRange6(i)},
		ProviderID: "aws:///" + zone + "/i-" + m.suffix(17),
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: resource.MustParse("250"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	n.Status = corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: h.ip.String()}, {Type: corev1.NodeHostName, Address: h.name},
		},
		NodeInfo: corev1.NodeSystemInfo{
			KernelVersion: "6.12.41+deb13-amd64", OSImage: "Debian GNU/Linux 13 (trixie)", KubeletVersion: "v1.36.1",
			ContainerRuntimeVersion: "containerd://2.2.0", OperatingSystem: "linux", Architecture: "amd64",
			MachineID: m.suffix(32), SystemUUID: string(m.uid()), BootID: string(m.uid()),
		},
	}
	for _, c := range []corev1.NodeConditionType{"MemoryPressure", "DiskPressure", "PIDPressure", corev1.NodeReady} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: c, Status: isTrue(c == corev1.NodeReady && (i == 0 || !m.some(0.01))),
			LastHeartbeatTime: metav1.NewTime(m.born), Reason: "Kubelet" + string(c),
		})
	}
	for range 40 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{
			Names:     []string{"registry.example.com/" + m.suffix(10) + "@sha256:" + m.suffix(64), "registry.example.com/" + m.suffix(10) + ":v1"},
			SizeBytes: int64(m.rnd.IntN(500_000_000)),
		})
	}
	return n
}

func isTrue(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func (m *maker) addNamespaces() {
	teams := []string{"payments", "search", "checkout", "identity", "catalog", "shipping", "billing", "media", "growth", "risk"}
	stages := []string{"prod", "staging", "dev"}
	for i := range m.size.Namespaces {
		team, stage := teams[i%len(teams)], stages[i/len(teams)%len(stages)]
		name := fmt.Sprintf("%s-%s-%d", team, stage, i)
		labels := map[string]string{"team": team, "stage": stage}
		if i == 0 {
			name, labels = "kube-system", map[string]string{}
		}
		labels[corev1.LabelMetadataName] = name
		m.Namespaces = append(m.Namespaces, &corev1.Namespace{
			ObjectMeta: m.meta("", name, labels, "kubectl"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
			Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		})
	}
}
