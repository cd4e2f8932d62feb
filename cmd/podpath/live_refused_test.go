package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/apiserver"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// blindTo reports whether a verdict says that it rests on less than all.
func blindTo(text string) func(*render.Verdict) bool {
	return func(v *render.Verdict) bool {
		return slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What+" "+b.Effect, text) })
	}
}

// TestLivePoliciesForbidden: where policies may not be read, a drop is not
// blamed on one, nor on a rule that no policy explains.
func TestLivePoliciesForbidden(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 31})
	sc := breakLab(t, l, "policy-ingress")
	api := serveAPI(t, clusterDump(t, l))
	api.Break(apiserver.Only(forbidden, "networkpolicies"))
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", sc.From, "--to", sc.To)...)
	send(t, l)
	got := tr.verdict("a verdict", func(v *render.Verdict) bool { return v.Code != tracer.CodeOK })
	t.Logf("%s (%s): %s", got.Code, got.Confidence, got.Summary)
	if got.Confidence == tracer.Confirmed || got.Code == sc.Code || strings.Contains(got.Summary, "no NetworkPolicy denies") {
		t.Errorf("%s (%s) without knowing the policies: %s", got.Code, got.Confidence, got.Summary)
	}
	if !blindTo("NetworkPolicy")(&got) {
		t.Errorf("not said what is missing: %+v", got.Blind)
	}
	if n := tr.said("warning: list networkpolicies") + tr.said("warning: watch networkpolicies"); n != 1 {
		t.Errorf("warned %d times:\n%s", n, &tr.err)
	}
	tr.stop()
}

// TestLiveTokenExpires: credentials that end during the trace are told as that,
// once; the trace goes on with what is known, and says so in its verdicts, until
// they are good again.
func TestLiveTokenExpires(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 32})
	sc := breakLab(t, l, "policy-ingress")
	api := serveAPI(t, clusterDump(t, l))
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", sc.From, "--to", sc.To)...)
	sent := send(t, l)
	tr.verdict("a verdict before", func(v *render.Verdict) bool { return v.Code == sc.Code && v.Confidence == tracer.Confirmed })
	api.Break(apiserver.Refuse(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, 0))
	api.Drop()
	tr.await("the warning", func() bool { return tr.said("warning: the API server refuses") == 1 })
	<-sent
	send(t, l)
	got := tr.verdict("a verdict on old data", blindTo("the API server refuses"))
	if got.Code != sc.Code {
		t.Errorf("got %s: %s", got.Code, got.Summary)
	}
	api.Break(nil)
	tr.await("the good news", func() bool { return tr.said("the API server is back") == 1 })
	plainLines(t, strings.Join(slices.Collect(strings.Lines(tr.err.String())), ""))
	tr.stop()
}

// TestLiveWithoutAPI: addresses are traced without any cluster data, which is
// said.
func TestLiveWithoutAPI(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 33})
	sc := breakLab(t, l, "policy-ingress")
	api := newAPI(t, clusterDump(t, l))
	from, to := podOf(t, api, sc.From), serviceAddr(t, api, sc.To)
	api.up(t)
	config := api.kubeconfig(t)
	api.Close()
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", config, "--from", from.Status.PodIP, "--to", to, "--until-verdict")...)
	send(t, l)
	if code := tr.wait(); code == exitHealthy || code == exitUsage {
		t.Errorf("exit %d\n%s", code, &tr.err)
	}
	if tr.said("going on without cluster data") != 1 {
		t.Errorf("not said:\n%s", &tr.err)
	}
	for _, v := range tr.verdicts() {
		if v.Confidence == tracer.Confirmed && v.Component == tracer.ComponentPolicy {
			t.Errorf("a policy is blamed without cluster data: %s", v.Summary)
		}
	}
}
