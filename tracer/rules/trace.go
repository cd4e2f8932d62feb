package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/google/nftables"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// TraceConfig says which packets of the node the kernel traces through its
// rules, and for how long.
type TraceConfig struct {
	// For ends it; the kernel itself marks no packet after that.
	For time.Duration
	// Ended is told why it ended before Close, nil if the time is over. It may be
	// called at any moment, once; nil tells nobody.
	Ended func(error)
}

// Flows are the packets between one of A and one of B, in both directions. Any
// stands for every address.
type Flows struct {
	A, B       []netip.Prefix
	AnyA, AnyB bool
}

// Tracing is the kernel's own rule trace of some flows in the node's namespace:
// a table of podpath marks their packets (meta nftrace), and the kernel tells
// which rule gives each verdict. The table accepts everything. It dies with the
// process where the kernel lets a table have an owner (5.12); before that, its
// time is limited by the kernel, and the next Trace removes what is left.
//
// It is safe for concurrent use. Close ends it.
type Tracing struct {
	log   *slog.Logger
	table *traceTable
	read  *traceReader
	timer *time.Timer

	mu    sync.Mutex
	ended bool
	told  func(error)
}

// Trace begins to trace the flows; Collect then names rules that were observed.
// One trace at a time.
func (r *Reader) Trace(ctx context.Context, c TraceConfig, flows Flows) (*Tracing, error) {
	if c.For <= 0 {
		return nil, fmt.Errorf("trace rules for %s: the time must be more than nothing", c.For)
	}
	if c.Ended == nil {
		c.Ended = func(error) {}
	}
	t := &Tracing{log: r.log, told: c.Ended}
	err := netns.Do(int(r.host.Fd()), func() (err error) {
		sweep(ctx, r.log, r.proc)
		if t.read, err = listenTrace(r.log); err != nil {
			return err
		}
		t.table, err = newTraceTable(c.For)
		return err
	})
	if err == nil {
		err = t.table.fill(flows)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("trace rules: %w", err), t.Close())
	}
	t.timer = time.AfterFunc(c.For, func() { t.end(nil) })
	r.mu.Lock()
	r.tracing = t
	r.mu.Unlock()
	return t, nil
}

// Table is the name of the table in family inet.
func (t *Tracing) Table() string { return t.table.name }

// Owned: the kernel removes the table when this process ends, however it ends.
func (t *Tracing) Owned() bool { return t.table.owned }

// Select replaces the flows.
func (t *Tracing) Select(flows Flows) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil
	}
	if err := t.table.fill(flows); err != nil {
		err = fmt.Errorf("select the flows to trace through rules: %w", err)
		t.endLocked(err) // better none than those of before
		return err
	}
	return nil
}

func (t *Tracing) end(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(why)
}

func (t *Tracing) endLocked(why error) {
	if t.ended {
		return
	}
	t.ended = true
	t.told(errors.Join(why, t.table.remove()))
}

// Close removes the table, if it is still there.
func (t *Tracing) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	if t.timer != nil {
		t.timer.Stop()
	}
	if !t.ended && t.table != nil {
		errs = append(errs, t.table.remove())
	}
	t.ended = true
	if t.read != nil {
		errs = append(errs, t.read.close())
	}
	return errors.Join(errs...)
}

// observed is the rule that the kernel said dropped such a packet at a hook.
func (r *Reader) observed(ctx context.Context, s *space, site tracer.DropSite, hook uint32, f family) (tracer.RuleFact, bool) {
	if r.tracing == nil || s.inode != r.hostNS || f == famBridge || f == famNetdev {
		return tracer.RuleFact{}, false
	}
	read := r.tracing.read
	if err := read.settle(ctx); err != nil {
		s.note("the kernel's rule trace", err.Error()+"; rules are named by counters and evaluation")
	}
	rs := s.all()
	for _, e := range read.ends(site.Tuple) {
		t := rs.table(e.table)
		if t == nil || len(e.path) == 0 {
			continue
		}
		base := t.chain(e.path[0])
		if base == nil || base.base == nil || base.base.hook != hook {
			continue
		}
		return e.fact(t, base), true
	}
	if lost := read.lost(); lost > 0 {
		s.note("the kernel's rule trace", fmt.Sprintf("messages were lost %d times; a rule may have dropped the packet without being named", lost))
	}
	if site.Drop.Engine == "xtables" && s.legacy != nil {
		s.note("the kernel's rule trace of iptables-legacy", "it goes to the kernel's log only (lines that begin with TRACE); rules are named by counters and evaluation")
	}
	return tracer.RuleFact{}, false
}

func (rs *ruleset) table(k tableKey) *table {
	for _, t := range rs.tables {
		if t.tableKey == k && t.engine != "iptables-legacy" {
			return t
		}
	}
	return nil
}

// fact describes the rule, or the policy, that ended a packet.
func (e *traceEnd) fact(t *table, base *chain) tracer.RuleFact {
	h := hit{base: base, act: action{verdict: verdict{kind: e.kind}, sure: triYes}, sure: true}
	for _, name := range e.path {
		if c := t.chain(name); c != nil {
			h.path = append(h.path, c)
		}
	}
	if e.policy {
		return h.fact("observed")
	}
	for _, r := range h.path[len(h.path)-1].all() {
		if r.handle == e.handle {
			h.rule = r
			h.act.stmt = endOf(r)
			return h.fact("observed")
		}
	}
	// The rule was replaced meanwhile: proxies write theirs anew all the time.
	gone := rule{chain: h.path[len(h.path)-1], handle: e.handle, text: fmt.Sprintf("rule with handle %d, which is not there any more", e.handle)}
	h.rule = &gone
	return h.fact("observed")
}

// endOf is the statement by which a rule drops, nil for a plain verdict.
func endOf(r *rule) any {
	for _, x := range r.expressions() {
		switch x.(type) {
		case reject, queue:
			return x
		}
	}
	return nil
}

// family inet is where podpath's table is.
const traceFamily = nftables.TableFamilyINet
