package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/rules"
	"github.com/podpath/podpath/tracer/session"
)

// traceFlags are the options of trace.
type traceFlags struct {
	from, to     string
	duration     time.Duration
	count        int
	untilVerdict bool
	write        string
	redact       bool
	wide         bool
	hook         string
	firstPackets uint32
	flows        bool
	hostNetNS    string
	traceRules   time.Duration
	budget       budgetFlags
}

func (a *app) traceCommand() *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use:   "trace --from A --to B",
		Short: "Follow live traffic between A and B and say who is at fault",
		Long: `Follow live traffic from A to B on this node and give a verdict for each flow.
Where a client tries again and the same comes of it, text says how often, and
-o wide, json and yaml have each flow's verdict.

A and B are [NAMESPACE/]KIND/NAME[:PORT] with KIND pod, svc, deploy, sts, ds,
node or ns; an address, a CIDR or a DNS name with an optional :PORT; any; or
internet (everything outside the cluster).`,
		Example: `  podpath trace --from shop/pod/checkout-7d9f --to payments/svc/api:80
  podpath trace -n shop --from deploy/checkout --to internet --until-verdict
  podpath trace --from 10.244.1.7 --to any --duration 30s -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.trace(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.from, "from", "", "where the traffic comes from (required)")
	fs.StringVar(&f.to, "to", "", "where it goes (required)")
	fs.StringVarP(&a.selector, "selector", "l", "", "narrow --from to pods with these labels")
	fs.DurationVar(&f.duration, "duration", 0, "stop after this time (default: until Ctrl-C)")
	fs.IntVar(&f.count, "count", 0, "stop after this many verdicts")
	fs.BoolVar(&f.untilVerdict, "until-verdict", false, "stop at the first verdict")
	fs.StringVar(&f.write, "write", "", "record the session to a file, for podpath replay; - is standard output")
	fs.BoolVar(&f.redact, "redact", false, "with --write: record pseudonyms in place of names and addresses")
	fs.BoolVar(&f.wide, "wide", false, "watch every device of this node, at a higher cost")
	fs.StringVar(&f.hook, "hook", "auto", "how packets are seen: auto, tcx or tracepoint")
	fs.Uint32Var(&f.firstPackets, "first-packets", 8, "packets of each flow and device to follow one by one; the rest is counted")
	fs.BoolVar(&f.flows, "flows", false, "also print each flow's path when it is decided")
	fs.StringVar(&f.hostNetNS, "host-netns", "", "path to the node's own network namespace (default: this process's)")
	addRuleTrace(c, &f.traceRules)
	f.budget.add(c)
	_ = c.MarkFlagRequired("from")
	_ = c.MarkFlagRequired("to")
	return c
}

func (f *traceFlags) check() error {
	switch f.hook {
	case "auto", "tcx", "tracepoint":
	default:
		return fmt.Errorf("unknown --hook %q: use auto, tcx or tracepoint", f.hook)
	}
	if f.duration < 0 {
		return fmt.Errorf("--duration %s: must not be negative", f.duration)
	}
	if f.count < 0 {
		return fmt.Errorf("--count %d: must not be negative", f.count)
	}
	if err := checkRuleTrace(f.traceRules); err != nil {
		return err
	}
	if f.redact && f.write == "" {
		return errRedactNothing
	}
	if f.untilVerdict {
		f.count = 1
	}
	return nil
}

func (a *app) trace(ctx context.Context, f traceFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	var err error
	if f.write, err = a.recordingTo(f.write); err != nil {
		return err
	}
	printer, err := a.printer()
	if err != nil {
		return err
	}
	ends, err := parseEndpoints(f.from, f.to, a.selector, a.namespace(), a.nodeName())
	if err != nil {
		return err
	}
	cluster, err := a.openCluster(ctx, ends.needCluster())
	if err != nil {
		return err
	}
	s, err := a.openSession(ctx, f, &ends, cluster)
	if noAddress(err) {
		if err = a.unconnected(ctx, f, &ends, cluster, printer); errors.Is(err, errConnected) {
			s, err = a.openSession(ctx, f, &ends, cluster)
		}
	}
	if err != nil {
		return err
	}
	defer s.close()
	return s.trace(ctx, f, printer)
}

// traceSession is one run of trace, live or in the demo.
type traceSession struct {
	app   *app
	live  *live
	tally tally
	begun time.Time
	ends  *endpoints
	// enough, if set, ends the trace when it closes.
	enough <-chan struct{}
	closer []func() error
}

func (s *traceSession) close() {
	for _, f := range slices.Backward(s.closer) {
		if err := f(); err != nil {
			s.live.log.Debug("close", "error", err)
		}
	}
	s.closer = nil
}

// openSession loads the programs, resolves the endpoints and attaches.
func (a *app) openSession(ctx context.Context, f traceFlags, ends *endpoints, cluster *clusterSource) (*traceSession, error) {
	log := a.logger()
	s := &traceSession{app: a, ends: ends}
	l := &live{
		log: log, say: a.say, cluster: cluster, wide: f.wide, counted: map[countKey]uint64{},
		analyser: newAnalyser(ends.node, nil),
		aim:      func(v *kube.Snapshot) (*aim, error) { return ends.resolve(ctx, v) },
	}
	s.live = l
	if _, err := ends.resolve(ctx, cluster.current()); err != nil { // before anything is loaded
		return nil, err
	}
	if err := s.attach(ctx, f); err != nil {
		s.close()
		return nil, err
	}
	for _, n := range l.current.from.Notes {
		a.say("note: %s", n)
	}
	for _, n := range l.current.to.Notes {
		a.say("note: %s", n)
	}
	return s, nil
}

func (s *traceSession) attach(ctx context.Context, f traceFlags) error {
	l := s.live
	var err error
	l.onNode, err = s.app.open(probe.Config{Tier: tierOf(f.hook), Wide: f.wide, FirstEvents: f.firstPackets}, f.budget, f.hostNetNS)
	if err != nil {
		return err
	}
	s.closer = append(s.closer, l.closeNode)
	l.budget.took = l.analyser.step
	l.rules, err = rules.New(rules.Config{Logger: l.log, HostNetNS: f.hostNetNS, OpenNetNS: l.node.OpenNetNS, Now: l.probe.Now})
	if err != nil {
		return err
	}
	s.closer = append(s.closer, l.rules.Close)
	l.rehearsal.ask, l.rehearsal.now = l.rehearse, time.Now
	l.asked.read, l.asked.retrack = l.read, l.node.Retracked
	l.analyser.view, l.analyser.stale, l.analyser.ask, l.analyser.recount = l.cluster.at, l.cluster.stale, l.ask, l.recount
	if f.write != "" {
		if err := s.record(f); err != nil {
			return err
		}
	}
	s.closer = append(s.closer, func() error { return l.ruleTrace.close() })
	return l.start(ctx, f.traceRules)
}

func tierOf(hook string) probe.Tier {
	switch hook {
	case "tcx":
		return probe.TierTCX
	case "tracepoint":
		return probe.TierTracepoint
	}
	return probe.TierAuto
}

func (s *traceSession) record(f traceFlags) error {
	l := s.live
	rewrite, err := rewriter(f.redact)
	if err != nil {
		return err
	}
	w, err := session.CreateThrough(f.write, session.Header{
		Podpath: version, Node: s.ends.node, Kernel: kernelRelease(), Tier: string(l.probe.Tier()), Started: l.probe.Now().UTC(),
		Command: []string{"trace", "--from", f.from, "--to", f.to}, HostNetNS: l.node.HostNetNS(),
		MaxCPU: float64(f.budget.cpu), MaxEvents: uint64(f.budget.events),
		From: f.from, To: f.to, Namespace: s.app.namespace(), Selector: s.app.selector, Hosts: s.ends.names.all(), Upstream: true, BehindOnce: true,
	}, rewrite)
	if err != nil {
		return err
	}
	l.analyser.rec = recorder{w: w, warn: func(err error) {
		s.app.say("warning: the recording ends at %s, the trace goes on: %v", time.Now().Format(time.TimeOnly), err)
	}}
	s.closer = append(s.closer, func() error { l.analyser.rec.close(); return nil })
	return nil
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// trace runs until it is told to stop and prints what was found.
func (s *traceSession) trace(ctx context.Context, f traceFlags, printer render.Printer) error {
	l := s.live
	s.begun = time.Now()
	runCtx := ctx
	if f.duration > 0 {
		var cancel context.CancelFunc
		runCtx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	done := make(chan struct{})
	var printErr error
	var stopOnce sync.Once
	stop := func() { stopOnce.Do(func() { close(done) }) }
	l.analyser.emit = func(v *tracer.Verdict) bool {
		s.tally.add(v)
		printErr = s.show(printer, f, v)
		more := printErr == nil && (f.count == 0 || s.total() < f.count)
		if !more {
			stop()
		}
		return more
	}
	s.app.ready("tracing %s to %s on node %s (%s)", l.current.from.Description, l.current.to.Description, s.ends.node, l.probe.Tier())
	if s.enough != nil {
		go func() {
			select {
			case <-s.enough:
				stop()
			case <-runCtx.Done():
			}
		}()
	}
	if err := l.run(runCtx, done); err != nil {
		return err
	}
	l.finish()
	if s.total() == 0 && printErr == nil {
		s.nothingSeen()
	}
	if printErr == nil {
		printErr = printer.Print(s.summary())
	}
	return s.result(ctx, printErr)
}

func (s *traceSession) total() int {
	n := 0
	for _, c := range s.tally.codes {
		n += c
	}
	return n
}

func (s *traceSession) show(p render.Printer, f traceFlags, v *tracer.Verdict) error {
	inv := &s.live.analyser.inv
	if f.flows && len(v.Journey.Hops) > 0 {
		if err := p.Print(render.NewFlow(v.Journey, v.Cluster, inv, v.Node, v.Outcome)); err != nil {
			return err
		}
	}
	return p.Print(render.NewVerdict(v, inv))
}

// nothingSeen says so, with what the node's state suggests.
func (s *traceSession) nothingSeen() {
	if flows, standIn := s.live.current.unseen(); s.live.analyser.unseen(flows, standIn, s.live.probe.Now()) {
		return
	}
	s.app.say("no packet from %s to %s was seen in %s", s.live.current.from.Description, s.live.current.to.Description, time.Since(s.begun).Round(time.Millisecond))
}

func (s *traceSession) result(ctx context.Context, printErr error) error {
	switch {
	case errors.Is(printErr, unix.EPIPE):
		return &exitError{s.tally.code()} // the reader has seen enough
	case printErr != nil:
		return fmt.Errorf("print results: %w", printErr)
	case ctx.Err() != nil:
		return &exitError{exitInterrupted}
	}
	if code := s.tally.code(); code != exitHealthy {
		return &exitError{code}
	}
	return nil
}

func (s *traceSession) summary() *render.Summary {
	l := s.live
	sum := render.NewSummary()
	sum.Time, sum.Node, sum.Tier = l.probe.Now().UTC(), s.ends.node, string(l.probe.Tier())
	sum.Duration = time.Since(s.begun).Round(time.Millisecond).String()
	sum.Flows = s.tally.flows
	for k, v := range s.tally.codes {
		sum.Verdicts[k] = v
	}
	sum.Shares = l.analyser.shares()
	sum.Blind = append(sum.Blind, l.hidden()...)
	if st, err := l.probe.Stats(); err == nil {
		counted := l.stats(&st)
		sum.Events, sum.Lost, sum.Counters = counted.Seen, counted.Lost, counted.Counters
		sum.Cost, sum.Budget = l.budget.cost(&st), l.budget.report(&st)
	}
	return sum
}

// ready says that everything is in place, and gives back what loading took.
func (a *app) ready(format string, args ...any) {
	a.say("ready: "+format, args...)
	go debug.FreeOSMemory() // at leisure: packets are counted meanwhile
}

// say writes one line of progress to standard error.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.err, render.Escape(fmt.Sprintf(format, args...)))
}
