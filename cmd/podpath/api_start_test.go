package main

import (
	"crypto/tls"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/apiserver"
)

// elsewhere is a cluster whose only pod runs on another node: podpath that got
// to know of it says so, and ends before it needs a kernel.
func elsewhere(t *testing.T) *testAPI {
	t.Helper()
	s := newAPI(t, []byte(`{"apiVersion":"v1","kind":"List","items":[]}`))
	for _, name := range []string{"n1", "n2"} {
		s.put(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	s.put(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.PodSpec{NodeName: "n2"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.7"},
	})
	return s
}

const found = `(?i)web.* n2`

// startsWith runs podpath against a kubeconfig and returns what it says; it must
// end with 2 in time, in one or two lines for a person.
func startsWith(t *testing.T, config []byte, env ...string) string {
	t.Helper()
	p := &program{cmd: podpath(t, "trace", "--kubeconfig", writeKubeconfig(t, config), "--node", "n1", "--from", "shop/pod/web", "--to", "any"), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.Env = append(p.cmd.Env, env...)
	p.start(t)
	if code := p.code(t); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if p.out.String() != "" {
		t.Error("something on standard output")
	}
	plainLines(t, p.err.String())
	return p.err.String()
}

// plainLines: what a person reads is podpath's own; no log lines of libraries.
func plainLines(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if regexp.MustCompile(`^[EIWF]\d{4} |level=|goroutine |Trace\[|\x1b`).MatchString(line) {
			t.Errorf("not for a person: %s", line)
		}
	}
	if n := strings.Count(text, "\n"); n > 8 {
		t.Errorf("%d lines", n)
	}
}

// TestStartFaults: whatever the API server does when podpath starts, it ends in
// a bounded time, with 2 and what to do; what can be borne is.
func TestStartFaults(t *testing.T) {
	notFound := apiserver.Refuse(http.StatusNotFound, metav1.StatusReasonNotFound, 0)
	for _, c := range []struct {
		name  string
		fault apiserver.Fault
		say   []string // patterns
	}{
		{"healthy", nil, []string{found}},
		{"slow", apiserver.Slow(time.Second), []string{found}},
		{"very slow", apiserver.Slow(3500 * time.Millisecond), []string{"still loading from the API server: .*pods", found}},
		{"drop by drop", apiserver.Drip(16, time.Millisecond), []string{found}},
		{"in pages", apiserver.Only(notFound, "servicecidrs", "replicasets"), []string{found}},
		{"silent", apiserver.Silent, []string{"no answer within 5s", "--cluster-dump FILE"}},
		{"resets", apiserver.Reset, []string{"cannot be reached: .*reset", "--cluster-dump FILE"}},
		{"token refused", apiserver.Refuse(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, 0), []string{"does not accept the credentials"}},
		{"pods forbidden", apiserver.Only(forbidden, "pods"), []string{"(list|watch) pods: ", `verbs get, list, watch on pods \(apiGroup ""\)`}},
		{"policies forbidden", apiserver.Only(forbidden, "networkpolicies"), []string{"warning: (list|watch) networkpolicies.networking.k8s.io: .*going on without", found}},
		{"most forbidden", apiserver.Except(forbidden, "pods", "version"), []string{"warning: .*nodes", "warning: .*services", "warning: .*networkpolicies", found}},
		{"no version", apiserver.Only(forbidden, "version"), []string{found}},
		{"not Kubernetes", apiserver.Body("text/html", "<html>\x1b[31mwelcome</html>"), []string{"cannot be reached"}},
		{"once too many", onceEach(apiserver.Refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 1)), []string{found}},
		{"once broken", onceEach(apiserver.Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError, 0)), []string{found}},
		{"cut off once", onceEach(apiserver.Cut(20)), []string{found}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := elsewhere(t)
			s.Break(c.fault)
			s.up(t)
			t.Cleanup(s.Close)
			mustSay(t, startsWith(t, s.Kubeconfig(nil)), c.say)
		})
	}
}

func mustSay(t *testing.T, got string, patterns []string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(got) {
			t.Errorf("does not say %q:\n%s", p, got)
		}
	}
}

var forbidden = apiserver.Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, 0)

// onceEach lets the first list or watch of each resource fail.
func onceEach(f apiserver.Fault) apiserver.Fault {
	seen := make(chan map[string]bool, 1)
	seen <- map[string]bool{}
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		m := <-seen
		first := apiserver.Resource(r) != "version" && !m[r.URL.Path]
		m[r.URL.Path] = true
		seen <- m
		if first {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// TestNeverLoaded: lists that never end are given up, with what is missing.
func TestNeverLoaded(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]apiserver.Fault{
		"garbage":  apiserver.Only(apiserver.Body("application/json", `{"kind":"PodList","items":[{"spec":7`), "pods"),
		"too many": apiserver.Only(apiserver.Refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 600), "pods"),
		"silent":   apiserver.Only(apiserver.Silent, "pods"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := elsewhere(t)
			s.Break(fault)
			s.up(t)
			t.Cleanup(s.Close)
			p := launch(t, "trace", "--request-timeout", "4s", "--kubeconfig", s.kubeconfig(t), "--from", "shop/pod/web", "--to", "any")
			if code := p.code(t); code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			plainLines(t, p.err.String())
			mustSay(t, p.err.String(), []string{`did not give pods within 4s`, "--cluster-dump FILE"})
		})
	}
}

// TestInterruptedLoad: Ctrl-C ends a load that hangs, at once.
func TestInterruptedLoad(t *testing.T) {
	for name, fault := range map[string]apiserver.Fault{
		"first contact": apiserver.Silent, "lists": apiserver.Only(apiserver.Silent, "pods"),
		"told to wait": apiserver.Only(apiserver.Refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 600), "pods"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := elsewhere(t)
			s.Break(fault)
			s.up(t)
			t.Cleanup(s.Close)
			p := launch(t, "trace", "--kubeconfig", s.kubeconfig(t), "--from", "shop/pod/web", "--to", "any")
			what := "version"
			if name != "first contact" {
				what = "pods"
			}
			eventually(t, "the question", func() bool {
				return s.Asked("get", what)+s.Asked("list", what)+s.Asked("watch", what) > 0
			})
			asked := time.Now()
			interrupt(t, p)
			if code := p.code(t); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(asked); took > 4*time.Second { // of a load that has 5 s and 30 s
				t.Errorf("took %s", took)
			}
			if strings.Contains(p.err.String(), "podpath: ") {
				t.Errorf("an interrupt is no error: %s", &p.err)
			}
		})
	}
}

// TestCertificates: each way in which TLS fails has its own advice.
func TestCertificates(t *testing.T) {
	good, ca, err := apiserver.Certificate(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	_, otherCA, err := apiserver.Certificate(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	old, oldCA, err := apiserver.Certificate(time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		cert   *tls.Certificate
		ca     []byte
		change func(config string) string
		say    string
	}{
		{"right", &good, ca, nil, found},
		{"another authority", &good, otherCA, nil, "another authority than the kubeconfig trusts"},
		{"expired", &old, oldCA, nil, "not valid now: renew it, or set this node's clock"},
		{"another name", &good, ca, func(s string) string { return strings.Replace(s, "127.0.0.1", "127.0.0.2", 1) }, "certificate is for another name|cannot be reached"},
		{"no TLS", nil, nil, func(s string) string { return strings.Replace(s, "http://", "https://", 1) }, "does not speak TLS there"},
		{"only TLS", &good, nil, func(s string) string { return strings.Replace(s, "https://", "http://", 1) }, "podpath: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := elsewhere(t)
			if c.cert != nil {
				s.TLS = &tls.Config{Certificates: []tls.Certificate{*c.cert}}
			}
			s.up(t)
			t.Cleanup(s.Close)
			config := string(s.Kubeconfig(c.ca))
			if c.change != nil {
				config = c.change(config)
			}
			mustSay(t, startsWith(t, []byte(config)), []string{c.say})
		})
	}
}

// TestKubeconfigs: what is wrong with the way to the server is said.
func TestKubeconfigs(t *testing.T) {
	to := func(server, user string) string {
		return `{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: c, cluster: {server: "` + server + `"}}], users: [{name: u, user: ` + user + `}], contexts: [{name: x, context: {cluster: c, user: u}}]}`
	}
	plugin := func(command string) string {
		return `{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: "` + command + `"}}`
	}
	for _, c := range []struct {
		name, config string
		env          []string
		say          []string
	}{
		{"no such name", to("https://api.invalid:6443", "{}"), nil, []string{"api.invalid", "cannot be resolved here|cannot be reached", "--cluster-dump FILE"}},
		{"nobody listens", to("https://127.0.0.1:1", "{}"), nil, []string{"refused", "--cluster-dump FILE"}},
		{"not YAML", "{apiVersion: v1, kind: [", nil, []string{"no cluster data: ", "give --kubeconfig"}},
		{"empty", "", nil, []string{"no cluster data: no kubeconfig names a cluster", "give --kubeconfig"}},
		{"wrong context", strings.Replace(to("https://127.0.0.1:1", "{}"), "current-context: x", "current-context: other", 1), nil, []string{"context was not found.*: other"}},
		{"no plugin", to("https://127.0.0.1:1", plugin("/nowhere/get-token")), nil, []string{"/nowhere/get-token", "exec plugin gives no credentials"}},
		{"plugin fails", to("https://127.0.0.1:1", plugin("false")), nil, []string{"exec plugin gives no credentials"}},
		{"proxy away", to("https://192.0.2.1:6443", "{}"), []string{"HTTPS_PROXY=http://127.0.0.1:1"}, []string{"the way leads through a proxy", "NO_PROXY"}},
		{"proxy is none", to("https://192.0.2.1:6443", "{}"), []string{"HTTPS_PROXY=:not a proxy:"}, []string{"podpath: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mustSay(t, startsWith(t, []byte(c.config), c.env...), c.say)
		})
	}
}
