package kube

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/tracer"
)

// The cluster of the design's targets.
const (
	benchPods     = 10_000
	benchServices = 5_000
	benchPolicies = 2_000
	benchNodes    = 200
)

func benchObjects() []object {
	var out []object
	for i := range benchNodes {
		out = append(out, &Node{
			Meta: Meta{Name: fmt.Sprintf("node-%d", i)}, Ready: true,
			IPs:      []netip.Addr{netip.AddrFrom4([4]byte{172, 30, byte(i >> 8), byte(i)})},
			PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)},
		})
	}
	for i := range 50 {
		out = append(out, &Namespace{Meta: Meta{Name: benchNS(i)}, Labels: map[string]string{"team": fmt.Sprint(i)}})
	}
	for i := range benchPods {
		out = append(out, benchPod(i, ""))
	}
	for i := range benchServices {
		out = append(out, benchService(i), benchSlice(i))
	}
	for i := range benchPolicies {
		out = append(out, reducePolicy(&networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: benchNS(i), Name: fmt.Sprintf("policy-%d", i)},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("app-%d", i)}},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
					{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "front"}}},
				}}},
			},
		}))
	}
	return out
}

func benchNS(i int) string { return fmt.Sprintf("namespace-%d", i%50) }

func benchIP(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(i % benchNodes), byte(2 + i/benchNodes)})
}

func benchPod(i int, version string) *Pod {
	app := fmt.Sprintf("app-%d", i/4)
	return &Pod{
		Meta: Meta{Namespace: benchNS(i / 4), Name: fmt.Sprintf("%s-7d9f8b6c5-%05d", app, i)},
		UID:  fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Phase: "Running", Ready: true,
		Labels: map[string]string{
			"app": app, "version": version, templateHashLabel: "7d9f8b6c5", "app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "suite",
		},
		Node: fmt.Sprintf("node-%d", i%benchNodes), IPs: []netip.Addr{benchIP(i)}, Created: epoch,
		Ports:      []tracer.ContainerPort{{Name: "http", Port: 8080, Proto: tracer.ProtoTCP}, {Name: "metrics", Port: 9090, Proto: tracer.ProtoTCP}},
		Controller: OwnerRef{"ReplicaSet", app + "-7d9f8b6c5"},
	}
}

func benchService(i int) *Service {
	app := fmt.Sprintf("app-%d", i)
	return &Service{
		Meta: Meta{Namespace: benchNS(i), Name: app}, Type: "ClusterIP", Selector: map[string]string{"app": app},
		ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
		Ports:      []ServicePort{{Name: "http", Proto: tracer.ProtoTCP, Port: 80, TargetPort: "http"}},
	}
}

func benchSlice(i int) *EndpointSlice {
	app := fmt.Sprintf("app-%d", i)
	out := &EndpointSlice{
		Meta: Meta{Namespace: benchNS(i), Name: app + "-x7x2p"}, Service: app,
		Ports: []SlicePort{{Name: "http", Proto: tracer.ProtoTCP, Number: 8080}},
	}
	for j := range 4 {
		p := benchPod((4*i+j)%benchPods, "")
		out.Endpoints = append(out.Endpoints, SliceEndpoint{Addrs: p.IPs, Ready: true, Serving: true, Node: p.Node, Pod: p.Key()})
	}
	return out
}

// BenchmarkBuild is the design's "ready ≤ 2 s after the cache syncs, ≤ 150 MB":
// all indexes from all objects, with the memory that both hold.
func BenchmarkBuild(b *testing.B) {
	before := heap()
	objs := benchObjects()
	withObjects := heap()
	var s *Snapshot
	for b.Loop() {
		s = newSnapshot(objs, epoch)
	}
	b.ReportMetric(float64(withObjects-before)/(1<<20), "objects_MB")
	b.ReportMetric(float64(heap()-withObjects)/(1<<20), "indexes_MB")
	runtime.KeepAlive(objs)
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkChange is what one changed pod costs in that cluster.
func BenchmarkChange(b *testing.B) {
	st := NewStore(newSnapshot(benchObjects(), epoch))
	i := 0
	for b.Loop() {
		i++
		put(st, benchPod(i%benchPods, fmt.Sprint(i)), epoch.Add(time.Duration(i)*time.Millisecond))
	}
}

// BenchmarkHistory is the memory of a full history, each change a snapshot.
func BenchmarkHistory(b *testing.B) {
	for b.Loop() {
		st := NewStore(newSnapshot(benchObjects(), epoch))
		before := heap()
		for i := range historyChanges {
			put(st, benchPod(i%benchPods, fmt.Sprint(i)), epoch.Add(time.Duration(i)*time.Millisecond))
		}
		b.ReportMetric(float64(heap()-before)/(1<<20), "history_MB")
		runtime.KeepAlive(st)
	}
}

func BenchmarkEndpoint(b *testing.B) {
	s := newSnapshot(benchObjects(), epoch)
	for name, ip := range map[string]netip.Addr{
		"pod": benchIP(77), "service": netip.MustParseAddr("10.96.1.1"), "external": netip.MustParseAddr("198.51.100.1"),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s.Endpoint(ip, 80, tracer.ProtoTCP)
			}
		})
	}
}

// BenchmarkDump reads what WriteDump wrote of that cluster.
func BenchmarkDump(b *testing.B) {
	var buf bytes.Buffer
	if err := newSnapshot(benchObjects(), epoch).WriteDump(&buf); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if _, _, err := ReadDump(bytes.NewReader(buf.Bytes()), "bench"); err != nil {
			b.Fatal(err)
		}
	}
}
