package kube

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/redact"
)

// pseudonyms is a recording's redaction, from outside.
type pseudonyms struct {
	t *testing.T
	r *redact.Redactor
}

func newPseudonyms(t *testing.T) *pseudonyms {
	t.Helper()
	r, err := redact.New()
	if err != nil {
		t.Fatal(err)
	}
	return &pseudonyms{t, r}
}

// line is a record that has passed the redaction.
func (p *pseudonyms) line(in, out any) {
	p.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		p.t.Fatal(err)
	}
	if raw, err = p.r.Line(raw); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		p.t.Fatal(err)
	}
}

// name is what a name, an address or a range has become.
func (p *pseudonyms) name(s string) string {
	var out struct{ Node string }
	p.line(map[string]string{"node": s}, &out)
	return out.Node
}

// said is what a message has become.
func (p *pseudonyms) said(s string) string {
	var out struct{ Cluster struct{ Message string } }
	p.line(map[string]any{"cluster": map[string]string{"message": s}}, &out)
	return out.Cluster.Message
}

// reason is what a reason with its message has become.
func (p *pseudonyms) reason(s string) string {
	reason, message, _ := strings.Cut(s, ": ")
	return reasonText(reason, p.said(message))
}

// snapshot is the cluster as a redacted recording has it.
func (p *pseudonyms) snapshot(s *Snapshot) *Snapshot {
	p.t.Helper()
	var out struct{ Cluster json.RawMessage }
	p.line(map[string]any{"kind": "cluster", "cluster": json.RawMessage(dumpText(p.t, s))}, &out)
	again, report, err := ReadDump(strings.NewReader(string(out.Cluster)), "redacted")
	if err != nil {
		p.t.Fatalf("what was redacted cannot be read: %v\n%s", err, out.Cluster)
	}
	if len(report.Ignored) > 0 {
		p.t.Errorf("ignored: %v", report.Ignored)
	}
	return again
}

func (p *pseudonyms) network(n tracer.PodNetwork) *tracer.PodNetwork {
	n.Failures = append([]tracer.StartAttempt{}, n.Failures...)
	for i := range n.Failures {
		n.Failures[i].Text = shortened(p.said(n.Failures[i].Text))
	}
	if n.Waiting != "" {
		n.Waiting = p.reason(n.Waiting)
	}
	node := *n.Node
	n.Node = &node
	node.Name, node.PodCIDRs = p.name(node.Name), append([]netip.Prefix{}, node.PodCIDRs...)
	for i, c := range node.PodCIDRs {
		node.PodCIDRs[i] = netip.MustParsePrefix(p.name(c.String()))
	}
	if node.Text != "" {
		node.Text = p.reason(node.Text)
	}
	if node.UnavailableText != "" {
		node.UnavailableText = p.reason(node.UnavailableText)
	}
	n.Agents = append([]tracer.Agent{}, n.Agents...)
	for i := range n.Agents {
		a := &n.Agents[i]
		a.Namespace, a.Name, a.Pod = p.name(a.Namespace), p.name(a.Name), p.name(a.Pod)
		if a.Waiting != "" {
			a.Waiting = p.reason(a.Waiting)
		}
	}
	return &n
}

// A redacted recording's cluster is read again, and says of a pod's network all that
// the cluster said, about pseudonyms.
func TestRedactedPodNetwork(t *testing.T) {
	p, s := newPseudonyms(t), noNetworkDump(t)
	again := p.snapshot(s)
	if a, b := len(s.objects()), len(again.objects()); a != b {
		t.Errorf("%d objects became %d", a, b)
	}
	web, _ := s.Pod("shop", "web-1")
	other, ok := again.Pod(p.name("shop"), p.name("web-1"))
	if !ok {
		t.Fatal("the pod is lost")
	}
	equal := cmp.Options{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		// The order of the agents is that of their names.
		cmp.Transformer("byName", func(list []tracer.Agent) map[string]tracer.Agent {
			out := map[string]tracer.Agent{}
			for _, a := range list {
				out[a.Namespace+"/"+a.Name] = a
			}
			return out
		}),
	}
	facts := s.PodFacts(web)
	if d := cmp.Diff(p.network(*facts.Network), again.PodFacts(other).Network, equal); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	dns, ok := again.Service("kube-system", "kube-dns")
	if !ok {
		t.Fatal("kube-dns is lost")
	}
	list := again.Exits(dns)
	if len(list) != 1 || list[0].Name != p.name("coredns-a") || list[0].Says != tracer.FailureDNSLoop || list[0].Restarts != 3 || !list[0].At.Equal(clock("10:00:30")) {
		t.Errorf("%+v", list)
	}
}

// Once redacted, a cluster is the same when it is written and read again: no field
// has become one that cannot be read.
func TestRedactedTwice(t *testing.T) {
	for name, s := range map[string]*Snapshot{"no-network": noNetworkDump(t), "shop": shop(t)} {
		again := newPseudonyms(t).snapshot(s)
		if d := diffObjects(again.objects(), rewritten(t, again).objects()); d != "" {
			t.Errorf("%s\n%s", name, d)
		}
	}
}

// What a pod, a node and a plugin may have in fields of which the API, or a CNI, fixes
// the values is kept as it is.
func TestRedactedWords(t *testing.T) {
	p := newPseudonyms(t)
	kept := func(path, field, value string) {
		t.Helper()
		var out struct{ Cluster map[string]map[string]string }
		p.line(map[string]any{"cluster": map[string]any{path: map[string]string{field: value}}}, &out)
		if got := out.Cluster[path][field]; got != value {
			t.Errorf("%s %s %q becomes %v", path, field, value, out.Cluster)
		}
	}
	for _, r := range slices.Concat(startReasons(), progressReasons(), []string{againReason}) {
		kept("event", "reason", r)
	}
	for _, says := range []tracer.StartFailure{tracer.FailureOther, tracer.FailureNoAddress, tracer.FailureNoAgent, tracer.FailureNotConfigured, tracer.FailureNoAPI, tracer.FailureVolume, tracer.FailureDNSLoop} {
		kept("annotations", saysNote, string(says))
	}
	for _, f := range failureTexts() {
		if f.plugin != "" {
			kept("annotations", pluginNote, f.plugin)
		}
	}
	for _, way := range []string{"vxlan", "host-gw", "wireguard", "udp", "ipip", "ipsec", "extension", "alloc"} {
		kept("annotations", backendType, way)
	}
	for _, policy := range []string{"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"} {
		kept("spec", "dnsPolicy", policy)
	}
	for _, reason := range []string{"ContainerCreating", "PodInitializing", "CrashLoopBackOff", "ImagePullBackOff", "Unschedulable", "KubeletNotReady", "NodeStatusUnknown", "NoRouteCreated"} {
		kept("waiting", "reason", reason)
	}
}

// By these names and keys objects are told, or selected, in whichever cluster.
func TestRedactedKeys(t *testing.T) {
	p := newPseudonyms(t)
	for _, name := range []string{
		"kube-system", "kube-dns", "openshift-dns", "k8s-app", "dns-tcp", templateHashLabel,
		"topology.kubernetes.io/zone", "kubernetes.io/metadata.name", "kubernetes.io/service-name", "kubernetes.io/hostname",
		"projectcalico.org/namespace", "projectcalico.org/orchestrator", "projectcalico.org/serviceaccount", "projectcalico.org/name", "pcns.app", "pcsa.app",
		"io.kubernetes.pod.namespace", "io.cilium.k8s.policy.serviceaccount", "io.cilium.k8s.policy.cluster", "io.cilium.k8s.namespace.labels.app", "k8s:app", "any:app",
	} {
		if got := p.name(name); got != name {
			t.Errorf("%s becomes %s", name, got)
		}
	}
	const dns = `{"kind":"List","items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"dns-default","namespace":"openshift-dns"},"spec":{"clusterIP":"172.30.0.10","ports":[{"name":"dns-tcp","port":53}]}}]}`
	s, _, err := ReadDump(strings.NewReader(dns), "openshift")
	if err != nil {
		t.Fatal(err)
	}
	for svc := range p.snapshot(s).Services() {
		if !svc.IsDNS() {
			t.Errorf("%s is no DNS any more", svc.Key())
		}
	}
}
