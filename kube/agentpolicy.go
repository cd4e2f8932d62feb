package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/podpath/podpath/tracer"
)

// calicoGroup is where Calico keeps its policies. Its API server offers them in
// another group as well, without the tier in front of the name.
const calicoGroup = "crd.projectcalico.org"

// AgentPolicy is a policy of a kind that only a policy agent evaluates. Its name
// is all that is known of it: whether what the agent enforces is still there.
type AgentPolicy struct {
	Meta
	Kind string // tracer.KindGlobalPolicy or tracer.KindCalicoPolicy
}

func (p *AgentPolicy) kind() kind {
	if p.Kind == tracer.KindGlobalPolicy {
		return kindGlobalPolicy
	}
	return kindCalicoPolicy
}

func reduceAgentPolicy(kind string, m *metav1.ObjectMeta) *AgentPolicy {
	return &AgentPolicy{Meta: Meta{Namespace: m.Namespace, Name: m.Name, rv: m.ResourceVersion}, Kind: kind}
}

// agentResources are followed by their metadata. Most clusters do not have them.
func agentResources(md metadata.Interface) []resource {
	var out []resource
	for k, name := range map[kind]string{kindGlobalPolicy: "globalnetworkpolicies", kindCalicoPolicy: "networkpolicies"} {
		gvr := schema.GroupVersionResource{Group: calicoGroup, Version: "v1", Resource: name}
		// The kind of Kubernetes has one of these names as well.
		r := follow(k, name+"."+calicoGroup, "", &metav1.PartialObjectMetadata{}, md.Resource(gvr))
		r.optional = true
		out = append(out, r)
	}
	return out
}

// decodeAgentPolicy returns nil for those of other groups.
func decodeAgentPolicy(kind string, raw json.RawMessage) (object, error) {
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", kind, nameIn(raw), err)
	}
	if !strings.HasPrefix(o.APIVersion, calicoGroup+"/") {
		return nil, nil
	}
	return reduceAgentPolicy(kind, &o.ObjectMeta), nil
}

func restoreAgentPolicy(p *AgentPolicy) any {
	name, _, _ := strings.Cut(p.Kind, ".")
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: calicoGroup + "/v1", Kind: name},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
	}
}

// AgentPolicies are the policies of kinds that only a policy agent evaluates,
// and the kinds of them that could be read.
func (s *Snapshot) AgentPolicies() (list []tracer.Ref, read []string) {
	for _, p := range s.agent.all() {
		list = append(list, tracer.Ref{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name})
	}
	slices.SortFunc(list, func(a, b tracer.Ref) int {
		return strings.Compare(a.Kind+" "+a.Namespace+"/"+a.Name, b.Kind+" "+b.Namespace+"/"+b.Name)
	})
	return list, s.Read()
}

// Read names the kinds that only some clusters have and that could be read.
func (s *Snapshot) Read() []string {
	var out []string
	for k, read := range s.read {
		if read {
			out = append(out, kind(k).String())
		}
	}
	return out
}

// markRead notes the kinds that a written dump says were read.
func (s *Snapshot) markRead(names []string) {
	for _, k := range []kind{kindGlobalPolicy, kindCalicoPolicy} {
		s.read[k] = s.read[k] || slices.Contains(names, k.String())
	}
}

// applyAgentPolicy files both kinds together: only one of them has namespaces.
func (b *builder) applyAgentPolicy(o op) {
	b.have(o.kind)
	change(b, b.agent, o, nil, nil)
}
