package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/rules"
)

// The kernel's rule trace lasts a minute unless told otherwise, and never longer
// than an hour.
const (
	ruleTraceTime = time.Minute
	maxRuleTrace  = time.Hour
)

// addRuleTrace adds --trace-rules; alone it means a minute.
func addRuleTrace(c *cobra.Command, to *time.Duration) {
	fs := c.Flags()
	fs.DurationVar(to, "trace-rules", 0, "let the kernel name the rule that drops, for this long (default 1m): adds a temporary nftables table to the node")
	fs.Lookup("trace-rules").NoOptDefVal = ruleTraceTime.String()
}

func checkRuleTrace(d time.Duration) error {
	if d < 0 || d > maxRuleTrace {
		return fmt.Errorf("--trace-rules %s: use a time up to %s", d, maxRuleTrace)
	}
	return nil
}

// ruleTrace is the kernel's trace of the selected flows through the node's rules.
type ruleTrace struct {
	tracing *rules.Tracing
	flows   rules.Flows
}

// flows are the packets that the aim selects, as the rule trace takes them.
func (a *aim) flows() rules.Flows {
	s := &a.selection
	return rules.Flows{A: s.A, B: s.B, AnyA: s.AnyA, AnyB: s.AnyB}
}

// traceRules adds podpath's table to the node's namespace and says so.
func (l *live) traceRules(ctx context.Context, limit time.Duration) error {
	flows := l.current.flows()
	t, err := l.rules.Trace(ctx, rules.TraceConfig{For: limit, Ended: func(err error) {
		if err != nil {
			l.say("warning: the rule trace ended: %v", err)
			return
		}
		l.say("note: the rule trace ended after %s; its table is removed, rules are named by counters and evaluation", limit)
	}}, flows)
	if errors.Is(err, unix.EPERM) {
		return &hinted{fmt.Errorf("--trace-rules: %w", err), "run as root or with CAP_NET_ADMIN, or leave out --trace-rules"}
	}
	if err != nil {
		return &hinted{fmt.Errorf("--trace-rules: %w", err), "leave out --trace-rules: rules are then named by counters and evaluation"}
	}
	l.ruleTrace = &ruleTrace{t, flows}
	crash := "the kernel removes it when podpath ends, however it ends"
	if !t.Owned() {
		crash = "after a crash its rules expire by then, and the next --trace-rules removes it"
	}
	l.say("note: --trace-rules added the nftables table inet %s to this node for %s: it marks packets of the selected flows for the kernel's rule trace and drops nothing; it is removed on exit, and %s", t.Table(), limit, crash)
	return nil
}

// follow traces the flows of a new aim instead.
func (r *ruleTrace) follow(a *aim) error {
	flows := a.flows()
	same := func(x, y []netip.Prefix) bool { return slices.Equal(x, y) }
	if r == nil || same(r.flows.A, flows.A) && same(r.flows.B, flows.B) && r.flows.AnyA == flows.AnyA && r.flows.AnyB == flows.AnyB {
		return nil
	}
	r.flows = flows
	return r.tracing.Select(flows)
}

func (r *ruleTrace) close() error {
	if r == nil {
		return nil
	}
	return r.tracing.Close()
}
