package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/kube/policy"
)

// world is a small random cluster as API objects.
type world struct {
	namespaces []corev1.Namespace
	pods       []corev1.Pod
	policies   []networkingv1.NetworkPolicy
	addrs      []string // of the pods, and some of nobody
}

var (
	protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	numbers   = []int32{1, 2, 3, 4}
	portNames = []string{"p1", "p2"}
)

// packet is one point of the finite space that the oracle enumerates.
type packet struct {
	peer  string // the other end's address
	proto corev1.Protocol
	port  int32
}

// oracle answers by enumerating: it expands every policy that selects the pod
// into the set of packets it allows and looks whether the packet is in the
// union. It shares no code with the package: it works on the API's types, the
// API's own selector code, and package net.
func (w *world) oracle(pod *corev1.Pod, dst *corev1.Pod, direction networkingv1.PolicyType, want packet) (selected int, allowed bool) {
	union := make(map[packet]bool)
	for i := range w.policies {
		p := &w.policies[i]
		if p.Namespace != pod.Namespace || !selects(&p.Spec.PodSelector, pod.Labels) || !covers(p, direction) {
			continue
		}
		selected++
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range p.Spec.Ingress {
				w.expand(union, p.Namespace, r.From, r.Ports, func(string) *corev1.Pod { return pod })
			}
			continue
		}
		for _, r := range p.Spec.Egress {
			w.expand(union, p.Namespace, r.To, r.Ports, w.podAt)
		}
	}
	return selected, selected == 0 || union[want]
}

func covers(p *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	types := p.Spec.PolicyTypes
	if types == nil {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) != 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	for _, t := range types {
		if t == direction {
			return true
		}
	}
	return false
}

// expand adds every packet that one rule allows. target gives the pod on which
// named ports are looked up, for a peer's address.
func (w *world) expand(
	set map[packet]bool, ns string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort,
	target func(peer string) *corev1.Pod,
) {
	for _, addr := range w.addrs {
		if peers != nil && !w.anyPeer(ns, peers, addr) {
			continue
		}
		for _, proto := range protocols {
			for _, n := range numbers {
				if ports == nil || anyPort(ports, target(addr), proto, n) {
					set[packet{addr, proto, n}] = true
				}
			}
		}
	}
}

func (w *world) anyPeer(ns string, peers []networkingv1.NetworkPolicyPeer, addr string) bool {
	for _, peer := range peers {
		if peer.IPBlock != nil {
			if inBlock(peer.IPBlock, addr) {
				return true
			}
			continue
		}
		pod := w.podAt(addr)
		if pod == nil {
			continue
		}
		nsOK := pod.Namespace == ns
		if peer.NamespaceSelector != nil {
			nsOK = selects(peer.NamespaceSelector, w.nsLabels(pod.Namespace))
		}
		if nsOK && (peer.PodSelector == nil || selects(peer.PodSelector, pod.Labels)) {
			return true
		}
	}
	return false
}

func inBlock(b *networkingv1.IPBlock, addr string) bool {
	ip := net.ParseIP(addr)
	_, block, err := net.ParseCIDR(b.CIDR)
	if err != nil || !block.Contains(ip) {
		return false
	}
	for _, x := range b.Except {
		if _, hole, err := net.ParseCIDR(x); err == nil && hole.Contains(ip) {
			return false
		}
	}
	return true
}

func anyPort(ports []networkingv1.NetworkPolicyPort, target *corev1.Pod, proto corev1.Protocol, n int32) bool {
	for _, p := range ports {
		want := corev1.ProtocolTCP
		if p.Protocol != nil {
			want = *p.Protocol
		}
		if want != proto {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if target == nil {
				continue
			}
			for _, c := range target.Spec.Containers[0].Ports {
				if c.Name == p.Port.StrVal && c.Protocol == proto && c.ContainerPort == n {
					return true
				}
			}
		case p.EndPort != nil:
			if n >= p.Port.IntVal && n <= *p.EndPort {
				return true
			}
		case p.Port.IntVal == n:
			return true
		}
	}
	return false
}

func selects(s *metav1.LabelSelector, l map[string]string) bool {
	sel, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && sel.Matches(labels.Set(l))
}

func (w *world) podAt(addr string) *corev1.Pod {
	for i := range w.pods {
		for _, ip := range w.pods[i].Status.PodIPs {
			if ip.IP == addr {
				return &w.pods[i]
			}
		}
	}
	return nil
}

func (w *world) nsLabels(name string) map[string]string {
	for i := range w.namespaces {
		if w.namespaces[i].Name == name {
			return w.namespaces[i].Labels
		}
	}
	return nil
}

// TestAgainstOracle compares verdicts over random clusters. The seed is fixed:
// a failure can be repeated, and the fuzz target looks further.
func TestAgainstOracle(t *testing.T) {
	denied, allowed := 0, 0
	for seed := range uint64(400) {
		d, a := compare(t, seed)
		denied, allowed = denied+d, allowed+a
	}
	t.Logf("%d isolated decisions denied, %d allowed", denied, allowed)
	if denied < 1000 || allowed < 1000 {
		t.Errorf("the clusters are too uniform: %d denied, %d allowed", denied, allowed)
	}
}

func FuzzAgainstOracle(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(seed * 7919)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { compare(t, seed) })
}

func compare(t *testing.T, seed uint64) (denied, allowed int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(r)
	view := w.snapshot(t)
	for range 40 {
		src, dst := pick(r, w.addrs), pick(r, w.addrs)
		if src == dst {
			continue
		}
		proto, n := pick(r, protocols), pick(r, numbers)
		eg, in := policy.Decide(view, policy.Flow{
			Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Port: uint16(n), Proto: protoNumber(proto),
		})
		srcPod, dstPod := w.podAt(src), w.podAt(dst)
		if (eg != nil) != (srcPod != nil) || (in != nil) != (dstPod != nil) {
			t.Fatalf("seed %d: decisions exist for ends that are no pods, or the other way round", seed)
		}
		what := fmt.Sprintf("seed %d: %s > %s %s %d", seed, src, dst, proto, n)
		if eg != nil && dstPod != srcPod {
			sel, ok := w.oracle(srcPod, dstPod, networkingv1.PolicyTypeEgress, packet{dst, proto, n})
			if eg.Allowed != ok || len(eg.Selected) != sel {
				t.Fatalf("%s egress: got %v of %d policies, want %v of %d", what, eg.Allowed, len(eg.Selected), ok, sel)
			}
			if (eg.Nearest == nil) != eg.Allowed {
				t.Fatalf("%s egress: a denial, and only that, needs a nearest rule", what)
			}
		}
		if in != nil && dstPod != srcPod {
			sel, ok := w.oracle(dstPod, dstPod, networkingv1.PolicyTypeIngress, packet{src, proto, n})
			if in.Allowed != ok || len(in.Selected) != sel {
				t.Fatalf("%s ingress: got %v of %d policies, want %v of %d", what, in.Allowed, len(in.Selected), ok, sel)
			}
			switch {
			case !in.Allowed && in.Nearest.Why == "":
				t.Fatalf("%s ingress: no reason", what)
			case !in.Allowed:
				denied++
			case sel > 0:
				allowed++
			}
		}
	}
	return denied, allowed
}

func protoNumber(p corev1.Protocol) uint8 {
	return map[corev1.Protocol]uint8{corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}[p]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func newWorld(r *rand.Rand) *world {
	w := &world{addrs: []string{"198.51.100.1", "198.51.100.2", "2001:db8::1"}}
	for i := range 3 {
		w.namespaces = append(w.namespaces, corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("ns%d", i), Labels: withName(randomLabels(r), fmt.Sprintf("ns%d", i))},
		})
	}
	for i := range 7 {
		v4, v6 := fmt.Sprintf("10.0.%d.%d", i%2, i+1), fmt.Sprintf("fd00::%d", i+1)
		p := corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
		p.Namespace, p.Name, p.Labels = fmt.Sprintf("ns%d", r.IntN(3)), fmt.Sprintf("pod%d", i), randomLabels(r)
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: v4}, {IP: v6}}}
		c := corev1.Container{Name: "c"}
		for range r.IntN(4) {
			c.Ports = append(c.Ports, corev1.ContainerPort{Name: pick(r, portNames), ContainerPort: pick(r, numbers), Protocol: pick(r, protocols)})
		}
		p.Spec.Containers = []corev1.Container{c}
		w.pods = append(w.pods, p)
		w.addrs = append(w.addrs, v4, v6)
	}
	for i := range r.IntN(7) {
		w.policies = append(w.policies, randomPolicy(r, i))
	}
	return w
}

func withName(l map[string]string, name string) map[string]string {
	l[corev1.LabelMetadataName] = name
	return l
}

func randomLabels(r *rand.Rand) map[string]string {
	out := make(map[string]string)
	for _, k := range []string{"a", "b"} {
		if r.IntN(3) > 0 {
			out[k] = pick(r, []string{"x", "z"})
		}
	}
	return out
}

func randomPolicy(r *rand.Rand, i int) networkingv1.NetworkPolicy {
	p := networkingv1.NetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}}
	p.Namespace, p.Name = fmt.Sprintf("ns%d", r.IntN(3)), fmt.Sprintf("policy%d", i)
	p.Spec.PodSelector = randomSelector(r)
	for range r.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: randomPeers(r), Ports: randomPorts(r)})
	}
	for range r.IntN(3) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: randomPeers(r), Ports: randomPorts(r)})
	}
	p.Spec.PolicyTypes = pick(r, [][]networkingv1.PolicyType{
		nil, {networkingv1.PolicyTypeIngress}, {networkingv1.PolicyTypeEgress}, {networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	})
	return p
}

func randomSelector(r *rand.Rand) metav1.LabelSelector {
	var s metav1.LabelSelector
	if r.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(r, []string{"a", "b"}): pick(r, []string{"x", "z"})}
	}
	if r.IntN(3) == 0 {
		e := metav1.LabelSelectorRequirement{Key: pick(r, []string{"a", "b", "c"}), Operator: pick(r, []metav1.LabelSelectorOperator{
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
		})}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = []string{"x", "w"}[:1+r.IntN(2)]
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func randomPeers(r *rand.Rand) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range r.IntN(3) {
		var p networkingv1.NetworkPolicyPeer
		if r.IntN(3) == 0 {
			p.IPBlock = pick(r, []*networkingv1.IPBlock{
				{CIDR: "0.0.0.0/0", Except: []string{"10.0.1.0/24"}}, {CIDR: "10.0.0.0/16"}, {CIDR: "198.51.100.0/30", Except: []string{"198.51.100.2/32"}},
				{CIDR: "::/0"}, {CIDR: "fd00::/16", Except: []string{"fd00::2/127"}},
			})
			out = append(out, p)
			continue
		}
		which := r.IntN(3)
		if which != 0 {
			s := randomSelector(r)
			p.NamespaceSelector = &s
		}
		if which != 1 {
			s := randomSelector(r)
			p.PodSelector = &s
		}
		out = append(out, p)
	}
	return out
}

func randomPorts(r *rand.Rand) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range r.IntN(3) {
		var p networkingv1.NetworkPolicyPort
		if r.IntN(2) == 0 {
			proto := pick(r, protocols)
			p.Protocol = &proto
		}
		switch r.IntN(4) {
		case 0:
		case 1:
			name := intstr.FromString(pick(r, portNames))
			p.Port = &name
		case 2:
			n := intstr.FromInt32(pick(r, numbers))
			p.Port = &n
		case 3:
			n, end := intstr.FromInt32(pick(r, numbers[:2])), pick(r, numbers[2:])
			p.Port, p.EndPort = &n, &end
		}
		out = append(out, p)
	}
	return out
}

func (w *world) snapshot(t *testing.T) *kube.Snapshot {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	encode := func(o any) {
		if err := enc.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	for i := range w.namespaces {
		encode(&w.namespaces[i])
	}
	for i := range w.pods {
		encode(&w.pods[i])
	}
	for i := range w.policies {
		encode(&w.policies[i])
	}
	s, _, err := kube.ReadDump(&buf, "world")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
