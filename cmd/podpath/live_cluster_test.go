package main

import (
	"testing"

	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// TestLiveAPI: faults are named rightly with the cluster's state from informers.
func TestLiveAPI(t *testing.T) {
	for _, fault := range []string{"healthy-service", "policy-ingress", "no-endpoints-nftables", "stale-endpoint", "wrong-target-port"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, lab.Options{Seed: 5})
			sc := breakLab(t, l, fault)
			api := serveAPI(t, clusterDump(t, l))
			tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", sc.From, "--to", sc.To, "--until-verdict")...)
			send(t, l)
			want := exitFault
			if sc.Code == "ok" {
				want = exitHealthy
			}
			if code := tr.wait(); code != want {
				t.Errorf("exit %d, want %d\n%s", code, want, &tr.err)
			}
			compare(t, sc, tr.verdicts())
			named(t, tr.verdicts())
			if api.asked["application/vnd.kubernetes.protobuf"] == 0 {
				t.Errorf("protobuf was not asked for: %v", api.asked)
			}
		})
	}
}

// named: both ends have names.
func named(t *testing.T, vs []render.Verdict) {
	t.Helper()
	for _, v := range vs {
		if v.Flow.Source.Name == "" || v.Flow.Destination.Name == "" {
			t.Errorf("an end has no name: %+v", v.Flow)
		}
	}
}
