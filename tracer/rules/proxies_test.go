package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
)

// What a node has of each proxy, as its source makes it.
func TestImplementations(t *testing.T) {
	const iptables, ipvs = "KUBE-SERVICES KUBE-NODEPORTS KUBE-POSTROUTING KUBE-SVC-ABC KUBE-SEP-1", "KUBE-SERVICES KUBE-NODE-PORT KUBE-LOAD-BALANCER KUBE-POSTROUTING KUBE-MARK-MASQ"
	// "ENGINE TABLE CHAIN ...", all of IPv4.
	tests := []struct {
		name   string
		tables []string
		links  string
		want   []string
	}{
		{"nothing", nil, "lo eth0 cni0", nil},
		{"kube-proxy, nftables", []string{"nftables kube-proxy services"}, "eth0", []string{tracer.ProxyNFTables}},
		{"kube-proxy, iptables", []string{"iptables-nft nat " + iptables}, "eth0", []string{tracer.ProxyIPTables}},
		{"kube-proxy, iptables without a Service", []string{"iptables-nft nat KUBE-SERVICES KUBE-NODEPORTS KUBE-POSTROUTING"}, "eth0", []string{tracer.ProxyIPTables}},
		{"kube-proxy, iptables-legacy", []string{"iptables-legacy nat " + iptables}, "eth0", []string{tracer.ProxyIPTablesLegacy}},
		{"kube-proxy, IPVS", []string{"iptables-nft nat " + ipvs, "iptables-nft filter KUBE-FORWARD KUBE-FIREWALL"}, "eth0 kube-ipvs0", []string{tracer.ProxyIPVS}},
		{"kube-proxy, IPVS by iptables-legacy", []string{"iptables-legacy nat " + ipvs}, "kube-ipvs0", []string{tracer.ProxyIPVS}},
		{"IPVS, and rules of the iptables mode before it", []string{"iptables-nft nat " + ipvs + " KUBE-SVC-ABC"}, "kube-ipvs0", []string{tracer.ProxyIPVS, tracer.ProxyIPTables}},
		{"kube-router", []string{"iptables-nft filter KUBE-ROUTER-FORWARD KUBE-POD-FW-ABC", "iptables-nft nat KUBE-ROUTER-HAIRPIN"}, "kube-bridge kube-dummy-if", []string{tracer.ProxyIPVS}},
		{"Cilium, by its device", nil, "cilium_host cilium_net", []string{tracer.ProxyCilium}},
		{"Cilium, by its chains", []string{"iptables-nft filter CILIUM_FORWARD CILIUM_INPUT"}, "eth0", []string{tracer.ProxyCilium}},
		{"Cilium, by both", []string{"iptables-nft filter CILIUM_FORWARD", "iptables-nft nat CILIUM_POST_nat"}, "cilium_host", []string{tracer.ProxyCilium}},
		{"Calico's eBPF", []string{"iptables-nft filter cali-FORWARD"}, "bpfin.cali bpfout.cali", []string{tracer.ProxyCalicoBPF}},
		{"Calico without eBPF", []string{"iptables-nft filter cali-FORWARD", "nftables calico filter-cali-FORWARD"}, "cali12ab vxlan.calico", nil},
		{"OVN-Kubernetes, by its device", nil, "ovn-k8s-mp0", []string{tracer.ProxyOVN}},
		{"OVN-Kubernetes, by its table", []string{"nftables ovn-kubernetes mgmtport-snat"}, "eth0", []string{tracer.ProxyOVN}},
		{"Antrea beside kube-proxy", []string{"iptables-nft nat " + iptables}, "antrea-gw0", []string{tracer.ProxyAntrea, tracer.ProxyIPTables}},
		{"names like theirs", []string{"nftables kube-proxy-old services", "iptables-nft nat KUBE-SERVICES-OLD KUBE-MARK-MASQ"}, "kube-ipvs1 cilium0 antrea-gw00", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs, s := &ruleset{}, &space{}
			for _, text := range tt.tables {
				w := strings.Fields(text)
				tb := newTable(tableKey{famIP, w[1]})
				tb.engine = w[0]
				for _, c := range w[2:] {
					tb.addChain(&chain{name: c})
				}
				rs.tables = append(rs.tables, tb)
			}
			s.linkNamed = func(name string) (netlink.Link, error) {
				if !slices.Contains(strings.Fields(tt.links), name) {
					return nil, netlink.LinkNotFoundError{}
				}
				return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}}, nil
			}
			if got := implementations(rs, s, famIP); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if got := implementations(rs, &space{}, famIP6); slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, "kube-proxy-") }) {
				t.Errorf("for IPv6: %v", got)
			}
		})
	}
}
