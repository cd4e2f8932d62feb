package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// base is the cluster that the tables add policies to. web/front calls
// shop/api; shop/db is a neighbour; host is a hostNetwork pod on n1.
const base = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: ["10.0.1.0/24", "fd00:1::/64"]}
status: {addresses: [{type: InternalIP, address: 172.30.0.1}, {type: InternalIP, address: "fd00:f::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: ["10.0.2.0/24"]}
status: {addresses: [{type: InternalIP, address: 172.30.0.2}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop, tier: back}}
---
apiVersion: v1
kind: Namespace
metadata: {name: web, labels: {team: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api, v: "1"}}
spec:
  nodeName: n1
  containers: [{name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}, {name: dns, containerPort: 5353}]}]
status: {phase: Running, podIPs: [{ip: 10.0.1.10}, {ip: "fd00:1::10"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.1.11}
---
apiVersion: v1
kind: Pod
metadata: {name: front, namespace: web, labels: {app: front}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 9999}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.2.20}, {ip: "fd00:2::20"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lost, namespace: unlisted, labels: {app: lost}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.2.30}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: shop, labels: {app: host}}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: c}]}
status: {phase: Running, podIP: 172.30.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: shop, labels: {app: api}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {phase: Succeeded, podIP: 10.0.1.99}
`

// cluster adds policies, each "namespace/name: spec in YAML flow style".
func cluster(t testing.TB, policies ...string) *kube.Snapshot {
	t.Helper()
	text := base
	for _, p := range policies {
		name, spec, ok := strings.Cut(p, ": ")
		ns, name2, ok2 := strings.Cut(name, "/")
		if !ok || !ok2 {
			t.Fatalf("bad policy %q", p)
		}
		text += fmt.Sprintf("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name2, ns, spec)
	}
	s, _, err := kube.ReadDump(strings.NewReader(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	front, front6 = "10.0.2.20", "fd00:2::20"
	api, api6     = "10.0.1.10", "fd00:1::10"
	db            = "10.0.1.11"
	lost          = "10.0.2.30"
	node1, node2  = "172.30.0.1", "172.30.0.2"
	outside       = "198.51.100.7"
	tcp, udp      = tracer.ProtoTCP, tracer.ProtoUDP
)

func flow(src, dst string, port uint16, proto uint8) Flow {
	return Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Port: port, Proto: proto}
}

// show gives a decision in one line: "none", "allow", "allow by x/y" or
// "deny x/y#rule miss: why".
func show(d *tracer.PolicyDecision) string {
	switch {
	case d == nil:
		return "none"
	case d.Allowed && d.AllowedBy == nil:
		return "allow"
	case d.Allowed:
		return "allow by " + d.AllowedBy.Namespace + "/" + d.AllowedBy.Name
	}
	n := d.Nearest
	return fmt.Sprintf("deny %s/%s#%d %s: %s", n.Policy.Namespace, n.Policy.Name, n.Rule, n.Miss, n.Why)
}

const apiIn = "shop/p: {podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress], ingress: "

func TestIngress(t *testing.T) {
	toAPI := flow(front, api, 8080, tcp)
	tests := []struct {
		name     string
		policies []string
		flow     Flow
		want     string // a prefix
	}{
		{"no policy", nil, toAPI, "allow"},
		{"policy of another namespace does not select", []string{"web/p: {podSelector: {}, ingress: []}"}, toAPI, "allow"},
		{"policy for other pods does not select", []string{"shop/p: {podSelector: {matchLabels: {app: db}}}"}, toAPI, "allow"},
		{"egress policy does not isolate ingress", []string{"shop/p: {podSelector: {}, policyTypes: [Egress]}"}, toAPI, "allow"},
		{"default deny", []string{"shop/p: {podSelector: {}, policyTypes: [Ingress]}"}, toAPI, "deny shop/p#-1 no-rules: selects the pod and has no ingress rules"},
		{"policyTypes default to ingress", []string{"shop/p: {podSelector: {}}"}, toAPI, "deny shop/p#-1 no-rules"},
		{"policyTypes default to ingress although only egress rules are written", []string{"shop/p: {podSelector: {}, egress: [{}]}"}, toAPI, "deny shop/p#-1 no-rules"},
		{"an empty rule allows all", []string{apiIn + "[{}]}"}, toAPI, "allow by shop/p"},
		{"an empty rule allows the outside", []string{apiIn + "[{}]}"}, flow(outside, api, 1, udp), "allow by shop/p"},
		{"additive: one allows, the other denies", []string{"shop/a: {podSelector: {}}", "shop/b: {podSelector: {}, ingress: [{}]}"}, toAPI, "allow by shop/b"},
		{"additive: rules of one policy", []string{apiIn + "[{ports: [{port: 1}]}, {ports: [{port: 8080}]}]}"}, toAPI, "allow by shop/p"},
		{"matchExpressions select", []string{"shop/p: {podSelector: {matchExpressions: [{key: app, operator: In, values: [x, api]}, {key: v, operator: Exists}, {key: z, operator: DoesNotExist}, {key: app, operator: NotIn, values: [db]}]}}"}, toAPI, "deny"},
		{"matchExpressions do not select", []string{"shop/p: {podSelector: {matchExpressions: [{key: v, operator: DoesNotExist}]}}"}, toAPI, "allow"},

		{"podSelector alone means the own namespace", []string{apiIn + "[{from: [{podSelector: {matchLabels: {app: front}}}]}]}"}, toAPI,
			"deny shop/p#0 own-namespace: wants pods of namespace shop (it has no namespaceSelector), but the client pod is in web; no pod of namespace shop has that"},
		{"podSelector alone in the own namespace", []string{apiIn + "[{from: [{podSelector: {matchLabels: {app: db}}}]}]}"}, flow(db, api, 8080, tcp), "allow by shop/p"},
		{"empty podSelector is every pod of the own namespace", []string{apiIn + "[{from: [{podSelector: {}}]}]}"}, flow(db, api, 8080, tcp), "allow by shop/p"},
		{"empty podSelector is not every pod of the cluster", []string{apiIn + "[{from: [{podSelector: {}}]}]}"}, toAPI, "deny shop/p#0 namespace"},
		{"namespaceSelector", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: web}}}]}]}"}, toAPI, "allow by shop/p"},
		{"namespace by its name", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}}]}]}"}, toAPI, "allow by shop/p"},
		{"empty namespaceSelector is every namespace", []string{apiIn + "[{from: [{namespaceSelector: {}}]}]}"}, toAPI, "allow by shop/p"},
		{"empty namespaceSelector is not the outside", []string{apiIn + "[{from: [{namespaceSelector: {}}]}]}"}, flow(outside, api, 8080, tcp),
			"deny shop/p#0 peer: selects pods by label, and the source 198.51.100.7 is no pod, so only an ipBlock can allow it"},
		{"namespace label missing", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {env: prod}}}]}]}"}, toAPI,
			"deny shop/p#0 namespace: wants namespaces with env=prod, but namespace web has no label env"},
		{"namespace label differs", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]}"}, toAPI,
			"deny shop/p#0 namespace: wants namespaces with team=ops, but namespace web has team=web"},
		{"AND in one peer, both match", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: web}}, podSelector: {matchLabels: {app: front}}}]}]}"}, toAPI, "allow by shop/p"},
		{"AND in one peer, the pod differs", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: web}}, podSelector: {matchLabels: {app: admin}}}]}]}"}, toAPI,
			"deny shop/p#0 peer: wants pods with app=admin, but the client pod has app=front"},
		{"AND in one peer, the namespace differs", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: front}}}]}]}"}, toAPI, "deny shop/p#0 namespace"},
		{"OR between peers", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: x}}}, {namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}]}]}"}, toAPI, "allow by shop/p"},
		{"both selectors miss", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {role: admin}}}]}]}"}, toAPI,
			"deny shop/p#0 peer: wants namespaces with team=x, but namespace web has team=web, and wants pods with role=admin, but the client pod has no label role"},
		{"the namespace object is not known", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: x}}}]}]}"}, flow(lost, api, 8080, tcp),
			"deny shop/p#0 namespace: wants namespaces with team=x, but namespace unlisted has no label team (the namespace's labels are not known)"},
		{"the namespace object is not known, its name is", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: unlisted}}}]}]}"}, flow(lost, api, 8080, tcp), "allow by shop/p"},

		{"ipBlock", []string{apiIn + "[{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}"}, flow(outside, api, 8080, tcp), "allow by shop/p"},
		{"ipBlock with host bits", []string{apiIn + "[{from: [{ipBlock: {cidr: 198.51.100.77/24}}]}]}"}, flow(outside, api, 8080, tcp), "allow by shop/p"},
		{"ipBlock holds a pod's address", []string{apiIn + "[{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}"}, toAPI, "allow by shop/p"},
		{"ipBlock except", []string{apiIn + "[{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.2.0/24]}}]}]}"}, toAPI,
			"deny shop/p#0 ip-block: allows from 10.0.0.0/8 except 10.0.2.0/24, which holds 10.0.2.20"},
		{"ipBlock elsewhere", []string{apiIn + "[{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}"}, flow(outside, api, 8080, tcp),
			"deny shop/p#0 ip-block: allows from 192.0.2.0/24, and 198.51.100.7 is not in it"},
		{"IPv6 ipBlock", []string{apiIn + "[{from: [{ipBlock: {cidr: \"fd00:2::/64\"}}]}]}"}, flow(front6, api6, 8080, tcp), "allow by shop/p"},
		{"IPv4 any is not IPv6 any", []string{apiIn + "[{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"}, flow(front6, api6, 8080, tcp), "deny shop/p#0 ip-block"},
		{"selectors hold for IPv6", []string{apiIn + "[{from: [{namespaceSelector: {matchLabels: {team: web}}}]}]}"}, flow(front6, api6, 8080, tcp), "allow by shop/p"},
		{"IPv4 in IPv6", []string{apiIn + "[{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}"}, flow("::ffff:198.51.100.7", "::ffff:10.0.1.10", 8080, tcp), "allow by shop/p"},

		{"port", []string{apiIn + "[{ports: [{port: 8080}]}]}"}, toAPI, "allow by shop/p"},
		{"other port", []string{apiIn + "[{ports: [{port: 80}, {port: 443}]}]}"}, toAPI, "deny shop/p#0 port: allows TCP 80, TCP 443; the packet is TCP 8080"},
		{"the Service's port", []string{apiIn + "[{ports: [{port: 80}]}]}"},
			Flow{Src: toAPI.Src, Dst: toAPI.Dst, Port: 8080, ServicePort: 80, Proto: tcp},
			"deny shop/p#0 port-before-dnat: allows TCP 80; the packet is TCP 8080 after DNAT: 80 is the Service's port, and policies judge the pod's"},
		{"the Service's port in a range", []string{apiIn + "[{ports: [{port: 79, endPort: 81}]}]}"},
			Flow{Src: toAPI.Src, Dst: toAPI.Dst, Port: 8080, ServicePort: 80, Proto: tcp}, "deny shop/p#0 port-before-dnat"},
		{"endPort low end", []string{apiIn + "[{ports: [{port: 8080, endPort: 8090}]}]}"}, toAPI, "allow by shop/p"},
		{"endPort high end", []string{apiIn + "[{ports: [{port: 8000, endPort: 8080}]}]}"}, toAPI, "allow by shop/p"},
		{"endPort beyond", []string{apiIn + "[{ports: [{port: 8000, endPort: 8079}]}]}"}, toAPI, "deny shop/p#0 port: allows TCP 8000-8079"},
		{"protocol defaults to TCP", []string{apiIn + "[{ports: [{port: 53}]}]}"}, flow(front, api, 53, udp), "deny shop/p#0 protocol: allows TCP 53; the packet is UDP 53"},
		{"an entry without a port is the whole protocol", []string{apiIn + "[{ports: [{protocol: UDP}]}]}"}, flow(front, api, 53, udp), "allow by shop/p"},
		{"an entry without a port is no other protocol", []string{apiIn + "[{ports: [{protocol: UDP}]}]}"}, toAPI, "deny shop/p#0 protocol: allows every UDP port"},
		{"an entry without anything is all of TCP", []string{apiIn + "[{ports: [{}]}]}"}, toAPI, "allow by shop/p"},
		{"SCTP", []string{apiIn + "[{ports: [{protocol: SCTP, port: 8080}]}]}"}, flow(front, api, 8080, tracer.ProtoSCTP), "allow by shop/p"},
		{"SCTP is not TCP", []string{apiIn + "[{ports: [{protocol: SCTP, port: 8080}]}]}"}, toAPI, "deny shop/p#0 protocol"},
		{"ICMP with ports in the rule", []string{apiIn + "[{ports: [{port: 8080}]}]}"}, flow(front, api, 0, tracer.ProtoICMP), "deny shop/p#0 protocol: allows TCP 8080; the packet is ICMP"},
		{"ICMP without ports in the rule", []string{apiIn + "[{}]}"}, flow(front, api, 0, tracer.ProtoICMP), "allow by shop/p"},
		{"named port", []string{apiIn + "[{ports: [{port: http}]}]}"}, toAPI, "allow by shop/p"},
		{"named port is not the source's", []string{apiIn + "[{ports: [{port: http}]}]}"}, flow(front, api, 9999, tcp),
			`deny shop/p#0 named-port: allows TCP "http"; the packet is TCP 9999; "http" is 8080 on pod shop/api`},
		{"named port of the protocol", []string{apiIn + "[{ports: [{port: dns, protocol: UDP}]}]}"}, flow(front, api, 53, udp), "allow by shop/p"},
		{"named port of the other protocol", []string{apiIn + "[{ports: [{port: dns, protocol: UDP}]}]}"}, flow(front, api, 5353, udp), "deny shop/p#0 named-port"},
		{"named port that is not declared", []string{apiIn + "[{ports: [{port: grpc}]}]}"}, toAPI,
			`deny shop/p#0 named-port: allows TCP "grpc"; the packet is TCP 8080; pod shop/api declares no TCP port named "grpc"`},

		{"nearest: right peer, wrong port beats wrong peer", []string{apiIn + "[{from: [{podSelector: {}}], ports: [{port: 8080}]}, {from: [{namespaceSelector: {}}], ports: [{port: 1}]}]}"}, toAPI, "deny shop/p#1 port"},
		{"nearest: right port, wrong peer beats both wrong", []string{"shop/a: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 1}]}]}", "shop/b: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 8080}]}]}"}, toAPI, "deny shop/b#0 namespace"},
		{"nearest: a rule beats none", []string{"shop/a: {podSelector: {}}", "shop/b: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 1.2.3.4/32}}]}]}"}, toAPI, "deny shop/b#0 ip-block"},
		{"nearest: both wrong says both", []string{apiIn + "[{from: [{podSelector: {}}], ports: [{port: 1}]}]}"}, toAPI,
			"deny shop/p#0 namespace: wants pods of namespace shop (it has no namespaceSelector), but the client pod is in web; it also allows TCP 1; the packet is TCP 8080"},
		{"nearest: the first by name if none has rules", []string{"shop/z: {podSelector: {}}", "shop/a: {podSelector: {}}"}, toAPI, "deny shop/a#-1"},

		{"from a node, selectors do not match it", []string{apiIn + "[{from: [{namespaceSelector: {}}]}]}"}, flow(node2, api, 8080, tcp),
			"deny shop/p#0 peer: selects pods by label, and the source 172.30.0.2 is node n2 itself"},
		{"from an address in a pod range that no pod has", []string{apiIn + "[{from: [{namespaceSelector: {}}]}]}"}, flow("10.0.2.77", api, 8080, tcp),
			"deny shop/p#0 peer: selects pods by label, and no known pod has the source 10.0.2.77 (it lies in the pod range of node n2)"},
		{"from a node, by ipBlock", []string{apiIn + "[{from: [{ipBlock: {cidr: 172.30.0.0/24}}]}]}"}, flow(node2, api, 8080, tcp), "allow by shop/p"},
		{"to itself", []string{"shop/p: {podSelector: {}}"}, flow(api, api, 8080, tcp), "allow"},
		{"to a hostNetwork pod", []string{"shop/p: {podSelector: {}}"}, flow(front, node1, 8080, tcp), "none"},
		{"to the outside", []string{"shop/p: {podSelector: {}}"}, flow(front, outside, 8080, tcp), "none"},
		{"to a finished pod", []string{"shop/p: {podSelector: {}}"}, flow(front, "10.0.1.99", 8080, tcp), "none"},
		{"broken peer matches nothing", []string{apiIn + "[{from: [{}]}]}"}, toAPI, "deny shop/p#0 ip-block"},
		{"broken operator matches nothing", []string{apiIn + "[{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}]}]}"}, toAPI, "deny shop/p#0 namespace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, in := Decide(cluster(t, tt.policies...), tt.flow)
			if got := show(in); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if in != nil && in.Direction != "ingress" {
				t.Errorf("direction %q", in.Direction)
			}
		})
	}
}

func TestEgress(t *testing.T) {
	toAPI := flow(front, api, 8080, tcp)
	const out = "web/p: {podSelector: {}, policyTypes: [Egress], egress: "
	tests := []struct {
		name     string
		policies []string
		flow     Flow
		want     string
	}{
		{"no policy", nil, toAPI, "allow"},
		{"ingress policy of the source does not isolate egress", []string{"web/p: {podSelector: {}}"}, toAPI, "allow"},
		{"policy of the destination does not count", []string{"shop/p: {podSelector: {}, policyTypes: [Egress]}"}, toAPI, "allow"},
		{"default deny", []string{"web/p: {podSelector: {}, policyTypes: [Egress]}"}, toAPI, "deny web/p#-1 no-rules: selects the pod and has no egress rules"},
		{"policyTypes default to egress if there are egress rules", []string{"web/p: {podSelector: {}, egress: [{ports: [{port: 1}]}]}"}, toAPI, "deny web/p#0 port"},
		{"to the outside by ipBlock", []string{out + "[{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}"}, flow(front, outside, 443, tcp), "allow by web/p"},
		{"to a pod in the exception", []string{out + "[{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}"}, toAPI, "deny web/p#0 ip-block: allows to 0.0.0.0/0 except 10.0.0.0/8, which holds 10.0.1.10"},
		{"to the outside with selectors", []string{out + "[{to: [{namespaceSelector: {}}]}]}"}, flow(front, outside, 443, tcp), "deny web/p#0 peer: selects pods by label, and the destination 198.51.100.7 is no pod"},
		{"named port is the destination pod's", []string{out + "[{ports: [{port: http}]}]}"}, toAPI, "allow by web/p"},
		{"named port is not the own", []string{out + "[{ports: [{port: http}]}]}"}, flow(front, api, 9999, tcp), "deny web/p#0 named-port"},
		{"named port means nothing outside", []string{out + "[{ports: [{port: http}]}]}"}, flow(front, outside, 8080, tcp),
			`deny web/p#0 named-port: allows TCP "http"; the packet is TCP 8080; port name "http" means nothing for 198.51.100.7, which is no pod`},
		{"to a hostNetwork pod, selectors", []string{out + "[{to: [{namespaceSelector: {}}]}]}"}, flow(front, node1, 80, tcp), "deny web/p#0 peer: selects pods by label, and the destination 172.30.0.1 is node n1 itself"},
		{"from a hostNetwork pod", []string{"shop/p: {podSelector: {}, policyTypes: [Egress]}"}, flow(node1, front, 80, tcp), "none"},
		{"from the outside", nil, flow(outside, api, 80, tcp), "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eg, _ := Decide(cluster(t, tt.policies...), tt.flow)
			if got := show(eg); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if eg != nil && eg.Direction != "egress" {
				t.Errorf("direction %q", eg.Direction)
			}
		})
	}
}

// TestBothSides: the two decisions are independent of each other.
func TestBothSides(t *testing.T) {
	s := cluster(t, "shop/in: {podSelector: {}, ingress: [{}]}", "web/out: {podSelector: {}, policyTypes: [Egress]}")
	eg, in := Decide(s, flow(front, api, 8080, tcp))
	if got := show(eg); !strings.HasPrefix(got, "deny web/out#-1") {
		t.Errorf("egress: %s", got)
	}
	if got := show(in); got != "allow by shop/in" {
		t.Errorf("ingress: %s", got)
	}
	if eg.Port != 8080 || len(eg.Selected) != 1 {
		t.Errorf("got %+v", eg)
	}
}

func TestExempt(t *testing.T) {
	s := cluster(t, "shop/p: {podSelector: {}, policyTypes: [Ingress, Egress]}")
	tests := []struct {
		name    string
		flow    Flow
		side    string
		exempt  string
		allowed bool
	}{
		{"from the own node", flow(node1, api, 8080, tcp), "ingress", ExemptOwnNode, false},
		{"from the own node by IPv6", flow("fd00:f::1", api6, 8080, tcp), "ingress", ExemptOwnNode, false},
		{"from another node", flow(node2, api, 8080, tcp), "ingress", "", false},
		{"to the own node", flow(api, node1, 10250, tcp), "egress", ExemptOwnNode, false},
		{"to itself, ingress", flow(api, api, 8080, tcp), "ingress", ExemptSelf, true},
		{"to itself, egress", flow(api, api, 8080, tcp), "egress", ExemptSelf, true},
	}
	for _, tt := range tests {
		eg, in := Decide(s, tt.flow)
		d := in
		if tt.side == "egress" {
			d = eg
		}
		if d == nil || d.Exempt != tt.exempt || d.Allowed != tt.allowed || len(d.Selected) != 1 {
			t.Errorf("%s: got %+v", tt.name, d)
		}
	}
}

// TestGivenPods: pods that the caller names win over the address, which another
// pod may have by now.
func TestGivenPods(t *testing.T) {
	s := cluster(t, apiIn+"[{from: [{podSelector: {matchLabels: {app: db}}}]}]}")
	pod, _ := s.Pod("shop", "db")
	f := flow(outside, api, 8080, tcp)
	f.SrcPod = pod
	if _, in := Decide(s, f); show(in) != "allow by shop/p" {
		t.Errorf("got %s", show(in))
	}
}
