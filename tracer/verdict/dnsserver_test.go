package verdict

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// The policy that allows DNS names the DNS pods as they are, and the port that they
// listen on.
func TestAllowDNS(t *testing.T) {
	const usual = "kubernetes.io/metadata.name: kube-system}}\n      podSelector: {matchLabels: {k8s-app: \"kube-dns\"}}\n    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]"
	openshift := func(s *scene) {
		toService(s)
		ofClusterDNS(s)
		s.c.Service.Namespace, s.c.Service.Name, s.c.Service.Selector = "openshift-dns", "dns-default", "dns.operator.openshift.io/daemonset-dns=default"
		s.c.Service.Endpoints[0].Addr, s.c.Service.TargetPort = ap(apiIP, 5353), "dns"
		s.j.Flow.Dst = ap(svcIP, 53)
		s.j.Translated.Dst = s.j.Flow.Dst
	}
	const ofOpenshift = "kubernetes.io/metadata.name: openshift-dns}}\n      podSelector: {matchLabels: {dns.operator.openshift.io/daemonset-dns: \"default\"}}\n    ports: [{protocol: UDP, port: 5353}, {protocol: TCP, port: 5353}]"
	tests := []struct {
		name string
		with []change
		want string
	}{
		{"DNS pods asked by another's address", []change{func(s *scene) { s.j.Flow.Dst = ap(apiIP, 53) }}, usual},
		{"openshift-dns, after translation", []change{openshift, func(s *scene) { translated(apiIP, 5353)(s) }}, ofOpenshift},
		{"openshift-dns, before translation", []change{openshift}, ofOpenshift},
		{"the target port as a number, and no endpoint", []change{openshift, func(s *scene) { s.c.Service.Endpoints, s.c.Service.TargetPort = nil, "1053" }}, "port: 1053}, {protocol: TCP, port: 1053}"},
		{"a Service without a selector", []change{openshift, func(s *scene) { s.c.Service.Selector = "" }}, "openshift-dns}}\n      podSelector: {matchLabels: {}}"},
		{"a selector that is none", []change{openshift, func(s *scene) { s.c.Service.Selector = "a=$(reboot),b=true" }}, "podSelector: {matchLabels: {b: \"true\"}}"},
		{"a pod of the cluster's DNS", []change{toDNSPod}, "name: db}}\n      podSelector: {matchLabels: {}}\n    ports: [{protocol: UDP, port: 53}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := given(tt.with...)
			e := NewCatalogue().Get("pol-dns-egress")
			got := e.remedy(in, &Finding{Code: e.Code, Object: &tracer.Ref{Kind: tracer.KindNetworkPolicy, Namespace: "shop", Name: "quiet"}})
			if !strings.Contains(got[0], tt.want) || !strings.Contains(got[0], "namespace: shop}") {
				t.Errorf("%s", got[0])
			}
		})
	}
}
