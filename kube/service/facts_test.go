package service

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

const nodes = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: ["10.0.1.0/24"]}
status: {addresses: [{type: InternalIP, address: 172.30.0.1}, {type: InternalIP, address: "fd00:f::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: ["10.0.2.0/24"]}
status: {addresses: [{type: InternalIP, address: 172.30.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: prod, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.1.10, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: prod, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.2.10, conditions: [{type: Ready, status: "False"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-old, namespace: prod, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Failed, podIP: 10.0.2.11}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: other, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.2.12}
`

const web = `---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod}
spec:
  type: %s
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20, "fd00:96::20"]
  externalIPs: [192.0.2.5]
  selector: {app: web}
  loadBalancerSourceRanges: [203.0.113.0/24]
  %s
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080, protocol: TCP}
  - {name: dot, port: 853, targetPort: 8853, nodePort: 30853, protocol: TCP}
  - {name: quic, port: 80, targetPort: 8443, protocol: UDP}
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
`

// slice gives an EndpointSlice of prod/web for its http port; each endpoint is
// "ADDRESS NODE CONDITIONS", conditions in YAML flow style.
func slice(name, family string, endpoints ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: %s\n", family)
	fmt.Fprintf(&out, "metadata: {name: %s, namespace: prod, labels: {kubernetes.io/service-name: web}}\n", name)
	out.WriteString("ports: [{name: http, port: 8080, protocol: TCP}, {name: quic, port: 8443, protocol: UDP}]\nendpoints:\n")
	for i, e := range endpoints {
		f := strings.SplitN(e, " ", 3)
		fmt.Fprintf(&out, "- {addresses: [%q], nodeName: %s, conditions: %s, targetRef: {kind: Pod, name: web-%d}}\n", f[0], f[1], f[2], i+1)
	}
	return out.String()
}

func load(t *testing.T, parts ...string) *kube.Snapshot {
	t.Helper()
	s, _, err := kube.ReadDump(strings.NewReader(nodes+strings.Join(parts, "")), "test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tuple(src, dst string, proto uint8) tracer.Tuple {
	return tracer.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: proto}
}

func TestFacts(t *testing.T) {
	s := load(t, fmt.Sprintf(web, "LoadBalancer", "externalTrafficPolicy: Local"),
		slice("a", "IPv4", "10.0.1.10 n1 {ready: true}", "10.0.2.10 n2 {ready: false, serving: false}"),
		slice("b", "IPv6", "fd00:1::10 n1 {}"))
	got := Facts(s, tuple("10.0.2.12:4000", "10.96.0.20:80", tracer.ProtoTCP))
	want := &tracer.ServiceFacts{
		Namespace: "prod", Name: "web", Type: "LoadBalancer", Frontend: "cluster-ip", PortKnown: true,
		PortName: "http", Port: 80, TargetPort: "http", Ports: []string{"80/TCP", "853/TCP", "80/UDP"},
		Endpoints: []tracer.ServiceEndpoint{
			{Addr: netip.MustParseAddrPort("10.0.1.10:8080"), Ready: true, Serving: true, Pod: "prod/web-1", Node: "n1"},
			{Addr: netip.MustParseAddrPort("10.0.2.10:8080"), Pod: "prod/web-2", Node: "n2"},
		},
		Selector: "app=web", Matches: 2, Ready: 1, ExternalLocal: true,
		SourceRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestFactsFrontends(t *testing.T) {
	s := load(t, fmt.Sprintf(web, "LoadBalancer", "internalTrafficPolicy: Cluster"),
		slice("a", "IPv4", "10.0.1.10 n1 {ready: true}"), slice("b", "IPv6", "fd00:1::10 n1 {}"))
	tests := []struct {
		dst       string
		proto     uint8
		frontend  string // "" for no Service
		port      uint16
		known     bool
		endpoints string
	}{
		{"10.96.0.20:80", tracer.ProtoTCP, "cluster-ip", 80, true, "10.0.1.10:8080"},
		{"[fd00:96::20]:80", tracer.ProtoTCP, "cluster-ip", 80, true, "[fd00:1::10]:8080"},
		{"10.96.0.20:80", tracer.ProtoUDP, "cluster-ip", 80, true, "10.0.1.10:8443"},
		{"10.96.0.20:80", tracer.ProtoSCTP, "cluster-ip", 80, false, ""},
		{"10.96.0.20:8080", tracer.ProtoTCP, "cluster-ip", 8080, false, ""},
		{"10.96.0.20:853", tracer.ProtoTCP, "cluster-ip", 853, true, ""},
		{"192.0.2.5:80", tracer.ProtoTCP, "external-ip", 80, true, "10.0.1.10:8080"},
		{"203.0.113.10:80", tracer.ProtoTCP, "load-balancer", 80, true, "10.0.1.10:8080"},
		{"172.30.0.2:30080", tracer.ProtoTCP, "node-port", 80, true, "10.0.1.10:8080"},
		{"[fd00:f::1]:30080", tracer.ProtoTCP, "node-port", 80, true, "[fd00:1::10]:8080"},
		{"127.0.0.1:30080", tracer.ProtoTCP, "node-port", 80, true, "10.0.1.10:8080"},
		{"172.30.0.2:30081", tracer.ProtoTCP, "", 0, false, ""},
		{"10.0.1.10:8080", tracer.ProtoTCP, "", 0, false, ""},
		{"198.51.100.1:80", tracer.ProtoTCP, "", 0, false, ""},
	}
	for _, tt := range tests {
		got := Facts(s, tuple("10.0.2.12:4000", tt.dst, tt.proto))
		if got == nil {
			if tt.frontend != "" {
				t.Errorf("%s: no Service found", tt.dst)
			}
			continue
		}
		var eps []string
		for _, e := range got.Endpoints {
			eps = append(eps, e.Addr.String())
		}
		if got.Frontend != tt.frontend || got.Port != tt.port || got.PortKnown != tt.known || strings.Join(eps, " ") != tt.endpoints {
			t.Errorf("%s: got %s %d %v %v", tt.dst, got.Frontend, got.Port, got.PortKnown, eps)
		}
	}
}

func TestConditions(t *testing.T) {
	tests := []struct {
		conditions                  string
		ready, serving, terminating bool
	}{
		{"{}", true, true, false},
		{"{ready: true}", true, true, false},
		{"{ready: false}", false, true, false},
		{"{ready: false, serving: false}", false, false, false},
		{"{ready: false, serving: true, terminating: true}", false, true, true},
		{"{terminating: true}", true, true, true},
	}
	for _, tt := range tests {
		s := load(t, fmt.Sprintf(web, "ClusterIP", ""), slice("a", "IPv4", "10.0.1.10 n1 "+tt.conditions))
		e := Facts(s, tuple("10.0.2.12:4000", "10.96.0.20:80", tracer.ProtoTCP)).Endpoints[0]
		if e.Ready != tt.ready || e.Serving != tt.serving || e.Terminating != tt.terminating {
			t.Errorf("%s: got %+v", tt.conditions, e)
		}
	}
}

func TestEndpointInTwoSlices(t *testing.T) {
	s := load(t, fmt.Sprintf(web, "ClusterIP", ""),
		slice("a", "IPv4", "10.0.1.10 n1 {ready: false}"), slice("b", "IPv4", "10.0.1.10 n1 {ready: true}"))
	got := Facts(s, tuple("10.0.2.12:4000", "10.96.0.20:80", tracer.ProtoTCP)).Endpoints
	if len(got) != 1 || !got[0].Ready {
		t.Errorf("got %+v, want one ready endpoint", got)
	}
}

func TestExpected(t *testing.T) {
	const (
		pod1, pod2, node1, node2, out = "10.0.1.10:4000", "10.0.2.12:4000", "172.30.0.1:4000", "172.30.0.2:4000", "203.0.113.77:4000"
		cluster, nodePort, lb         = "10.96.0.20:80", "172.30.0.1:30080", "203.0.113.10:80"
		ready, notReady               = "{ready: true}", "{ready: false, serving: false}"
		draining                      = "{ready: false, serving: true, terminating: true}"
		dead                          = "{ready: false, serving: false, terminating: true}"
	)
	tests := []struct {
		name      string
		policy    string
		endpoints []string
		src, dst  string
		want      tracer.ServiceTargets // without Addrs
		addrs     string
	}{
		{"all ready endpoints", "", []string{"10.0.1.10 n1 " + ready, "10.0.2.10 n2 " + ready, "10.0.2.13 n2 " + notReady}, pod1, cluster, tracer.ServiceTargets{}, "10.0.1.10:8080 10.0.2.10:8080"},
		{"draining ones do not count while one is ready", "", []string{"10.0.1.10 n1 " + ready, "10.0.2.10 n2 " + draining}, pod1, cluster, tracer.ServiceTargets{}, "10.0.1.10:8080"},
		{"draining ones serve if none is ready", "", []string{"10.0.1.10 n1 " + notReady, "10.0.2.10 n2 " + draining, "10.0.2.13 n2 " + dead}, pod1, cluster, tracer.ServiceTargets{Terminating: true}, "10.0.2.10:8080"},
		{"none", "", []string{"10.0.1.10 n1 " + notReady}, pod1, cluster, tracer.ServiceTargets{}, ""},
		{"internal Local", "internalTrafficPolicy: Local", []string{"10.0.1.10 n1 " + ready, "10.0.2.10 n2 " + ready}, pod1, cluster, tracer.ServiceTargets{Local: true, Elsewhere: 1}, "10.0.1.10:8080"},
		{"internal Local without local ones", "internalTrafficPolicy: Local", []string{"10.0.2.10 n2 " + ready}, pod1, cluster, tracer.ServiceTargets{Local: true, Elsewhere: 1}, ""},
		{"internal Local, a draining one here", "internalTrafficPolicy: Local", []string{"10.0.1.10 n1 " + draining, "10.0.2.10 n2 " + ready}, pod1, cluster, tracer.ServiceTargets{Local: true, Elsewhere: 1, Terminating: true}, "10.0.1.10:8080"},
		{"internal Local does not bind node ports", "internalTrafficPolicy: Local", []string{"10.0.2.10 n2 " + ready}, out, nodePort, tracer.ServiceTargets{}, "10.0.2.10:8080"},
		{"external Local from outside", "externalTrafficPolicy: Local", []string{"10.0.1.10 n1 " + ready, "10.0.2.10 n2 " + ready}, out, nodePort, tracer.ServiceTargets{Local: true, Elsewhere: 1}, "10.0.1.10:8080"},
		{"external Local from another node", "externalTrafficPolicy: Local", []string{"10.0.2.10 n2 " + ready}, node2, nodePort, tracer.ServiceTargets{Local: true, Elsewhere: 1}, ""},
		{"external Local from a pod", "externalTrafficPolicy: Local", []string{"10.0.2.10 n2 " + ready}, pod2, nodePort, tracer.ServiceTargets{}, "10.0.2.10:8080"},
		{"external Local from the node itself", "externalTrafficPolicy: Local", []string{"10.0.2.10 n2 " + ready}, node1, nodePort, tracer.ServiceTargets{}, "10.0.2.10:8080"},
		{"external Local does not bind the ClusterIP", "externalTrafficPolicy: Local", []string{"10.0.2.10 n2 " + ready}, pod1, cluster, tracer.ServiceTargets{}, "10.0.2.10:8080"},
		{"source range holds the client", "", []string{"10.0.1.10 n1 " + ready}, out, lb, tracer.ServiceTargets{}, "10.0.1.10:8080"},
		{"source range refuses the client", "", []string{"10.0.1.10 n1 " + ready}, "198.51.100.1:4000", lb, tracer.ServiceTargets{SourceRefused: true}, "10.0.1.10:8080"},
		{"source ranges do not bind node ports", "", []string{"10.0.1.10 n1 " + ready}, "198.51.100.1:4000", nodePort, tracer.ServiceTargets{}, "10.0.1.10:8080"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, fmt.Sprintf(web, "LoadBalancer", tt.policy), slice("a", "IPv4", tt.endpoints...))
			f := tuple(tt.src, tt.dst, tracer.ProtoTCP)
			got := Expected(s, Facts(s, f), f, "n1")
			var addrs []string
			for _, a := range got.Addrs {
				addrs = append(addrs, a.String())
			}
			got.Addrs = nil
			if d := cmp.Diff(&tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if a := strings.Join(addrs, " "); a != tt.addrs {
				t.Errorf("got %q, want %q", a, tt.addrs)
			}
		})
	}
	if got := Expected(nil, nil, tracer.Tuple{}, "n1"); got != nil {
		t.Errorf("without facts nothing is expected, got %+v", got)
	}
	s := load(t, fmt.Sprintf(web, "LoadBalancer", "internalTrafficPolicy: Local"), slice("a", "IPv4", "10.0.1.10 n1 "+ready))
	f := tuple(pod1, cluster, tracer.ProtoTCP)
	if got := Expected(s, Facts(s, f), f, "elsewhere"); got != nil {
		t.Errorf("of a node that the cluster does not have nothing local is expected, got %+v", got)
	}
	f.Dst = netip.MustParseAddrPort("10.96.0.20:8080")
	if got := Expected(s, Facts(s, f), f, "n1"); got != nil {
		t.Errorf("on a port that the Service does not have nothing is expected, got %+v", got)
	}
}

func TestDNS(t *testing.T) {
	tests := []struct {
		name, meta, port string
		want             bool
	}{
		{"kube-dns", "{name: kube-dns, namespace: kube-system}", "x", true},
		{"kube-dns elsewhere", "{name: kube-dns, namespace: prod}", "x", false},
		{"by label", "{name: coredns, namespace: infra, labels: {k8s-app: kube-dns}}", "x", true},
		{"by port name", "{name: coredns, namespace: kube-system}", "dns", true},
		{"a workload that answers lookups", "{name: resolver, namespace: infra}", "dns", false},
		{"none of these", "{name: web, namespace: prod}", "http", false},
	}
	for _, tt := range tests {
		s := load(t, fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: %s\nspec: {clusterIP: 10.96.0.10, ports: [{name: %s, port: 53, protocol: UDP}]}\n", tt.meta, tt.port))
		if got := Facts(s, tuple("10.0.2.12:4000", "10.96.0.10:53", tracer.ProtoUDP)); got.DNS != tt.want {
			t.Errorf("%s: got %v", tt.name, got.DNS)
		}
	}
}

// What changed of a Service stands in its facts, endpoint by endpoint.
func TestFactsChanges(t *testing.T) {
	const dump = `{"kind":"List","items":[
 {"kind":"Service","metadata":{"name":"web","namespace":"prod","managedFields":[{"time":"2026-11-23T10:00:00Z"}]},"spec":{"clusterIP":"10.96.0.20","ports":[{"port":80,"targetPort":8080}]}},
 {"kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"a","namespace":"prod","labels":{"kubernetes.io/service-name":"web"},"managedFields":[{"time":"2026-11-23T10:01:00Z"}]}},
 {"kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"b","namespace":"prod","labels":{"kubernetes.io/service-name":"web"},"managedFields":[{"time":"2026-11-23T10:02:00Z"}]}}
],"changes":[{"namespace":"prod","service":"web","at":"2026-11-23T10:03:00Z"},{"namespace":"prod","service":"web","address":"10.0.1.10","at":"2026-11-23T10:04:00Z"},{"namespace":"prod","service":"api","at":"2026-11-23T10:05:00Z"}]}`
	s, _, err := kube.ReadDump(strings.NewReader(dump), "test")
	if err != nil {
		t.Fatal(err)
	}
	got := Facts(s, tuple("10.0.2.12:4000", "10.96.0.20:80", tracer.ProtoTCP))
	said := fmt.Sprint(got.Changed.Format(time.TimeOnly), got.EndpointsChanged.Format(time.TimeOnly), got.EndpointChanges)
	if want := "10:03:0010:02:00[{10.0.1.10 2026-11-23 10:04:00 +0000 UTC}]"; said != want {
		t.Errorf("%s, want %s", said, want)
	}
}
