package render

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// tried is a verdict of the fixture for another connection of the same client: so
// many seconds later, from another port.
func tried(v *tracer.Verdict, after int, with ...func(*Verdict)) *Verdict {
	w := NewVerdict(v, inventory())
	w.Time = w.Time.Add(time.Duration(after) * time.Second)
	w.Flow.Source.Port += uint16(after)
	for _, f := range with {
		f(w)
	}
	return w
}

// reconnects: a client tries five times, is let in, and fails again.
func reconnects() []any {
	fails, works := policyVerdict(), healthyVerdict()
	works.Time = fails.Time
	return []any{tried(fails, 0), tried(fails, 1), tried(fails, 2), tried(fails, 3), tried(fails, 4), tried(works, 5), tried(works, 6), tried(fails, 7), tried(fails, 8), tried(works, 9), summary()}
}

// One verdict with a count; a recovery, and that it fails again, are told at once.
func TestAgain(t *testing.T) {
	short := func(s string) string {
		var heads []string
		for line := range strings.Lines(s) {
			if strings.ContainsAny(line[:min(len(line), 3)], "✓✗?") && !strings.HasPrefix(line, " ") {
				heads = append(heads, strings.TrimSpace(line))
			}
		}
		return strings.Join(heads, "\n")
	}
	got := short(show(t, Options{Format: "text"}, reconnects()))
	want := strings.Join([]string{
		"✗ POLICY  pol-ingress-deny, confirmed, the client got no answer",
		"✗ POLICY  pol-ingress-deny, confirmed: 4 more TCP flows from shop/checkout-7d9f-x2x4q (10.244.1.7) to payments/svc/api (10.96.0.20:80) ended the same way, the last at 10:00:04.123",
		"✓ HEALTHY  ok, confirmed, the client got its answer",
		"✓ HEALTHY  ok, confirmed: 1 more TCP flow from shop/checkout-7d9f-x2x4q (10.244.1.7) to payments/svc/api (10.96.0.20:80) ended the same way, the last at 10:00:06.123",
		"✗ POLICY AGAIN  pol-ingress-deny, confirmed, the client got no answer",
		"✗ POLICY  pol-ingress-deny, confirmed: 1 more TCP flow from shop/checkout-7d9f-x2x4q (10.244.1.7) to payments/svc/api (10.96.0.20:80) ended the same way, the last at 10:00:08.123",
		"✓ HEALTHY AGAIN  ok, confirmed, the client got its answer",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Whoever reads it all, and every program, gets one for each flow.
	for format, count := range map[string]string{"wide": "  ok, confirmed, ", "json": `"code":"ok"`, "yaml": "code: ok"} {
		if n := strings.Count(show(t, Options{Format: format}, reconnects()), count); n != 3 {
			t.Errorf("%s: %d of 3", format, n)
		}
	}
}

// What is not the same is shown.
func TestNotAgain(t *testing.T) {
	for name, change := range map[string]func(*Verdict){
		"another cause":         func(v *Verdict) { v.Code = "pol-wrong-port" },
		"as sure as not before": func(v *Verdict) { v.Confidence = tracer.Probable },
		"another outcome":       func(v *Verdict) { v.Outcome = tracer.OutcomeIntermittent },
		"another object":        func(v *Verdict) { v.Object = &tracer.Ref{Kind: "NetworkPolicy", Namespace: "payments", Name: "other"} },
		"another rule":          func(v *Verdict) { v.Rule = &Rule{Engine: "nftables", Table: "t", Chain: "c", Text: "drop"} },
		"another endpoint": func(v *Verdict) {
			v.Flow.Translations = []Translation{{Kind: "dnat", From: "10.96.0.20:80", To: "10.244.1.10:8080"}}
		},
		"something beside it": func(v *Verdict) {
			v.AlsoSeen = append(v.AlsoSeen, tracer.AlsoSeen{Component: tracer.ComponentNode, Code: "node-csum"})
		},
		"another sentence":    func(v *Verdict) { v.Summary += "; the node is overloaded" },
		"another client":      func(v *Verdict) { v.Flow.Source.Name = "cart" },
		"another destination": func(v *Verdict) { v.Flow.Destination.Port++ },
		"another protocol":    func(v *Verdict) { v.Flow.Protocol = "UDP" },
		"another node":        func(v *Verdict) { v.Node = "n2" },
	} {
		out := show(t, Options{Format: "text"}, []any{tried(policyVerdict(), 0), tried(policyVerdict(), 1, change)})
		if n := strings.Count(out, "What to do"); n != 2 {
			t.Errorf("%s: %d shown in full\n%s", name, n, out)
		}
	}
	for _, tt := range []struct {
		one, other string
		same       bool
	}{
		{"no answer after 4.5 s", "no answer after 12.25 s", true},
		{"no answer in 3.1s", "no answer in 1m2.5s, and", false},
		{"no answer in 3.1s, and", "no answer in 1m2.5s, and", true},
		{"3 destinations (of 4)", "1100 destinations (of 12)", true},
		{"full: new flows are dropped (drop +7)", "full: new flows are dropped (drop +812)", true},
		{"90% of them at 10:00:04.123", "100% of them at 23:59:59.9", true},
		{"translated 10.1.0.7:40001 to", "translated 10.1.0.7:51234 to", true},
		{"for [fd00::7]:40001; it", "for [fd00::7]:51234; it", true},
		{"left node n1 intact by eth0", "left node n1 intact by eth1", false},
		{"left as 192.0.2.1", "left as 192.0.2.9", false},
		{"left as 192.0.2.1:4000", "left as 192.0.2.9:4000", false},
		{"node n1", "node n2", false},
		{"by ens3 as fd00::1", "by ens3 as fd00::2", false},
		{"to 10.0.0.0/8", "to 10.0.0.0/16", false},
		{"to port 8080 of api", "to port 9090 of api", false},
		{"an MTU of eth0: MTU 1450", "an MTU of eth0: MTU 1400", false},
		{"of IPv4", "of IPv6", false},
		{"api-7d9f-2 is", "api-7d9f-3 is", false},
	} {
		say := func(s string) func(*Verdict) { return func(v *Verdict) { v.Summary += "; " + s } }
		out := show(t, Options{Format: "text"}, []any{tried(policyVerdict(), 0, say(tt.one)), tried(policyVerdict(), 1, say(tt.other))})
		if same := strings.Count(out, "What to do") == 1; same != tt.same {
			t.Errorf("%q and %q are the same: %t\n%s", tt.one, tt.other, same, out)
		}
	}
}

// While a client goes on for long, its count is told now and then; what is
// remembered is bounded.
func TestAgainForLong(t *testing.T) {
	var list []any
	for i := range 31 {
		list = append(list, tried(policyVerdict(), i))
	}
	out := show(t, Options{Format: "text"}, append(list, summary()))
	if strings.Count(out, "What to do") != 1 || strings.Count(out, ": 9 more TCP flows") != 3 || strings.Count(out, ": 3 more TCP flows") != 1 {
		t.Errorf("%s", out)
	}
	var r repeats
	for i := range maxRepeats + 10 {
		v := tried(policyVerdict(), 0, func(v *Verdict) { v.Flow.Source.Name = fmt.Sprint("p", i) })
		if how := r.take(v); how != inFull {
			t.Fatalf("client %d: %v", i, how)
		}
	}
	for i := range 2 * maxSaid {
		r.take(tried(policyVerdict(), 0, func(v *Verdict) { v.Flow.Source.Name, v.Code = "p0", fmt.Sprint("code-", i) }))
	}
	if g := r.of[r.order[0]]; len(r.of) != maxRepeats || len(g.said) != maxSaid {
		t.Errorf("%d pairs, %d verdicts", len(r.of), len(g.said))
	}
}
