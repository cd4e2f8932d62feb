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
