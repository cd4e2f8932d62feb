package verdict

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// down is a DaemonSet's pod on a node that has ended again and again, and is not
// ready since so long before the flow began.
func down(name, node string, since time.Duration, with ...func(*tracer.Agent)) change {
	return func(s *scene) {
		a := tracer.Agent{
			Namespace: "kube-system", Name: name, Pod: name + "-" + node, Phase: "Running", Waiting: "CrashLoopBackOff", Restarts: 5,
			Since: start.Add(-since), Created: start.Add(-48 * time.Hour),
		}
		for _, f := range with {
			f(&a)
		}
		if s.c.AgentsDown == nil {
			s.c.AgentsDown = map[string][]tracer.Agent{}
		}
		s.c.AgentsDown[node] = append(s.c.AgentsDown[node], a)
	}
}

// calicoHere: the node has Calico's tunnel.
func calicoHere(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, vxlan), Name: "vxlan.calico", Kind: "vxlan", Role: tracer.RoleTunnel, Up: true})
}

func TestAgentDownBeside(t *testing.T) {
	e := NewEngine()
	noEntry := dropOf("NO_TX_TARGET", "vxlan_xmit", tracer.StageTunnel, "", at3(on(hostNS, vxlan)))
	hostRoute := []change{routed, dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, ""), routeIs("forward", "blackhole", "10.1.0.0/26")}
	noDevice := []change{noNeighbour(), func(s *scene) {
		s.j.DstDevice, s.n.DstDevice, s.n.DstPeer = tracer.DeviceKey{}, nil, nil
	}}
	farRoute := []change{toFar, defaultRoute, left(webIP)}
	overlaid := []change{toFar, overlayCNI, noEntry}
	stale := []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny)}
	running := func(a *tracer.Agent) { a.Waiting, a.Restarts = "", 0 }
	undated := func(a *tracer.Agent) { a.Since = time.Time{} }
	old := func(s *scene) { s.c.Stale = 5e9 }
	for _, tt := range []struct {
		name, code string
		with       [][]change
		said       []string // pods that are said to be down
	}{
		// Where it does.
		{"no entry of flannel's", "cni-overlay-fdb-missing", [][]change{overlaid, {down("kube-flannel-ds", "n1", time.Hour)}}, []string{"kube-flannel-ds-n1"}},
		{"no neighbour of flannel's", "cni-overlay-neigh-missing", [][]change{{toFar, overlayCNI, noNeighbour(at3(on(hostNS, vxlan)))}, {down("canal", "n1", time.Minute)}}, []string{"canal-n1"}},
		{"no route of Calico's to a pod", "cni-host-route-missing", [][]change{hostRoute, {calicoHere, down("calico-node", "n1", time.Hour)}}, []string{"calico-node-n1"}},
		{"no route of flannel's to a node", "cni-route-missing", [][]change{farRoute, {overlayCNI, down("kube-flannel-ds", "n1", time.Hour)}}, []string{"kube-flannel-ds-n1"}},
		{"no route of Calico's to a node, where its agent is down", "cni-route-missing", [][]change{farRoute, {calicoHere, down("calico-node", "n2", time.Hour)}}, []string{"calico-node-n2"}},
		{"no route of Calico's to a node, and both agents are down", "cni-route-missing", [][]change{farRoute, {calicoHere, down("calico-node", "n1", time.Hour), down("calico-node", "n2", time.Hour)}}, []string{"calico-node-n1", "calico-node-n2"}},
		{"a rule of Calico's for a policy that is gone", "pol-agent-stale", [][]change{stale, {down("calico-node", "n1", time.Hour)}}, []string{"calico-node-n1"}},
		{"a program of Cilium's", "pol-agent-stale", [][]change{{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), down("cilium", "n1", time.Hour)}}, []string{"cilium-n1"}},
		// Where it does not.
		{"programs of two", "pol-agent-stale", [][]change{{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), program("calico", "tc egress", on(hostNS, vethAPI)), down("calico-node", "n1", time.Hour)}}, nil},
		{"all is ready", "cni-overlay-fdb-missing", [][]change{overlaid}, nil},
		{"the other node's flannel", "cni-overlay-fdb-missing", [][]change{overlaid, {down("kube-flannel-ds", "n2", time.Hour)}}, nil},
		{"a DaemonSet of something else", "cni-overlay-fdb-missing", [][]change{overlaid, {down("node-exporter", "n1", time.Hour)}}, nil},
		{"another CNI's agent", "cni-overlay-fdb-missing", [][]change{overlaid, {down("calico-node", "n1", time.Hour)}}, nil},
		{"it ended after the flow began", "cni-overlay-fdb-missing", [][]change{overlaid, {down("kube-flannel-ds", "n1", -time.Second)}}, nil},
		{"it ended a moment ago", "cni-overlay-fdb-missing", [][]change{overlaid, {down("kube-flannel-ds", "n1", 5*time.Second)}}, nil},
		{"since when is not known", "cni-overlay-fdb-missing", [][]change{overlaid, {down("kube-flannel-ds", "n1", time.Hour, undated)}}, nil},
		{"it runs, and is not ready of something", "cni-host-route-missing", [][]change{hostRoute, {calicoHere, down("calico-node", "n1", time.Hour, running)}}, nil},
		{"the cluster's data is old", "cni-overlay-fdb-missing", [][]change{overlaid, {down("kube-flannel-ds", "n1", time.Hour), old}}, nil},
		{"no device of the pod's, which the plugin makes", "cni-host-route-missing", [][]change{noDevice, {calicoHere, down("calico-node", "n1", time.Hour)}}, nil},
		{"a rule of Calico's, and another agent", "pol-agent-stale", [][]change{stale, {down("kube-router", "n1", time.Hour)}}, nil},
		{"a rule of Calico's, and its agent elsewhere", "pol-agent-stale", [][]change{stale, {down("calico-node", "n2", time.Hour)}}, nil},
		{"a fault of something else", "cni-route-blackhole", [][]change{{toFar, overlayCNI, dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, ""), routeIs("forward", "blackhole", "10.2.0.0/16"), down("kube-flannel-ds", "n1", time.Hour)}}, nil},
		{"all is well", "ok", [][]change{{reached, outcomeIs(tracer.OutcomeDelivered), calicoHere, down("calico-node", "n1", time.Hour)}}, nil},
	} {
		with := slices.Concat(tt.with...)
		v := e.Decide(given(with...))
		if v.Code != tt.code {
			t.Errorf("%s: %s: %s", tt.name, v.Code, v.Summary)
			continue
		}
		var told, todo []string
		for _, x := range v.Evidence {
			if _, pod, ok := strings.Cut(x.What, "is not ready ("); ok && strings.Contains(x.What, "since 20") {
				pod, _, _ = strings.Cut(pod, ":")
				told = append(told, pod)
			}
		}
		for _, r := range v.Remedy {
			if _, pod, ok := strings.Cut(r, "restart it: kubectl -n kube-system delete pod "); ok {
				todo = append(todo, pod)
			}
		}
		if !slices.Equal(told, tt.said) || !slices.Equal(todo, tt.said) {
			t.Errorf("%s: told of %v, to restart %v: %+v\n%q", tt.name, told, todo, v.Evidence, v.Remedy)
		}
		// The fault stays what it is without it.
		if w := e.Decide(given(append(with, func(s *scene) { s.c.AgentsDown = nil })...)); w.Code != v.Code || w.Confidence != v.Confidence || w.Summary != v.Summary {
			t.Errorf("%s: without: %s %s", tt.name, w.Confidence, w.Code)
		}
	}
}
