package kube

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podpath/podpath/tracer"
)

func TestEndpoint(t *testing.T) {
	s := shop(t)
	checkout := tracer.Endpoint{
		Kind: tracer.KindPod, Namespace: "shop", Name: "checkout-7d9f-x2x4q", Node: "n1", Owner: "Deployment/checkout",
	}
	api := tracer.Endpoint{Kind: tracer.KindService, Namespace: "payments", Name: "api"}
	n1 := tracer.Endpoint{Kind: tracer.KindNode, Name: "n1", Node: "n1"}
	tests := []struct {
		name  string
		ip    string
		port  uint16
		proto uint8
		want  tracer.Endpoint
	}{
		{"pod, although a finished pod lists the address", "10.244.1.7", 39514, tracer.ProtoTCP, checkout},
		{"pod by IPv6", "fd00:1::7", 1, tracer.ProtoTCP, checkout},
		{"pod by IPv4 in IPv6", "::ffff:10.244.1.7", 1, tracer.ProtoTCP, checkout},
		{"ClusterIP", "10.96.0.20", 80, tracer.ProtoTCP, api},
		{"ClusterIP with a port that the Service has not", "10.96.0.20", 81, tracer.ProtoTCP, api},
		{"IPv6 ClusterIP", "fd00:96::20", 80, tracer.ProtoTCP, api},
		{"external IP", "192.0.2.5", 80, tracer.ProtoTCP, api},
		{"load balancer", "203.0.113.10", 80, tracer.ProtoTCP, api},
		{"load balancer that proxies", "203.0.113.11", 80, tracer.ProtoTCP, tracer.Endpoint{Kind: tracer.KindExternal}},
		{"node port on a node without endpoints", "172.30.0.11", 30080, tracer.ProtoTCP, api},
		{"node port of the other protocol", "172.30.0.11", 30080, tracer.ProtoUDP, n1},
		{"node", "172.30.0.11", 10250, tracer.ProtoTCP, n1},
		{"node by IPv6", "fd00:f::11", 0, 0, n1},
		{"hostNetwork pod by its declared port", "172.30.0.11", 9100, tracer.ProtoTCP, tracer.Endpoint{
			Kind: tracer.KindPod, Namespace: "kube-system", Name: "exporter-abc", Node: "n1",
			Owner: "DaemonSet/exporter", HostNetwork: true,
		}},
		{"address in a pod range that no pod has", "10.244.2.66", 8080, tracer.ProtoTCP, tracer.Endpoint{Kind: tracer.KindUnknown}},
		{"address in the Service range that no Service has", "10.96.0.12", 80, tracer.ProtoTCP, tracer.Endpoint{Kind: tracer.KindUnknown}},
		{"link-local", "169.254.20.10", 53, tracer.ProtoUDP, tracer.Endpoint{Kind: tracer.KindUnknown}},
		{"loopback with a node port", "127.0.0.1", 30080, tracer.ProtoTCP, tracer.Endpoint{Kind: tracer.KindUnknown}},
		{"outside", "198.51.100.7", 443, tracer.ProtoTCP, tracer.Endpoint{Kind: tracer.KindExternal}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s.Endpoint(netip.MustParseAddr(tt.ip), tt.port, tt.proto)
			tt.want.IP, tt.want.Port = netip.MustParseAddr(tt.ip).Unmap(), tt.port
			if d := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestFrontend(t *testing.T) {
	s := shop(t)
	tests := []struct {
		ip   string
		port uint16
		kind FrontendKind
		want uint16 // the Service port, 0 if unknown
	}{
		{"10.96.0.20", 80, FrontendClusterIP, 80},
		{"10.96.0.20", 443, FrontendClusterIP, 0},
		{"172.30.0.12", 30900, FrontendNodePort, 9000},
		{"127.0.0.1", 30080, FrontendNodePort, 80},
		{"192.0.2.5", 9000, FrontendExternalIP, 9000},
		{"203.0.113.10", 80, FrontendLoadBalancer, 80},
		{"172.30.0.12", 30081, "", 0},
		{"198.51.100.1", 30080, "", 0},
	}
	for _, tt := range tests {
		f, ok := s.Frontend(netip.MustParseAddr(tt.ip), tt.port, tracer.ProtoTCP)
		if ok != (tt.kind != "") || f.Kind != tt.kind {
			t.Errorf("%s:%d: got %q (%v), want %q", tt.ip, tt.port, f.Kind, ok, tt.kind)
			continue
		}
		if got := f.Port; (got == nil) != (tt.want == 0) || got != nil && got.Port != tt.want {
			t.Errorf("%s:%d: got port %v, want %d", tt.ip, tt.port, got, tt.want)
		}
	}
}

// TestNodeAddressAsLoadBalancer is how k3s publishes its Services.
func TestNodeAddressAsLoadBalancer(t *testing.T) {
	ip := netip.MustParseAddr("172.30.0.1")
	s := newSnapshot([]object{
		&Node{Meta: Meta{Name: "n1"}, IPs: []netip.Addr{ip}},
		&Service{
			Meta: Meta{Namespace: "kube-system", Name: "traefik"}, Type: "LoadBalancer", LoadBalancerIPs: []netip.Addr{ip},
			Ports: []ServicePort{{Name: "web", Proto: tracer.ProtoTCP, Port: 80}},
		},
	}, epoch)
	for port, want := range map[uint16]tracer.EndpointKind{80: tracer.KindService, 6443: tracer.KindNode, 0: tracer.KindNode} {
		if got := s.Endpoint(ip, port, tracer.ProtoTCP); got.Kind != want {
			t.Errorf("port %d: got %+v, want a %s", port, got, want)
		}
	}
}

func TestServiceRange(t *testing.T) {
	tests := []struct {
		name string
		ips  []string
		want []string
	}{
		{"one address", []string{"10.96.0.1"}, []string{"10.96.0.1/32"}},
		{"a span", []string{"10.96.0.1", "10.96.0.10", "10.100.3.4"}, []string{"10.96.0.0/13"}},
		{"both families", []string{"10.96.0.1", "fd00:96::1", "fd00:96::ff"}, []string{"10.96.0.1/32", "fd00:96::/120"}},
		{"two ranges are not spanned", []string{"10.96.0.1", "10.96.0.3", "172.20.0.1"}, []string{"10.96.0.0/30", "172.20.0.1/32"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var objs []object
			for _, ip := range tt.ips {
				objs = append(objs, &Service{Meta: Meta{Namespace: "x", Name: ip}, ClusterIPs: []netip.Addr{netip.MustParseAddr(ip)}})
			}
			got, known := newSnapshot(objs, epoch).ServiceRanges()
			if known {
				t.Error("a span must not count as known")
			}
			var text []string
			for _, p := range got {
				text = append(text, p.String())
			}
			if d := cmp.Diff(tt.want, text); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestServiceRangeFromObjects(t *testing.T) {
	s := newSnapshot([]object{
		&ServiceCIDR{Meta: Meta{Name: "kubernetes"}, Prefixes: parsePrefixes([]string{"10.96.0.0/12"})},
		&Service{Meta: Meta{Namespace: "x", Name: "y"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}},
	}, epoch)
	if _, known := s.ServiceRanges(); !known {
		t.Error("ServiceCIDR objects must count as known")
	}
	if !s.InServiceRange(netip.MustParseAddr("10.111.255.254")) {
		t.Error("10.111.255.254 lies in 10.96.0.0/12")
	}
}

func TestOwner(t *testing.T) {
	pod := func(kind, name, hash string) *Pod {
		p := &Pod{Meta: Meta{Namespace: "a", Name: "p"}, Controller: OwnerRef{kind, name}}
		if hash != "" {
			p.Labels = map[string]string{templateHashLabel: hash}
		}
		return p
	}
	withRS := []object{
		&ReplicaSet{Meta: Meta{Namespace: "a", Name: "web-77"}, Controller: OwnerRef{"Rollout", "web"}},
		&ReplicaSet{Meta: Meta{Namespace: "a", Name: "lone-77"}},
	}
	tests := []struct {
		name string
		objs []object
		pod  *Pod
		want string
	}{
		{"no controller", nil, &Pod{}, ""},
		{"derived", nil, pod("ReplicaSet", "web-77", "77"), "Deployment/web"},
		{"hash does not fit", nil, pod("ReplicaSet", "web-77", "78"), "ReplicaSet/web-77"},
		{"no hash", nil, pod("ReplicaSet", "web-77", ""), "ReplicaSet/web-77"},
		{"other kind", nil, pod("DaemonSet", "web-77", "77"), "DaemonSet/web-77"},
		{"the ReplicaSet says", withRS, pod("ReplicaSet", "web-77", "77"), "Rollout/web"},
		{"the ReplicaSet has no owner", withRS, pod("ReplicaSet", "lone-77", "77"), "ReplicaSet/lone-77"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := newSnapshot(tt.objs, epoch).Owner(tt.pod).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestIsDNS(t *testing.T) {
	dns := []ServicePort{{Name: "dns", Port: 53}}
	tests := map[string]struct {
		service Service
		want    bool
	}{
		"kube-dns":                  {Service{Meta: Meta{Namespace: "kube-system", Name: "kube-dns"}}, true},
		"by its label":              {Service{Meta: Meta{Namespace: "dns", Name: "rke2-coredns"}, Labels: map[string]string{"k8s-app": "kube-dns"}}, true},
		"OpenShift's":               {Service{Meta: Meta{Namespace: "openshift-dns", Name: "dns-default"}, Ports: dns}, true},
		"by its port":               {Service{Meta: Meta{Namespace: "kube-system", Name: "coredns"}, Ports: dns}, true},
		"somebody's own DNS server": {Service{Meta: Meta{Namespace: "games", Name: "pihole"}, Ports: dns}, false},
		"kube-dns of a user":        {Service{Meta: Meta{Namespace: "games", Name: "kube-dns"}}, false},
		"another of the cluster's":  {Service{Meta: Meta{Namespace: "kube-system", Name: "metrics-server"}, Ports: []ServicePort{{Name: "https"}}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.service.IsDNS(); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
