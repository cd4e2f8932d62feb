package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/session"
	"github.com/podpath/podpath/tracer/verdict"
)

// unconnected are the pods of one end that have no address, so that nothing of them
// can be seen; the other end may be known.
type unconnected struct {
	// pods have none; source: they are where the traffic is to come from.
	pods   []*kube.Pod
	source bool
	// far is where it is to go to, if that is known.
	far netip.AddrPort
	// why is the error that says so.
	why error
}

// noAddress: the error says that pods have none.
func noAddress(err error) bool {
	var none *kube.NoIPError
	return errors.As(err, &none) && len(none.Pods) > 0
}

// unconnected finds the end that has no address in a snapshot, the source before the
// destination; nil if both have one. If anything else is wrong with one of them, that
// is the error.
func (e *endpoints) unconnected(ctx context.Context, view *kube.Snapshot) (*unconnected, error) {
	from, to, err := e.located(view)
	if err != nil {
		return nil, err
	}
	_, fromErr := e.resolveFrom(ctx, view, from)
	far, toErr := e.resolveTo(ctx, view, to)
	for _, err := range []error{fromErr, toErr} {
		if err != nil && !noAddress(err) {
			return nil, err
		}
	}
	why := cmp.Or(fromErr, toErr)
	if why == nil {
		return nil, nil
	}
	var none *kube.NoIPError
	errors.As(why, &none)
	u := &unconnected{pods: none.Pods, source: fromErr != nil, why: why}
	if toErr == nil && len(far.Targets) > 0 && far.Targets[0].Prefix.IsSingleIP() {
		u.far = netip.AddrPortFrom(far.Targets[0].Prefix.Addr(), far.Targets[0].Port)
	}
	return u, nil
}

// unconnected judges what keeps a pod from having a network, by state alone, because
// there is nothing to be traced. If nothing is found, the error that there is no
// address stands, with what is known besides.
func (a *app) unconnected(ctx context.Context, f traceFlags, ends *endpoints, cluster *clusterSource, printer render.Printer) error {
	begun := time.Now()
	u, err := a.withEvents(ctx, ends, cluster)
	if err != nil {
		return err
	}
	if u == nil {
		return errConnected
	}
	now, view := cluster.moment(), cluster.current()
	an := newAnalyser(ends.node, nil)
	an.view, an.stale = cluster.at, cluster.stale
	if f.write != "" {
		w, err := a.recordUnconnected(f, ends, now)
		if err != nil {
			return err
		}
		an.rec = recorder{w: w, warn: func(err error) { a.say("warning: the recording ends here: %v", err) }}
		defer func() { an.rec.close() }()
	}
	var t tally
	var printErr error
	an.emit = func(v *tracer.Verdict) bool {
		t.add(v)
		printErr = printer.Print(render.NewVerdict(v, &an.inv))
		return printErr == nil
	}
	an.visibility(cluster.blind())
	an.snapshot(now, view)
	if !an.unconnected(u, now) {
		return &hinted{u.why, untold(u, view, now)}
	}
	a.say("%v", u.why)
	if printErr == nil {
		printErr = printer.Print(unconnectedSummary(now, ends.node, &t, time.Since(begun), an.blind))
	}
	if printErr != nil {
		return fmt.Errorf("print results: %w", printErr)
	}
	return &exitError{t.code()}
}

// errConnected: the pods have got an address meanwhile, so that they can be traced.
var errConnected = errors.New("the pod has got an address")

// withEvents has the Events of the pods read, and looks again; nil if the pods have an
// address now.
func (a *app) withEvents(ctx context.Context, ends *endpoints, cluster *clusterSource) (*unconnected, error) {
	u, err := ends.unconnected(ctx, cluster.current())
	if err != nil || u == nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, eventsTime)
	defer cancel()
	err = cluster.store.ReadEvents(ctx, u.pods[:min(len(u.pods), mostAsked)])
	without := "going on without"
	if n := eventsKnown(cluster.current(), u.pods); n > 0 {
		without = fmt.Sprintf("going on with those of %d of %d pods", n, len(u.pods))
	}
	var access *kube.AccessError
	switch {
	case errors.As(err, &access):
		a.say("warning: %v: %s; %s", err, without, access.Hint())
	case err != nil:
		a.say("warning: %v: %s", err, without)
	}
	return ends.unconnected(ctx, cluster.current())
}

// eventsKnown counts the pods of which Events were read.
func eventsKnown(view *kube.Snapshot, pods []*kube.Pod) (n int) {
	for _, p := range pods {
		if net := view.PodFacts(p).Network; net != nil && net.EventsKnown {
			n++
		}
	}
	return n
}

// mostAsked bounds of how many pods the Events are read: what keeps one of a workload
// from having a network mostly keeps them all.
const mostAsked = 10

// eventsTime bounds how long the API server is waited for.
const eventsTime = 5 * time.Second

func (a *app) recordUnconnected(f traceFlags, ends *endpoints, now time.Time) (*session.Writer, error) {
	rewrite, err := rewriter(f.redact)
	if err != nil {
		return nil, err
	}
	return session.CreateThrough(f.write, session.Header{
		Podpath: version, Node: ends.node, Kernel: kernelRelease(), Started: now.UTC(),
		Command: []string{"trace", "--from", f.from, "--to", f.to},
		From:    f.from, To: f.to, Namespace: a.namespace(), Selector: a.selector, Hosts: ends.names.all(),
	}, rewrite)
}

func unconnectedSummary(now time.Time, node string, t *tally, took time.Duration, blind []tracer.Blind) *render.Summary {
	s := render.NewSummary()
	s.Time, s.Node, s.Duration = now.UTC(), node, took.Round(time.Millisecond).String()
	s.Blind = append(s.Blind, blind...)
	for k, n := range t.codes {
		s.Verdicts[k] = n
	}
	return s
}

// unconnected gives a verdict for the first of the pods of which it is known what
// keeps it from having a network.
func (a *analyser) unconnected(u *unconnected, now time.Time) (given bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.note(now, unconnectedNote)
	view := a.view(now)
	if view == nil {
		return false
	}
	for _, p := range u.pods {
		j := &tracer.Journey{First: now, Last: now}
		j.Flow.Dst, j.Flow.Proto = u.far, tracer.ProtoTCP
		j.Translated = j.Flow
		in := &verdict.Input{
			Journey: j, Outcome: tracer.OutcomeNotSeen, Inventory: &a.inv, NodeName: a.node, Now: now, Blind: a.blind,
			Cluster: unconnectedFacts(view, u, p, a.node),
		}
		in.Cluster.Stale = a.stale()
		if v := a.engine.Decide(in); v.Code != tracer.CodeUnknown {
			a.give(v, now)
			return true
		}
	}
	return false
}

// unconnectedFacts is what the cluster's objects say about a pod without an address,
// and about the other end.
func unconnectedFacts(view *kube.Snapshot, u *unconnected, p *kube.Pod, node string) *tracer.ClusterFacts {
	c := &tracer.ClusterFacts{Known: true, Node: node, Nodes: view.Nodes(), Unread: view.Unread()}
	if u.far.IsValid() {
		c.Destination = view.Endpoint(u.far.Addr(), u.far.Port(), tracer.ProtoTCP)
		c.Target = c.Destination
	}
	if u.source {
		c.Source, c.SourcePod = view.PodEndpoint(p), view.PodFacts(p)
		return c
	}
	c.Destination, c.TargetPod = view.PodEndpoint(p), view.PodFacts(p)
	c.Target = c.Destination
	return c
}

// untold says what to do where nothing is known to be wrong.
func untold(u *unconnected, view *kube.Snapshot, now time.Time) string {
	p := u.pods[0]
	look := fmt.Sprintf("kubectl -n %s describe pod %s", p.Namespace, p.Name)
	n := view.PodFacts(p).Network
	const nothing = "nothing says that the network is what it waits for: "
	if n == nil {
		return nothing + look
	}
	var last tracer.StartAttempt
	if len(n.Failures) > 0 {
		last = n.Failures[0]
	}
	switch {
	case p.Node != "" && !n.Scheduled.IsZero() && now.Sub(n.Scheduled) < aMoment:
		return fmt.Sprintf("it was given to node %s %s ago: give it a moment, then %s", p.Node, max(0, now.Sub(n.Scheduled).Round(time.Second)), look)
	case len(n.Failures) > 0 && now.Sub(last.Last) > aMoment && n.Progress.IsZero():
		return fmt.Sprintf("what failed did so %s before %s, and what came after is not known: %s", now.Sub(last.Last).Round(time.Second), now.UTC().Format(time.RFC3339), look)
	case last.Says == tracer.FailureNoAPI && last.Plugin != "" && last.Last.After(n.Progress):
		return fmt.Sprintf("its CNI's plugin asks the API server, and gets no answer that it can use, so see whether node %s reaches that: %s", p.Node, look)
	case !n.EventsKnown:
		return "its Events are not known, and nothing else says that the network is what it waits for: " + look
	}
	return nothing + look
}

// aMoment is what a pod may take to get its network on a busy node.
const aMoment = 30 * time.Second
