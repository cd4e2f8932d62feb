package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/session"
)

func (a *app) replayCommand() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "Judge a recorded session again, without root, kernel or cluster",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.redact || f.write != "" {
				return a.redact(c.Context(), args[0], f)
			}
			return a.replay(c.Context(), args[0], f)
		},
	}
	c.Flags().BoolVar(&f.flows, "flows", false, "also print each flow's path when it is decided")
	c.Flags().BoolVar(&f.redact, "redact", false, "do not judge: write the recording to --write with pseudonyms in place of names and addresses")
	c.Flags().StringVar(&f.write, "write", "", "with --redact: the file to write; - is standard output")
	c.Flags().StringVar(&f.pcap, "pcap", "", "also write the packets' headers to a pcapng file, for Wireshark")
	return c
}

// replayFlags are the options of replay.
type replayFlags struct {
	flows  bool
	pcap   string
	redact bool
	write  string
}

// replay gives a recording to the analyser.
type replay struct {
	app      *app
	r        *session.Reader
	h        session.Header
	analyser *analyser
	view     *kube.Snapshot
	aim      *aim
	ahead    *session.Record
	ending   bool
	unseen   bool // it was said that nothing was seen
	last     time.Time
	events   int
	records  int
	damage   error
	// unread is the error that a state of the cluster cannot be read.
	unread  error
	stats   session.Stats
	blind   []tracer.Blind
	tally   tally
	inv     tracer.Inventory
	pcap    *render.Capture
	pcapErr error
}

// capture opens the pcapng file; done closes it and returns the first error.
func (p *replay) capture(name string) (done func() error, err error) {
	file, err := session.CreateFile(name)
	if err != nil {
		return nil, fmt.Errorf("--pcap: %w", err)
	}
	p.pcap, err = render.NewCapture(file, p.h.Node, &p.inv)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error { return errors.Join(p.pcapErr, p.pcap.Close(), file.Close()) }, nil
}

func (p *replay) write(ev *tracer.Event) {
	if p.pcap != nil && p.pcapErr == nil {
		p.pcapErr = p.pcap.Add(ev)
	}
}

func openRecording(file string) (*session.Reader, error) {
	r, err := session.Open(file)
	if errors.Is(err, session.ErrNotSession) {
		return nil, &hinted{err, "a recording is what podpath trace --write FILE makes"}
	}
	return r, err
}

func (a *app) replay(ctx context.Context, file string, f replayFlags) (err error) {
	printer, err := a.printer()
	if err != nil {
		return err
	}
	r, err := openRecording(file)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	p := &replay{app: a, r: r, h: r.Header()}
	if p.h.Redacted {
		a.say("the recording is redacted: names and addresses are pseudonyms")
	}
	if f.pcap != "" {
		if err := notOnto("--pcap", file, f.pcap); err != nil {
			return err
		}
		done, err := p.capture(f.pcap)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
	}
	p.analyser = newAnalyser(p.h.Node, func(tracer.Tuple) bool { return p.h.From == "" })
	p.analyser.view = func(time.Time) *kube.Snapshot { p.peekCluster(); return p.view }
	p.analyser.ask, p.analyser.behindOnce = p.facts, p.h.BehindOnce
	var printErr error
	p.analyser.emit = func(v *tracer.Verdict) bool {
		if p.unread != nil {
			return false
		}
		p.tally.add(v)
		inv := &p.analyser.inv
		if f.flows && len(v.Journey.Hops) > 0 {
			printErr = printer.Print(render.NewFlow(v.Journey, v.Cluster, inv, v.Node, v.Outcome))
		}
		if printErr == nil {
			printErr = printer.Print(render.NewVerdict(v, inv))
		}
		return printErr == nil && !p.peekEnough()
	}
	if err := p.run(ctx); err != nil {
		return err
	}
	if printErr == nil {
		printErr = printer.Print(p.summary())
	}
	if printErr != nil && !errors.Is(printErr, unix.EPIPE) {
		return fmt.Errorf("print results: %w", printErr)
	}
	if code := p.tally.code(); code != exitHealthy {
		return &exitError{code}
	}
	return nil
}

func (p *replay) run(ctx context.Context) error {
	for ctx.Err() == nil {
		rec, ok := p.next()
		if !ok {
			break
		}
		p.take(ctx, rec)
	}
	if p.unread != nil {
		return p.unread
	}
	if p.events == 0 && p.damage != nil && p.records == 0 {
		return p.damage
	}
	if p.damage != nil {
		p.app.say("warning: %v", p.damage)
	}
	if p.damage != nil {
		p.analyser.visibility(append(slices.Clone(p.blind), tracer.Blind{What: "the recording is damaged: " + p.damage.Error(), Effect: "what came after is not known"}))
	}
	if !p.ending {
		p.analyser.tick(p.last, true)
	}
	p.nothingSeen()
	if n := p.r.Skipped(); n > 0 {
		p.app.say("warning: %d records of kinds that this version does not know were skipped", n)
	}
	return ctx.Err()
}

// nothingSeen says so once, as the recorder did, if there was nothing to judge.
func (p *replay) nothingSeen() {
	again := p.unseen
	p.unseen = true
	if again || len(p.tally.codes) > 0 || p.aim == nil {
		return
	}
	flows, standIn := p.aim.unseen()
	p.analyser.unseen(flows, standIn, p.last)
}

// next is the record looked at ahead, or the next one of the file.
func (p *replay) next() (session.Record, bool) {
	if rec := p.ahead; rec != nil {
		p.ahead = nil
		return *rec, true
	}
	if p.unread != nil {
		return session.Record{}, false
	}
	rec, err := p.r.Next()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			p.damage = err
		}
		return rec, false
	}
	p.records++
	return rec, true
}

func (p *replay) take(ctx context.Context, rec session.Record) {
	if !rec.Time.IsZero() {
		p.last = rec.Time
	}
	switch rec.Kind {
	case session.KindEvent:
		p.events++
		p.last = rec.Event.Time
		p.write(rec.Event)
		p.analyser.event(rec.Event)
	case session.KindInventory:
		p.inv = *rec.Inventory
		p.analyser.inventory(*rec.Inventory)
		if p.aim == nil {
			p.peekCluster()
		}
		p.retarget(ctx)
	case session.KindCluster:
		p.cluster(ctx, &rec)
	case session.KindCount:
		p.analyser.count(rec.Count)
	case session.KindBlind:
		p.blind = rec.Blind
		p.analyser.visibility(rec.Blind)
	case session.KindStats:
		p.stats = *rec.Stats
		p.analyser.stats(rec.Time, *rec.Stats)
	case session.KindBudget:
		p.app.say("%s", announcement(rec.Budget))
		p.analyser.step(*rec.Budget)
	case session.KindNote:
		p.ending = p.ending || rec.Note == endNote
		if rec.Note == unconnectedNote {
			p.unconnected(ctx, rec.Time)
		}
	case session.KindTick:
		p.analyser.tick(rec.Time, p.ending)
	case session.KindFacts:
		// No verdict has asked for them: at the end that is what is said of nothing.
		if p.ending && !p.unseen {
			p.ahead = &rec
			p.nothingSeen()
		}
	}
}

// cluster takes a state of the cluster. Where it cannot be read the replay ends:
// without it, or with the one before, others would be blamed than were.
func (p *replay) cluster(ctx context.Context, rec *session.Record) {
	s, _, err := kube.ReadDump(bytes.NewReader(rec.Cluster), "the recording")
	if errors.Is(err, kube.ErrDumpEmpty) {
		p.app.say("warning: the recording's cluster state: %v", err) // so it was for the recorder
		return
	}
	if err != nil {
		p.unread = &hinted{
			fmt.Errorf("the cluster's state in the recording cannot be read: %w", err),
			"every verdict rests on it: replay with the podpath that wrote it (" + p.h.Podpath + "), or record again",
		}
		return
	}
	p.view = s
	p.retarget(ctx)
}

// unconnected judges a pod without an address, as the recorder did.
func (p *replay) unconnected(ctx context.Context, now time.Time) {
	ends, ok := p.ends()
	if !ok || p.view == nil {
		return
	}
	if u, err := ends.unconnected(ctx, p.view); err == nil && u != nil {
		p.analyser.unconnected(u, now)
	}
}

// ends are those that the recorder was asked for.
func (p *replay) ends() (endpoints, bool) {
	ends, err := parseEndpoints(p.h.From, p.h.To, p.h.Selector, p.h.Namespace, p.h.Node)
	ends.names = recordedNames(p.h.Hosts)
	return ends, err == nil
}

// retarget selects the flows that were asked for, as the recorder did. It may be
// called while the analyser decides, and has its lock.
func (p *replay) retarget(ctx context.Context) {
	if p.h.From == "" {
		return
	}
	ends, ok := p.ends()
	if !ok {
		return
	}
	view := p.view
	if view == nil {
		view = &kube.Snapshot{}
	}
	if aim, err := ends.resolve(ctx, view); err == nil {
		aim.addHost(view, &p.inv, p.h.Node)
		p.aim = aim
		// The analyser may be the one that asks for the cluster, in the middle of a
		// verdict: it is locked then, and nobody else is there.
		p.analyser.joiner.SetWant(aim.want)
		p.analyser.untried = p.analyser.untried.of(aim)
		if p.h.Upstream {
			p.analyser.followed = aim.upstream.pods
		}
	}
}

// peekCluster takes a cluster record that stands right here.
func (p *replay) peekCluster() {
	rec, ok := p.next()
	if !ok {
		return
	}
	if rec.Kind == session.KindCluster {
		p.cluster(context.Background(), &rec)
		return
	}
	p.ahead = &rec
}

// peekEnough takes the note, if it stands right here, that no more verdicts were
// wanted.
func (p *replay) peekEnough() bool {
	rec, ok := p.next()
	if !ok {
		return false
	}
	if rec.Kind == session.KindNote && rec.Note == enoughNote {
		return true
	}
	p.ahead = &rec
	return false
}

// facts gives the answer that the recorder got at this point.
func (p *replay) facts(id uint64, _ tracer.Query) *tracer.NodeFacts {
	rec, ok := p.next()
	if !ok {
		return nil
	}
	if rec.Kind == session.KindFacts && rec.Journey == id {
		return rec.Facts
	}
	p.ahead = &rec
	return nil
}

func (p *replay) summary() *render.Summary {
	s := render.NewSummary()
	s.Time, s.Node, s.Tier = p.last, p.h.Node, p.h.Tier
	s.Duration = p.last.Sub(p.h.Started).Round(time.Millisecond).String()
	s.Flows = p.tally.flows
	for k, n := range p.tally.codes {
		s.Verdicts[k] = n
	}
	s.Shares = p.analyser.shares()
	s.Events, s.Lost = p.stats.Seen, p.stats.Lost
	if p.stats.Counters != nil {
		s.Counters = p.stats.Counters
	}
	if p.h.MaxEvents > 0 {
		s.Budget = &render.Budget{MaxCPU: p.h.MaxCPU, MaxEvents: p.h.MaxEvents, Held: p.stats.Held, Steps: append([]tracer.BudgetStep{}, p.analyser.budget.steps...)}
	}
	if p.blind != nil {
		s.Blind = p.blind
	}
	return s
}
