// Command bench measures what tracing costs, on this machine, in one run: the
// packets, round trips, connections and bytes per second that a node forwards
// untraced, under podpath and under what people use today, next to each other;
// what one run of each BPF program takes; how many events per second get
// through; how long attaching to a full node takes; and what a large cluster
// costs.
//
// It judges no ratio. It does fail if podpath's numbers do not add up to what
// the devices and rules counted. Everything happens in network namespaces that
// end with it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	podpath string
	window  time.Duration
	rounds  int
	pods    int
	only    string
	match   *regexp.Regexp
	doc     string
}

// partNames are what -only chooses from.
var partNames = []string{"compare", "events", "cost", "attach", "cluster", "facts"}

func (o *options) wants(part string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), part)
}

// command is what measures the same again.
func (o *options) command() string {
	s := fmt.Sprintf("make bench BENCHTIME=%s ROUNDS=%d PODS=%d", o.window, o.rounds, o.pods)
	if o.only != "" {
		s += " ONLY=" + o.only
	}
	return s
}

func (o *options) checkOnly() error {
	if o.only == "" {
		return nil
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if !slices.Contains(partNames, name) {
			return fmt.Errorf("-only knows no %q, but %s", name, strings.Join(partNames, ", "))
		}
	}
	return nil
}

func main() {
	// This thread's namespace is what /proc/PID/ns/net shows: no goroutine that
	// enters another may be scheduled on it.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var o options
	var match, netns string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.podpath, "podpath", "bin/podpath", "the binary to measure")
	fs.DurationVar(&o.window, "time", 200*time.Millisecond, "length of one measurement")
	fs.IntVar(&o.rounds, "rounds", 6, "how often each is measured")
	fs.IntVar(&o.pods, "pods", 250, "pods on the full node; 0 leaves that out")
	fs.StringVar(&o.only, "only", "", "what to measure, separated by commas: "+strings.Join(partNames, ", ")+"; empty for all")
	fs.StringVar(&match, "match", "", "compare only the tools whose name matches this expression")
	fs.StringVar(&o.doc, "doc", "", "also replace the results in this Markdown file")
	fs.StringVar(&netns, "facts-of", "", "only measure the facts of this network namespace, for the part facts itself")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if netns != "" {
		m, err := factsOf(ctx, netns)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(m)
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes network namespaces and loads BPF programs")
	}
	var err error
	if o.match, err = regexp.Compile(match); err != nil {
		return fmt.Errorf("-match: %w", err)
	}
	if err := o.checkOnly(); err != nil {
		return err
	}
	if o.rounds < 1 || o.window <= 0 {
		return errors.New("-rounds and -time must be positive")
	}
	if o.podpath, err = filepath.Abs(o.podpath); err != nil {
		return err
	}
	spawn, err := newSpawner()
	if err != nil {
		return err
	}
	b := &bench{opts: o, spawn: spawn, out: progress, begun: time.Now()}
	r, err := b.run(ctx)
	if r == nil {
		return err
	}
	text := r.markdown()
	fmt.Fprint(out, text)
	if err == nil && o.doc != "" {
		err = replaceResults(o.doc, text)
	}
	return err
}

// bench is one run.
type bench struct {
	opts  options
	spawn *spawner
	top   *topology
	out   io.Writer
	begun time.Time
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.out, "%4.0fs  %s\n", time.Since(b.begun).Seconds(), fmt.Sprintf(format, args...))
}

// run measures all that was asked for. On an error the report holds what was
// measured before.
func (b *bench) run(ctx context.Context) (*report, error) {
	r := &report{opts: b.opts, machine: describeMachine(), begun: b.begun}
	var err error
	if r.version, err = podpathVersion(ctx, b.opts.podpath); err != nil {
		return nil, err
	}
	if b.top, err = newTopology(ctx, b.spawn, 4); err != nil {
		return nil, fmt.Errorf("build the node: %w", err)
	}
	defer b.top.close()
	if err := errors.Join(b.top.pods[1].space.eatUDP("eth0"), b.top.external.eatUDP("eth0")); err != nil {
		return nil, err
	}
	parts := map[string]func() error{
		"compare": func() (err error) { r.tracers, r.rows, err = b.compare(ctx); return },
		"events":  func() (err error) { r.limits, err = b.eventLimits(ctx); return },
		"cost":    func() (err error) { r.costs, err = b.costs(ctx); return },
		"attach":  func() (err error) { r.attach, err = b.fullNode(ctx); return },
		"cluster": func() (err error) { r.cluster, err = b.cluster(ctx); return },
		"facts":   func() (err error) { r.facts, err = b.facts(ctx); return },
	}
	for _, name := range partNames {
		if !b.opts.wants(name) {
			continue
		}
		b.progress("measuring: %s", name)
		if err := parts[name](); err != nil {
			return r.finish(), fmt.Errorf("measure %s: %w", name, err)
		}
	}
	return r.finish(), nil
}
