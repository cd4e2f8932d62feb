package kube

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// custom is a kind of policy that is a custom resource: most clusters have none
// of them, and some get them later.
type custom struct {
	kind        kind
	group, name string
	resource    string
	versions    []string // that can be read, the best first
}

func (c *custom) at(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: c.group, Version: version, Resource: c.resource}
}

// The groups.
const (
	policyGroup = "policy.networking.k8s.io"
	// calicoGroup is where Calico keeps its policies. Its API server offers them
	// in another group as well, without the tier in front of the name.
	calicoGroup = "crd.projectcalico.org"
	ciliumGroup = "cilium.io"
)

// customs lists them.
func customs() []custom {
	return []custom{
		{kindAdminPolicy, policyGroup, "AdminNetworkPolicy", "adminnetworkpolicies", []string{"v1alpha1"}},
		{kindBaselinePolicy, policyGroup, "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", []string{"v1alpha1"}},
		{kindClusterPolicy, policyGroup, "ClusterNetworkPolicy", "clusternetworkpolicies", []string{"v1beta1", "v1alpha2"}},
		{kindCalicoPolicy, calicoGroup, "NetworkPolicy", "networkpolicies", []string{"v1"}},
		{kindGlobalPolicy, calicoGroup, "GlobalNetworkPolicy", "globalnetworkpolicies", []string{"v1"}},
		{kindCiliumPolicy, ciliumGroup, "CiliumNetworkPolicy", "ciliumnetworkpolicies", []string{"v2"}},
		{kindCiliumClusterwidePolicy, ciliumGroup, "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", []string{"v2"}},
	}
}

// reduceCustom returns nil for what is no policy that podpath knows.
func reduceCustom(raw json.RawMessage, h *customHead) object {
	for _, c := range customs() {
		if c.name != h.Kind || c.group != h.group() {
			continue
		}
		switch c.group {
		case policyGroup:
			return reduceClusterPolicy(c.kind, h)
		case ciliumGroup:
			return reduceCiliumPolicy(c.kind, raw, h)
		}
		return reduceCalicoPolicy(c.kind, h)
	}
	return nil
}
