package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// device adds an interface to the node.
func device(name, kind string, role tracer.DeviceRole) change {
	return func(s *scene) {
		s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, 90+uint32(len(s.Inventory.Devices))), Name: name, Kind: kind, Role: role, Up: true})
	}
}

// "Restart the CNI" names the DaemonSet of the CNI that the node shows.
func TestRestartNamesTheCNI(t *testing.T) {
	tests := []struct {
		name string
		with []change
		want string
	}{
		{"nothing known", nil, "kubectl -n <cni.ns> rollout restart ds/<cni.ds>"},
		{"the bridge plugin of whomever", []change{device("cni0", "bridge", tracer.RoleBridge)}, "kubectl -n <cni.ns> rollout restart ds/<cni.ds>"},
		{"flannel", []change{overlayCNI}, "kubectl -n kube-flannel rollout restart ds/kube-flannel-ds"},
		{"Calico", []change{device("cali12ab", "veth", tracer.RolePodHost)}, "kubectl -n kube-system rollout restart ds/calico-node"},
		{"canal", []change{overlayCNI, device("cali12ab", "veth", tracer.RolePodHost)}, "kubectl -n kube-system rollout restart ds/canal"},
		{"AWS", []change{device("eni12ab", "veth", tracer.RolePodHost)}, "kubectl -n kube-system rollout restart ds/aws-node"},
		{"Cilium", []change{device("cilium_host", "veth", "")}, "kubectl -n kube-system rollout restart ds/cilium"},
		{"two that are no canal", []change{device("cilium_host", "veth", ""), device("eni12ab", "veth", tracer.RolePodHost)}, "ds/<cni.ds>"},
	}
	for _, tt := range tests {
		in := given(append(tt.with, func(s *scene) { s.networks = networks() })...)
		got := NewCatalogue().Get("cni-route-none").remedy(in, &Finding{Code: "cni-route-none"})
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tt.want) }) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A policy to test with is one that can be applied as it stands.
func TestAllowAll(t *testing.T) {
	for code, want := range map[string]string{"pol-ingress-deny": "  policyTypes: [Ingress]\n  ingress: [{}]\nEOF", "pol-egress-deny": "  policyTypes: [Egress]\n  egress: [{}]\nEOF"} {
		got := NewCatalogue().Get(code).remedy(given(), &Finding{Code: code, Object: &tracer.Ref{Kind: tracer.KindNetworkPolicy, Namespace: "db", Name: "deny"}})
		if last := got[len(got)-1]; !strings.HasSuffix(last, want) || !strings.Contains(last, "  namespace: db\n") {
			t.Errorf("%s: %s", code, last)
		}
	}
}
