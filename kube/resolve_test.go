package kube

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podpath/podpath/tracer"
)

func resolve(t *testing.T, s *Snapshot, text string, opt ResolveOptions) (Resolved, error) {
	t.Helper()
	spec, err := ParseEndpoint(text, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return s.Resolve(context.Background(), spec, opt)
}

func targetTexts(r Resolved) []string {
	var out []string
	for _, t := range r.Targets {
		proto := ""
		if t.Proto != 0 {
			proto = "/" + tracer.ProtoName(t.Proto)
		}
		out = append(out, fmt.Sprintf("%s %s:%d%s", t.Role, t.Prefix, t.Port, proto))
	}
	slices.Sort(out)
	return out
}

func TestResolve(t *testing.T) {
	s := shop(t)
	onN1 := ResolveOptions{Source: true, Node: "n1"}
	withLabel := func(sel string, source bool) ResolveOptions {
		l, err := labels.Parse(sel)
		if err != nil {
			t.Fatal(err)
		}
		return ResolveOptions{Source: source, Node: "n1", Selector: l}
	}
	checkout := []string{"pod 10.244.1.7/32:0", "pod fd00:1::7/128:0"}
	tests := []struct {
		name, in string
		opt      ResolveOptions
		targets  []string
		pods     string
		note     string
	}{
		{"source pod", "pod/checkout-7d9f-x2x4q", onN1, checkout, "checkout-7d9f-x2x4q", ""},
		{"source Deployment", "deploy/checkout", onN1, checkout, "checkout-7d9f-x2x4q", ""},
		{"source namespace leaves the pending pod out", "ns/shop", onN1, checkout, "checkout-7d9f-x2x4q", "slow-0 has no IP address"},
		{"any with a selector", "any", withLabel("app=checkout", true), checkout, "checkout-7d9f-x2x4q", ""},
		{"range with a selector", "10.244.0.0/16", withLabel("app=checkout", true), checkout, "checkout-7d9f-x2x4q", ""},
		{"named port of a pod", "pod/checkout-7d9f-x2x4q:http", ResolveOptions{},
			[]string{"pod 10.244.1.7/32:8080/TCP", "pod fd00:1::7/128:8080/TCP"}, "checkout-7d9f-x2x4q", ""},
		{"destination pod elsewhere", "payments/pod/api-5c-aaaaa:8080", ResolveOptions{Node: "n1"},
			[]string{"pod 10.244.2.9/32:8080"}, "api-5c-aaaaa", ""},
		{"hostNetwork pod", "kube-system/pod/exporter-abc", onN1, []string{"pod 172.30.0.11/32:0"}, "exporter-abc", "network of node n1"},
		{"node", "node/n1:10250", onN1, []string{"node 172.30.0.11/32:10250", "node fd00:f::11/128:10250"}, "", ""},
		{"address of a pod elsewhere", "10.244.2.9", onN1, []string{"range 10.244.2.9/32:0"}, "api-5c-aaaaa", "on node n2"},
		{"Service", "payments/svc/api", ResolveOptions{}, []string{
			"backend 10.244.2.9/32:8080/TCP", "backend 10.244.2.9/32:9000/TCP",
			"cluster-ip 10.96.0.20/32:0", "cluster-ip fd00:96::20/128:0", "external-ip 192.0.2.5/32:0", "load-balancer 203.0.113.10/32:0",
			"node-port 172.30.0.11/32:30080/TCP", "node-port 172.30.0.11/32:30900/TCP",
			"node-port 172.30.0.12/32:30080/TCP", "node-port 172.30.0.12/32:30900/TCP",
			"node-port fd00:f::11/128:30080/TCP", "node-port fd00:f::11/128:30900/TCP",
		}, "api-5c-aaaaa", ""},
		{"Service port by name", "payments/svc/api:admin", ResolveOptions{}, []string{
			"backend 10.244.2.9/32:9000/TCP",
			"cluster-ip 10.96.0.20/32:9000", "cluster-ip fd00:96::20/128:9000", "external-ip 192.0.2.5/32:9000", "load-balancer 203.0.113.10/32:9000",
			"node-port 172.30.0.11/32:30900/TCP", "node-port 172.30.0.12/32:30900/TCP", "node-port fd00:f::11/128:30900/TCP",
		}, "api-5c-aaaaa", ""},
		{"Service port that does not exist", "payments/svc/api:81", ResolveOptions{}, []string{
			"cluster-ip 10.96.0.20/32:81", "cluster-ip fd00:96::20/128:81", "external-ip 192.0.2.5/32:81", "load-balancer 203.0.113.10/32:81",
		}, "", "no port 81; it has 80/TCP, 9000/TCP"},
		{"Service without endpoints", "kube-system/svc/kube-dns", ResolveOptions{}, []string{"cluster-ip 10.96.0.10/32:0"}, "", "no ready endpoint"},
		{"Service by DNS name", "kube-dns.kube-system.svc.cluster.local:53", ResolveOptions{}, []string{"cluster-ip 10.96.0.10/32:53"}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := resolve(t, s, tt.in, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.targets, targetTexts(r)); d != "" {
				t.Errorf("targets (-want +got)\n%s", d)
			}
			var pods []string
			for _, p := range r.Pods {
				pods = append(pods, p.Name)
			}
			if got := strings.Join(pods, " "); got != tt.pods {
				t.Errorf("pods: got %q, want %q", got, tt.pods)
			}
			if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, tt.note) {
				t.Errorf("notes: got %q, want %q", notes, tt.note)
			}
			if r.Description == "" {
				t.Error("no description")
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	s := shop(t)
	onN1 := ResolveOptions{Source: true, Node: "n1"}
	var notFound *NotFoundError
	var wrongNode *WrongNodeError
	var noIP *NoIPError
	var selection *SelectionError
	app := func(v string) ResolveOptions {
		l, _ := labels.Parse("app=" + v)
		return ResolveOptions{Source: true, Node: "n1", Selector: l}
	}
	tests := []struct {
		name, in string
		opt      ResolveOptions
		as       any
		want     string
	}{
		{"typo in a pod's name", "pod/checkout-7d9f-x2x4p", onN1, &notFound, "did you mean shop/pod/checkout-7d9f-x2x4q?"},
		{"a Deployment's name as pod", "pod/checkout", onN1, &notFound, "did you mean shop/deploy/checkout or shop/pod/checkout-7d9f-x2x4q?"},
		{"right name, other namespace", "svc/api", ResolveOptions{}, &notFound, "did you mean payments/svc/api?"},
		{"unknown namespace", "shpo/pod/x", onN1, &notFound, "ns/shpo does not exist; did you mean ns/shop?"},
		{"unknown namespace alone", "ns/nothing-like-it", onN1, &notFound, "ns/nothing-like-it does not exist"},
		{"nothing near", "pod/zzz", onN1, &notFound, "shop/pod/zzz does not exist"},
		{"Deployment without pods", "deploy/chekout", onN1, &notFound, "no pod of it exists; did you mean shop/deploy/checkout?"},
		{"unknown node", "node/n3", onN1, &notFound, "did you mean node/n1 or node/n2?"},
		{"pod elsewhere", "payments/pod/api-5c-aaaaa", onN1, &wrongNode, "payments/pod/api-5c-aaaaa is on node n2, not on n1"},
		{"Deployment elsewhere", "payments/deploy/api", onN1, &wrongNode, "payments/deploy/api is on node n2, not on n1"},
		{"pending", "pod/slow-0", onN1, &noIP, "pod shop/slow-0 has no IP address: it is Pending (ImagePullBackOff: back-off pulling image)"},
		{"pending workload", "sts/slow", onN1, &noIP, "ImagePullBackOff"},
		{"ended", "pod/batch-1", onN1, &selection, "it has ended (Succeeded)"},
		{"selector leaves nothing", "ns/shop", app("nope"), &selection, "no running pod matches app=nope"},
		{"selector against the pod", "pod/checkout-7d9f-x2x4q", app("nope"), &selection, "does not match app=nope"},
		{"selector on a node", "node/n1", app("x"), &selection, "narrows pods only"},
		{"selector on the internet", "internet", app("x"), &selection, "narrows pods only"},
		{"unknown named port of a pod", "pod/checkout-7d9f-x2x4q:grpc", onN1, &selection, `no port named "grpc"; it has http`},
		{"unknown named port of a Service", "payments/svc/api:grpc", ResolveOptions{}, &selection, `no port named "grpc"; it has http, admin`},
		{"DNS without resolver", "example.com", ResolveOptions{}, &selection, "cannot be resolved here"},
		{"Service by DNS name", "kube-dnss.kube-system.svc", ResolveOptions{}, &notFound, "did you mean kube-system/svc/kube-dns?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := resolve(t, s, tt.in, tt.opt)
			if !errors.As(err, tt.as) {
				t.Fatalf("got %v (%T), want %T", err, err, tt.as)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestResolveDNS(t *testing.T) {
	s := shop(t)
	opt := ResolveOptions{LookupHost: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "example.com" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")}, nil
	}}
	r, err := resolve(t, s, "example.com:443", opt)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"dns 198.51.100.7/32:443", "dns 2001:db8::7/128:443"}, targetTexts(r)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if _, err := resolve(t, s, "nope.example.com", opt); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("got %v", err)
	}
}

func TestInside(t *testing.T) {
	var got []string
	for _, p := range shop(t).Inside() {
		got = append(got, p.String())
	}
	want := []string{
		"10.96.0.0/27", "10.244.1.0/24", "10.244.2.0/24", "172.30.0.11/32", "172.30.0.12/32",
		"192.0.2.5/32", "203.0.113.10/32", "fd00:1::/64", "fd00:f::11/128", "fd00:96::20/128",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestLocalNode(t *testing.T) {
	s := newSnapshot([]object{&Node{Meta: Meta{Name: "worker-1.example.com"}}, &Node{Meta: Meta{Name: "worker-2"}}}, epoch)
	for in, want := range map[string]string{
		"worker-2": "worker-2", "worker-2.example.com": "worker-2", "worker-1": "worker-1.example.com", "WORKER-1": "worker-1.example.com",
	} {
		if got, err := s.LocalNode(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v", in, got, err)
		}
	}
	_, err := s.LocalNode("worker-3")
	if err == nil || !strings.Contains(err.Error(), "did you mean node/worker-2") {
		t.Errorf("got %v", err)
	}
}

// Another node can be a source: what it sends to this one is seen here.
func TestResolveOtherNodeAsSource(t *testing.T) {
	r, err := resolve(t, shop(t), "node/n2", ResolveOptions{Source: true, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Targets) == 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "only what reaches n1") {
		t.Errorf("got %+v", r)
	}
}
