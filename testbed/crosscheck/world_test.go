package crosscheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/kube"
)

// world is a small random cluster.
type world struct {
	r          *rand.Rand
	namespaces map[string]map[string]string
	pods       []*corev1.Pod
	policies   []*networkingv1.NetworkPolicy
	wide       []*widePolicy
	addrs      []string // of pods, and some of nobody
}

// widePolicy is a cluster-wide policy before it is put into one of the kinds.
// Peers are those of a NetworkPolicy, with both selectors or a block.
type widePolicy struct {
	kind     string // anp, banp or cnp
	name     string
	baseline bool
	priority int32
	subject  networkingv1.NetworkPolicyPeer
	ingress  []wideRule
	egress   []wideRule
}

type wideRule struct {
	action string // Allow, Deny, Pass
	peers  []networkingv1.NetworkPolicyPeer
	ports  []networkingv1.NetworkPolicyPort
	named  []string
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func numbers() []int32 { return []int32{1, 2, 3, 4} }

func protocols() []corev1.Protocol {
	return []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
}

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 2)), namespaces: map[string]map[string]string{}, addrs: []string{"198.51.100.1", "198.51.100.2", "2001:db8::1"}}
	for i := range 3 {
		name := fmt.Sprintf("ns%d", i)
		l := w.labels()
		l[corev1.LabelMetadataName] = name
		w.namespaces[name] = l
	}
	for i := range 7 {
		w.addPod(i)
	}
	for i := range w.r.IntN(5) {
		w.policies = append(w.policies, w.networkPolicy(i))
	}
	priorities := w.r.Perm(20)
	for i := range w.r.IntN(5) {
		w.wide = append(w.wide, w.widePolicy(i, int32(priorities[i])))
	}
	return w
}

// addPod: a pod's ports differ in number or protocol, because cyclonus is asked
// by the one name that a port has.
func (w *world) addPod(i int) {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	p.Namespace, p.Name, p.Labels = fmt.Sprintf("ns%d", w.r.IntN(3)), fmt.Sprintf("pod%d", i), w.labels()
	v4, v6 := fmt.Sprintf("10.0.%d.%d", i%2, i+1), fmt.Sprintf("fd00::%d", i+1)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: v4}, {IP: v6}}}
	c := corev1.Container{Name: "c"}
	taken := map[string]bool{}
	for range w.r.IntN(4) {
		port := corev1.ContainerPort{Name: pick(w.r, []string{"p1", "p2"}), ContainerPort: pick(w.r, numbers()), Protocol: pick(w.r, protocols())}
		if at := fmt.Sprint(port.ContainerPort, port.Protocol); !taken[at] {
			taken[at] = true
			c.Ports = append(c.Ports, port)
		}
	}
	p.Spec.Containers = []corev1.Container{c}
	w.pods = append(w.pods, p)
	w.addrs = append(w.addrs, v4, v6)
}

func (w *world) labels() map[string]string {
	out := map[string]string{}
	for _, k := range []string{"a", "b"} {
		if w.r.IntN(3) > 0 {
			out[k] = pick(w.r, []string{"x", "z"})
		}
	}
	return out
}

func (w *world) selector() metav1.LabelSelector {
	var s metav1.LabelSelector
	if w.r.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(w.r, []string{"a", "b"}): pick(w.r, []string{"x", "z"})}
	}
	if w.r.IntN(4) == 0 {
		e := metav1.LabelSelectorRequirement{Key: pick(w.r, []string{"a", "b", "c"}), Operator: pick(w.r, []metav1.LabelSelectorOperator{
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
		})}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = []string{"x", "w"}[:1+w.r.IntN(2)]
		}
		s.MatchExpressions = []metav1.LabelSelectorRequirement{e}
	}
	return s
}

func (w *world) networkPolicy(i int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}}
	p.Namespace, p.Name, p.Spec.PodSelector = fmt.Sprintf("ns%d", w.r.IntN(3)), fmt.Sprintf("np%d", i), w.selector()
	for range w.r.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: w.peers(w.r.IntN(3), true), Ports: w.ports(w.r.IntN(3))})
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: w.peers(w.r.IntN(3), true), Ports: w.ports(w.r.IntN(3))})
	}
	p.Spec.PolicyTypes = pick(w.r, [][]networkingv1.PolicyType{{"Ingress"}, {"Egress"}, {"Ingress", "Egress"}})
	return p
}

func (w *world) peers(n int, blocks bool) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range n {
		if blocks && w.r.IntN(3) == 0 {
			out = append(out, networkingv1.NetworkPolicyPeer{IPBlock: pick(w.r, []*networkingv1.IPBlock{
				{CIDR: "0.0.0.0/0", Except: []string{"10.0.1.0/24"}}, {CIDR: "10.0.0.0/16"}, {CIDR: "198.51.100.0/30", Except: []string{"198.51.100.2/32"}},
				{CIDR: "::/0"}, {CIDR: "fd00::/16", Except: []string{"fd00::2/127"}},
			})})
			continue
		}
		var p networkingv1.NetworkPolicyPeer
		ns, pod := w.selector(), w.selector()
		switch w.r.IntN(3) {
		case 0:
			p.NamespaceSelector = &ns
		case 1:
			p.PodSelector = &pod
		default:
			p.NamespaceSelector, p.PodSelector = &ns, &pod
		}
		out = append(out, p)
	}
	return out
}

func (w *world) ports(n int) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range n {
		var p networkingv1.NetworkPolicyPort
		proto := pick(w.r, protocols())
		p.Protocol = &proto
		switch w.r.IntN(4) {
		case 0:
		case 1:
			name := intstr.FromString(pick(w.r, []string{"p1", "p2"}))
			p.Port = &name
		case 2:
			number := intstr.FromInt32(pick(w.r, numbers()))
			p.Port = &number
		default:
			from, to := intstr.FromInt32(pick(w.r, numbers()[:2])), pick(w.r, numbers()[2:])
			p.Port, p.EndPort = &from, &to
		}
		out = append(out, p)
	}
	return out
}

func (w *world) widePolicy(i int, priority int32) *widePolicy {
	p := &widePolicy{kind: pick(w.r, []string{"anp", "cnp", "cnp", "banp"}), name: fmt.Sprintf("wide%d", i), priority: priority}
	p.baseline = p.kind == "banp" || p.kind == "cnp" && w.r.IntN(2) == 0
	for _, other := range w.wide {
		if p.kind == "banp" && other.kind == "banp" {
			p.kind = "cnp" // there is one of those
		}
	}
	p.subject = w.widePeer(false)
	for range w.r.IntN(4) {
		p.ingress = append(p.ingress, w.wideRule(p.kind, false))
		p.egress = append(p.egress, w.wideRule(p.kind, true))
	}
	return p
}

func (w *world) wideRule(kind string, networks bool) wideRule {
	out := wideRule{action: pick(w.r, []string{"Allow", "Deny", "Pass"})}
	if kind == "banp" {
		out.action = pick(w.r, []string{"Allow", "Deny"})
	}
	blocks := false
	for range 1 + w.r.IntN(2) {
		p := w.widePeer(networks)
		blocks = blocks || p.IPBlock != nil
		out.peers = append(out.peers, p)
	}
	for _, p := range w.ports(w.r.IntN(3)) {
		switch {
		case p.Port != nil && p.Port.Type == intstr.String:
			if !blocks { // the API refuses names for networks
				out.named = append(out.named, p.Port.StrVal)
			}
		case kind == "cnp" || p.Port != nil:
			out.ports = append(out.ports, p)
		}
	}
	return out
}

// widePeer has both selectors, for that is how cluster-wide policies select.
func (w *world) widePeer(networks bool) networkingv1.NetworkPolicyPeer {
	if networks && w.r.IntN(3) == 0 {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: pick(w.r, []string{"0.0.0.0/0", "10.0.0.0/24", "198.51.100.2/32", "::/0", "fd00::/16"})}}
	}
	ns, pod := w.selector(), metav1.LabelSelector{}
	if w.r.IntN(2) == 0 {
		pod = w.selector()
	}
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &ns, PodSelector: &pod}
}

func (w *world) podAt(addr string) *corev1.Pod {
	for _, p := range w.pods {
		for _, ip := range p.Status.PodIPs {
			if ip.IP == addr {
				return p
			}
		}
	}
	return nil
}

// snapshot hands the cluster to podpath as a dump.
func (w *world) snapshot(t *testing.T) *kube.Snapshot {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	put := func(o any) {
		if err := enc.Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	for name, l := range w.namespaces {
		put(&corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l}})
	}
	for _, p := range w.pods {
		put(p)
	}
	for _, p := range w.policies {
		put(p)
	}
	for _, p := range w.wide {
		put(p.object())
	}
	s, _, err := kube.ReadDump(&buf, "world")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
