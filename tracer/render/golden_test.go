package render

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/podpath/podpath/tracer"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing them")

// views are the ways in which every object is shown.
func views() []Options {
	return []Options{
		{Format: "text"}, {Format: "text", Width: 80}, {Format: "text", Width: 40}, {Format: "text", Width: 100, Colour: true},
		{Format: "wide"}, {Format: "wide", Width: 80}, {Format: "json"}, {Format: "yaml"},
	}
}

func objects() map[string][]any {
	verdict := func(v *tracer.Verdict) any { return NewVerdict(v, inventory()) }
	h := healthyVerdict()
	return map[string][]any{
		"policy":      {verdict(policyVerdict())},
		"icmp-error":  {verdict(errorVerdict())},
		"healthy":     {verdict(h)},
		"tunnel":      {verdict(tunnelVerdict())},
		"mtu":         {verdict(mtuVerdict())},
		"unseen":      {verdict(unseenVerdict())},
		"again":       reconnects(),
		"flow":        {NewFlow(h.Journey, h.Cluster, inventory(), "n1", h.Outcome)},
		"drops":       {drop(), bareDrop(), dropSummary()},
		"summary":     {summary()},
		"explanation": {explained(), &Explanation{TypeMeta: meta("Explanation"), Code: "svc-kubeproxy-no-rules", Component: tracer.ComponentKubeProxy, Title: "kube-proxy has written no rules for this Service"}},
		"fault":       {NewFault(Fault{Name: "policy-ingress", Title: "ingress policy", Description: "A policy does not let the client in.", Component: "policy", Code: "pol-ingress-deny"})},
		"hostile":     {verdict(hostileVerdict()), hostileDrop(), hostileSummary()},
	}
}

func explained() *Explanation {
	return NewExplanation(Explanation{
		Code: "pol-wrong-port", Component: tracer.ComponentPolicy, Title: "a NetworkPolicy allows the Service's port, not the pod's",
		Meaning:  "Policies judge the packet after translation: the rule lists the Service port, the packet carries the targetPort.",
		Evidence: "The drop, and a rule that would allow the flow on the port before translation.", Shown: "lab", Demos: []string{"policy-wrong-port"},
		LookAlikes: []string{"svc-wrong-targetport: an RST, no drop"}, Remedy: []string{"allow port <target.port> instead"},
	})
}

func show(t *testing.T, o Options, objects []any) string {
	t.Helper()
	var b bytes.Buffer
	p, err := New(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range objects {
		if err := p.Print(x); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, x := range objects() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, o := range views() {
				fmt.Fprintf(&b, "-- %s, %d columns, colour %t --\n%s", o.Format, o.Width, o.Colour, show(t, o, x))
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("differs from %s; if it is better, run go test -update (-golden +now)\n%s", file, diff)
			}
		})
	}
}

// No line is wider than the terminal, except for a word that is, and for
// commands that are made to be pasted.
func TestNothingIsWiderThanTheTerminal(t *testing.T) {
	for name, x := range objects() {
		for _, format := range []string{"text", "wide"} {
			for width := 20; width <= 220; width++ {
				for line := range strings.Lines(show(t, Options{Format: format, Width: width}, x)) {
					line = strings.TrimRight(line, "\n")
					if visible(line) > width && len(strings.Fields(strings.TrimLeft(line, " -✓✗·↩?1234567890."))) > 1 && !strings.HasPrefix(line, "kubectl") {
						t.Fatalf("%s, %s: a line of %d at %d columns: %q", name, format, visible(line), width, line)
					}
				}
			}
		}
	}
}

// Whatever a pod, a rule or a packet is called, it moves no cursor and adds no
// line. JSON has the names as they are.
func TestHostileStringsStayText(t *testing.T) {
	x := objects()["hostile"]
	honest := show(t, Options{Format: "wide"}, []any{NewVerdict(policyVerdict(), inventory())})
	for _, o := range views() {
		out := show(t, o, x)
		if o.Format == "json" || o.Format == "yaml" {
			for _, r := range out {
				if unicode.IsControl(r) && r != '\n' {
					t.Errorf("%s holds the raw %U", o.Format, r)
				}
			}
			continue
		}
		for _, seq := range []string{"\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[1;31m", "\x1b[0m"} {
			if o.Colour {
				out = strings.ReplaceAll(out, seq, "")
			}
		}
		for _, r := range out {
			if unsafeRune(r) && r != '\n' {
				t.Fatalf("%+v: raw %U in %q", o, r, out)
			}
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(strings.TrimSpace(line), "FAKE LINE") && o.Width == 0 {
				t.Errorf("%+v: a name began a line: %q", o, line)
			}
		}
	}
	if strings.Contains(honest, `\x`) {
		t.Errorf("harmless text was escaped: %s", honest)
	}
	var v Verdict
	decode(t, show(t, Options{Format: "json"}, x[:1]), &v)
	if v.Object.Name != strings.ReplaceAll(hostile, "\x9b", "\ufffd") && v.Object.Name != hostile {
		t.Errorf("JSON changed the name: %q", v.Object.Name)
	}
}
