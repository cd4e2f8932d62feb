package rules

import (
	"slices"
	"testing"
)

func TestPoliciesIn(t *testing.T) {
	for text, want := range map[string][]string{
		"Policy shop/allow-web ingress":                                      {"shop/allow-web"},
		"NetworkPolicy payments/deny.all egress":                             {"payments/deny.all"},
		"no ingress policy of pod shop/web-1 allows: shop/a shop/b":          {"shop/a", "shop/b"},
		"no egress policy of pod shop/web-1 allows: shop/a":                  {"shop/a"},
		"rule to ACCEPT traffic selected by policy name deny namespace prod": {"prod/deny"},
		"default policy for pod shop/web":                                    nil,
		"shop/web:p has no endpoints":                                        nil,
		"company policy: no telnet":                                          nil,
		"blocked 10.0.0.0/8 by security policy":                              nil,
		"policy eth0/2":                                                      {"eth0/2"},
		"":                                                                   nil,
	} {
		if got := policiesIn(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestOwnerOf(t *testing.T) {
	path := func(table string, names ...string) []*chain {
		tb := newTable(tableKey{famIP, table})
		var out []*chain
		for _, n := range names {
			c := &chain{name: n}
			tb.addChain(c)
			out = append(out, c)
		}
		return out
	}
	for _, tc := range []struct {
		name, comment, owner, policy string
		path                         []*chain
	}{
		{"calico", "Drop if no policies passed packet", "calico", "", path("filter", "FORWARD", "cali-FORWARD", "cali-tw-cali123")},
		{"calico's rule in a base chain", "cali:xyz", "calico", "", path("filter", "FORWARD")},
		{"kube-router", "rule to REJECT traffic destined for POD name:web namespace: prod", "kube-router", "", path("filter", "FORWARD", "KUBE-ROUTER-FORWARD", "KUBE-POD-FW-ABC")},
		{"kube-proxy, nftables", "", "kube-proxy", "", path("kube-proxy", "filter-forward", "reject-chain")},
		{"kube-proxy, iptables", "", "kube-proxy", "", path("filter", "FORWARD", "KUBE-FORWARD")},
		{"kubelet", "", "kubelet", "", path("filter", "INPUT", "KUBE-FIREWALL")},
		{"administrator in docker's chain", "", "", "", path("filter", "FORWARD", "DOCKER-USER")},
		{"docker", "", "docker", "", path("filter", "FORWARD", "DOCKER-ISOLATION-STAGE-2")},
		{"ufw", "", "ufw", "", path("filter", "INPUT", "ufw-before-input")},
		{"firewalld", "", "firewalld", "", path("firewalld", "filter_FORWARD", "filter_FWD_public")},
		{"nobody", "", "", "", path("hardening", "fwd")},
		{"nobody, though it speaks of a policy", "corporate policy: block 8080", "", "", path("hardening", "fwd")},
		{"agent that names a policy", "NetworkPolicy shop/deny ingress", "cni", "shop/deny", path("x1", "fwd", "p2")},
		{"agent that names two", "policies shop/a, shop/b", "cni", "", path("x1", "fwd", "p2")},
		{"known table name only in part", "", "", "", path("kube-proxy-guard", "fwd")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			owner, policy := ownerOf(tc.path, &rule{comment: tc.comment})
			if owner != tc.owner || policy != tc.policy {
				t.Errorf("owner %q policy %q, want %q %q", owner, policy, tc.owner, tc.policy)
			}
		})
	}
}

// Every writer that ought to be recognised, by chain, table or comment; and names
// that only look alike.
func TestOwnerNames(t *testing.T) {
	for _, tc := range []struct{ table, chain, comment, owner string }{
		{"nat", "KUBE-SVC-ABCDEFGHIJKLMNOP", "", "kube-proxy"}, {"nat", "KUBE-SVL-ABC", "", "kube-proxy"}, {"nat", "KUBE-SEP-ABC", "", "kube-proxy"},
		{"nat", "KUBE-XLB-ABC", "", "kube-proxy"}, {"nat", "KUBE-FW-ABC", "", "kube-proxy"}, {"nat", "KUBE-EXT-ABC", "", "kube-proxy"},
		{"nat", "KUBE-NODEPORTS", "", "kube-proxy"}, {"filter", "KUBE-PROXY-FIREWALL", "", "kube-proxy"}, {"filter", "KUBE-EXTERNAL-SERVICES", "", "kube-proxy"},
		{"kube-proxy", "reject-chain", "", "kube-proxy"}, {"filter", "KUBE-FIREWALL", "", "kubelet"},
		{"filter", "cali-pi-_abc", "", "calico"}, {"filter", "INPUT", "cali:Tk2nAb", "calico"}, {"calico", "filter-FORWARD", "", "calico"},
		{"filter", "KUBE-NWPLCY-ABC", "", "kube-router"}, {"filter", "KUBE-POD-FW-ABC", "", "kube-router"}, {"filter", "KUBE-ROUTER-FORWARD", "", "kube-router"},
		{"kube-router-filter-ipv4", "x", "", "kube-router"},
		{"filter", "CILIUM_FORWARD", "", "cilium"}, {"nat", "OLD_CILIUM_POST_nat", "", "cilium"},
		{"nat", "AWS-SNAT-CHAIN-0", "", "aws-vpc-cni"}, {"nat", "POSTROUTING", "AWS SNAT CHAIN", "aws-vpc-cni"}, {"aws-cni", "snat-mark", "", "aws-vpc-cni"},
		{"nat", "FLANNEL-POSTRTG", "", "flannel"}, {"filter", "FLANNEL-FWD", "", "flannel"}, {"flannel-ipv6", "postrtg", "", "flannel"}, {"nat", "POSTROUTING", "flanneld masq", "flannel"},
		{"filter", "INPUT_ZONES", "", "firewalld"}, {"firewalld", "filter_IN_public_deny", "", "firewalld"}, {"nat", "POSTROUTING_ZONES", "", "firewalld"},
		{"filter", "ufw-user-input", "", "ufw"}, {"filter", "ufw6-reject-forward", "", "ufw"},
		{"filter", "DOCKER", "", "docker"}, {"filter", "DOCKER-ISOLATION-STAGE-1", "", "docker"}, {"docker-bridges", "filter-FORWARD", "", "docker"},
		{"filter", "WEAVE-NPC-EGRESS", "", "weave"}, {"filter", "ANTREA-POL-INGRESS-RULES", "", "antrea"}, {"nat", "KIND-MASQ-AGENT", "", "kindnet"},
		{"kindnet-network-policies", "x", "", "kindnet"}, {"nat", "IP-MASQ-AGENT", "", "ip-masq-agent"}, {"nat", "CNI-HOSTPORT-DNAT", "", "portmap"},
		{"nat", "ISTIO_OUTPUT", "", "istio"}, {"nat", "PROXY_INIT_REDIRECT", "", "linkerd"}, {"raw", "PREROUTING", "NodeLocal DNS Cache: skip conntrack", "node-local-dns"},
		{"inet-filter", "OPENSHIFT-FIREWALL-ALLOW", "", "openshift-sdn"}, {"nat", "OVN-KUBE-NODEPORT", "", "ovn-kubernetes"}, {"nat", "OVN-POSTROUTING", "", "kube-ovn"},
		{"filter", "ts-forward", "", "tailscale"}, {"filter", "f2b-sshd", "", "fail2ban"},
		{"filter", "FORWARD", "", ""}, {"filter", "kube-svc", "", ""}, {"filter", "my-cali-chain", "", ""}, {"filter", "FLANNELS", "", ""}, {"filter", "DOCKER-USER", "", ""},
		{"firewalld2", "x", "", ""}, {"filter", "FORWARD", "see cali: the docs", ""}, {"hardening", "forward", "flannel", ""},
	} {
		tb := newTable(tableKey{famIP, tc.table})
		c := &chain{name: tc.chain}
		tb.addChain(c)
		if owner, _ := ownerOf([]*chain{c}, &rule{comment: tc.comment}); owner != tc.owner {
			t.Errorf("table %s chain %s %q: %q, want %q", tc.table, tc.chain, tc.comment, owner, tc.owner)
		}
	}
}

func TestServiceOf(t *testing.T) {
	for _, tc := range []struct {
		name, comment string
		said, chains  []string
		service, ep   string
	}{
		{"no endpoints", "shop/web:http has no endpoints", nil, []string{"KUBE-SERVICES"}, "shop/web", ""},
		{"a port without a name", "shop/web has no local endpoints", nil, []string{"KUBE-EXTERNAL-SERVICES"}, "shop/web", ""},
		{"endpoint", "shop/web:http -> 10.244.1.9:8080", nil, []string{"KUBE-SVC-X"}, "shop/web", "10.244.1.9:8080"},
		{"endpoint over IPv6", "shop/web:http -> [fd00::9]:8080", nil, []string{"KUBE-SVC-X"}, "shop/web", "[fd00::9]:8080"},
		{"not accepted", "shop/web:http traffic not accepted by KUBE-FW-NUKIZ6OKUXPJNT4C", nil, []string{"KUBE-PROXY-FIREWALL"}, "shop/web", ""},
		{"masquerade", "masquerade traffic for shop/web:http external destinations", nil, []string{"KUBE-EXT-X"}, "shop/web", ""},
		{"what led there", "", []string{"kubernetes service portals", "", "shop/web:http cluster IP"}, []string{"KUBE-SERVICES", "KUBE-SVC-X"}, "shop/web", ""},
		{"an element of a map", "", []string{"", "shop/web:http"}, []string{"services", "reject-chain"}, "shop/web", ""},
		{"nftables, service", "", nil, []string{"services", "service-ULMVA6XW-shop/web/tcp/http"}, "shop/web", ""},
		{"nftables, endpoint", "", nil, []string{"service-ULMVA6XW-shop/web/tcp/http", "endpoint-5OJB2KTY-shop/web/tcp/http__10.244.1.9/8080"}, "shop/web", "10.244.1.9:8080"},
		{"nftables, endpoint over IPv6", "", nil, []string{"endpoint-5OJB2KTY-shop/web/tcp/http__fd00.10..9/8080"}, "shop/web", "[fd00:10::9]:8080"},
		{"no Service", "kubernetes forwarding conntrack pod source rule", []string{"kubernetes service portals"}, []string{"KUBE-FORWARD"}, "", ""},
		{"a network is no Service", "block 10.0.0.0/8 for good", nil, []string{"KUBE-FIREWALL"}, "", ""},
		{"a name that looks alike", "", nil, []string{"serviceULMVA6XW-shop/web/tcp/http", "endpoint-x__10.0.0.1/80"}, "", ""},
	} {
		var path []*chain
		for _, n := range tc.chains {
			path = append(path, &chain{name: n})
		}
		service, ep := serviceOf(path, tc.said, tc.comment)
		got := ""
		if ep.IsValid() {
			got = ep.String()
		}
		if service != tc.service || got != tc.ep {
			t.Errorf("%s: %q %q, want %q %q", tc.name, service, got, tc.service, tc.ep)
		}
	}
}
