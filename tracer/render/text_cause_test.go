package render

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// deadGateway is a verdict about a gateway for a client's flow to a host outside.
func deadGateway(after int, to string, with ...func(*Verdict)) *Verdict {
	return tried(policyVerdict(), after, append([]func(*Verdict){func(v *Verdict) {
		v.Component, v.Code, v.Rule = tracer.ComponentEgress, "egr-gateway-dead", nil
		v.Object = &tracer.Ref{Kind: "Gateway", Name: "192.0.2.1"}
		v.Flow.Destination = tracer.Endpoint{IP: netip.MustParseAddr(to), Port: 443, Kind: tracer.KindExternal}
		v.Flow.Translations = nil
		v.Summary = fmt.Sprintf("gateway 192.0.2.1 of node n1 does not answer address resolution on eth0: packets to %s stay", to)
	}}, with...)...)
}

// One cause is told once; the flows that end for it are listed, and then counted.
func TestOneCause(t *testing.T) {
	var list []any
	for i := range 9 {
		list = append(list, deadGateway(i, fmt.Sprintf("203.0.113.%d", i+1)))
	}
	list = append(list, deadGateway(9, "203.0.113.8"), deadGateway(9, "203.0.113.9"), deadGateway(9, "203.0.113.2"))
	out := show(t, Options{Format: "text"}, append(list, summary()))
	if n := strings.Count(out, "What to do"); n != 1 {
		t.Errorf("%d in full", n)
	}
	flat := strings.Join(strings.Fields(out), " ")
	client := "TCP shop/checkout-7d9f-x2x4q (10.244.1.7) → "
	for _, want := range []string{
		"the same for " + client + "203.0.113.2:443, the client got no answer", client + "203.0.113.3:443, the client", client + "203.0.113.4:443, the client",
		"the same for 7 more flows (" + client + "203.0.113.5:443, " + client + "203.0.113.6:443, " + client + "203.0.113.7:443 and 2 more), the last at 10:00:09.123",
		"1 more TCP flow from shop/checkout-7d9f-x2x4q (10.244.1.7) to 203.0.113.2:443 ended the same way",
	} {
		if strings.Count(flat, want) != 1 {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if n := strings.Count(flat, "the same for"); n != 4 {
		t.Errorf("%d lines of the cause\n%s", n, out)
	}
	for format, count := range map[string]string{"wide": "  egr-gateway-dead, confirmed, ", "json": `"code":"egr-gateway-dead"`} {
		if n := strings.Count(show(t, Options{Format: format}, list), count); n != len(list) {
			t.Errorf("%s: %d of %d", format, n, len(list))
		}
	}
}

// What is not the same cause is told in full.
func TestAnotherCause(t *testing.T) {
	for name, change := range map[string]func(*Verdict){
		"another gateway":   func(v *Verdict) { v.Object = &tracer.Ref{Kind: "Gateway", Name: "192.0.2.2"} },
		"another code":      func(v *Verdict) { v.Code = "egr-remote-down" },
		"less sure":         func(v *Verdict) { v.Confidence = tracer.Probable },
		"another sentence":  func(v *Verdict) { v.Summary += ", but not all" },
		"another host":      func(v *Verdict) { v.Summary = strings.Replace(v.Summary, "192.0.2.1", "192.0.2.9", 1) },
		"no object":         func(v *Verdict) { v.Object = nil },
		"the target's pod":  func(v *Verdict) { v.Object = &tracer.Ref{Kind: "Pod", Namespace: "payments", Name: "api-5c"} },
		"another node":      func(v *Verdict) { v.Node = "n2" },
		"a rule":            func(v *Verdict) { v.Rule = &Rule{Engine: "nftables", Table: "t", Chain: "c", Text: "drop"} },
		"something besides": func(v *Verdict) { v.AlsoSeen = append(v.AlsoSeen, tracer.AlsoSeen{Code: "node-csum"}) },
		"a policy":          func(v *Verdict) { v.Component = tracer.ComponentPolicy },
		"nothing is wrong":  func(v *Verdict) { v.Component, v.Code = tracer.ComponentUnknown, tracer.CodeUnknown },
	} {
		out := show(t, Options{Format: "text"}, []any{deadGateway(0, "203.0.113.1"), deadGateway(1, "203.0.113.2", change)})
		if strings.Contains(out, "the same for") {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	// Of another client it is told in a line, and for long it is told now and then.
	other := func(v *Verdict) { v.Flow.Source.Name = "cart" }
	if out := show(t, Options{Format: "text"}, []any{deadGateway(0, "203.0.113.1"), deadGateway(1, "203.0.113.1", other)}); !strings.Contains(out, "the same for TCP shop/cart (10.244.1.7)") {
		t.Errorf("another client:\n%s", out)
	}
	var list []any
	for i := range 31 {
		list = append(list, deadGateway(i, fmt.Sprintf("203.0.113.%d", i+1)))
	}
	if out := show(t, Options{Format: "text"}, append(list, summary())); strings.Count(out, " more flows") != 4 || strings.Count(out, "What to do") != 1 {
		t.Errorf("for long:\n%s", out)
	}
	var r repeats
	for i := range maxRepeats + 10 {
		r.take(deadGateway(0, "203.0.113.1", func(v *Verdict) { v.Object = &tracer.Ref{Kind: "Gateway", Name: fmt.Sprint(i)} }))
	}
	if len(r.causes) > maxRepeats {
		t.Errorf("%d causes are remembered", len(r.causes))
	}
}
