package scenario

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// Runner runs scenarios in one cluster.
type Runner struct {
	Cluster *k8s.Cluster
	// Self is the program whose workload command the pods run, Podpath the one
	// that is held against the scenarios.
	Self, Podpath string
	// Seed chooses names, ports and nodes.
	Seed uint64
	// Keep, if set, takes the recordings of what podpath got right, and Scratch is
	// the directory where they are written before.
	Keep    *replays.Folder
	Scratch string
}

// Result is the outcome of one scenario.
type Result struct {
	accuracy.Case
	Flavour string
	Detail  string
	Seconds float64
	replay  replays.Case
}

// Run builds, proves, breaks, traces, heals and removes one scenario.
func (r *Runner) Run(ctx context.Context, s Scenario) Result {
	begun := time.Now()
	out := Result{Flavour: r.Cluster.Flavour.Name}
	err := r.run(ctx, s, &out)
	out.Name, out.Failing, out.Double = s.Name, s.Failing, s.Beside
	if err != nil {
		out.Broken = err.Error()
	}
	out.Seconds = time.Since(begun).Seconds()
	return r.kept(s, out)
}

// kept keeps the recording of a scenario that podpath got right, which is broken
// if that cannot be.
func (r *Runner) kept(s Scenario, out Result) Result {
	if r.Keep == nil || s.Build == nil || !out.Right() {
		return out
	}
	out.replay.Name = s.Name
	if err := r.Keep.Keep(out.replay, r.recording()); err != nil {
		out.Broken = err.Error()
	}
	return out
}

func (r *Runner) run(ctx context.Context, s Scenario, out *Result) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	stage, err := newStage(ctx, r.Cluster, r.Self, r.Seed^hash(s.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.close(context.WithoutCancel(ctx))) }()
	if s.Check != nil {
		return r.check(ctx, s, stage, out)
	}
	scene, err := s.Build(ctx, stage)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if s.Beside {
		if err := stage.alsoBroken(ctx, scene); err != nil {
			return fmt.Errorf("break something else: %w", err)
		}
	}
	if s.Noisy && scene.others == nil {
		if scene.others, err = stage.makeNoise(ctx, scene.Node); err != nil {
			return fmt.Errorf("make noise: %w", err)
		}
	}
	out.Want = scene.Want.answer().String()
	healthy := []workload.Outcome{scene.Healthy}
	if scene.Healthy == "" {
		healthy = []workload.Outcome{workload.OK}
	}
	if scene.Stuck != nil {
		return r.unconnected(ctx, stage, scene, out)
	}
	if err := r.prove(ctx, stage, scene, healthy, "before the fault"); err != nil {
		return err
	}
	if scene.Break != nil {
		if err := scene.Break(ctx); err != nil {
			return fmt.Errorf("break: %w", err)
		}
		heal := scene.healOnce()
		stage.onClose(heal)
		if err := r.prove(ctx, stage, scene, scene.Symptom, "the symptom"); err != nil {
			return err
		}
		if err := r.trace(ctx, scene, out); err != nil {
			return err
		}
		if err := heal(ctx); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
		return r.prove(ctx, stage, scene, healthy, "after it was healed")
	}
	return r.trace(ctx, scene, out)
}

// healOnce heals when it is called first.
func (sc *Scene) healOnce() func(context.Context) error {
	healed := false
	return func(ctx context.Context) error {
		if healed {
			return nil
		}
		healed = true
		return sc.Heal(ctx)
	}
}

// check runs a check as a control: everything is right, or it is not.
func (r *Runner) check(ctx context.Context, s Scenario, stage *Stage, out *Result) error {
	wrong, err := s.Check(ctx, r, stage)
	right := wrong == ""
	out.Case = accuracy.Case{Control: true, Code: healthy.Code, Want: s.About, Got: wrong, Component: right, Coded: right, Named: right}
	return err
}

// prove waits until real traffic ends as it should, three times in a row. It leaves
// no connection behind of which the trace that follows would see the rest.
func (r *Runner) prove(ctx context.Context, stage *Stage, scene *Scene, want []workload.Outcome, what string) error {
	var last string
	err := stage.await(ctx, what, func() bool {
		got, err := r.tries(scene, proofs, cmp.Or(scene.Patience, stage.patience()), "--forget")
		last = fmt.Sprint(got, err)
		if err == nil && !got.all(want...) && got.any(want...) {
			// The kernel sends a host six ICMP errors at once, and then one a
			// second (icmp_ratelimit): let it save up for three.
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
		}
		return err == nil && got.all(want...)
	})
	if err != nil {
		return fmt.Errorf("%w: want %v, got %s", err, want, last)
	}
	return nil
}

func (r *Runner) tries(scene *Scene, n int, limit time.Duration, also ...string) (Tries, error) {
	args := []string{"workload", "dial", scene.Target, "--network", scene.Network, "--count", fmt.Sprint(n),
		"--limit", limit.String(), "--every", "100ms", "--bytes", fmt.Sprint(max(scene.Bytes, 64))}
	if scene.Lookup != "" {
		args = append(args, "--lookup", scene.Lookup)
		if r.Cluster.Flavour.Family() == corev1.IPv6Protocol {
			args = append(args, "--six")
		}
	}
	text, err := scene.Client.Output(r.Self, append(args, also...)...)
	return tries(text), err
}

// trace runs podpath while the client tries, and compares.
func (r *Runner) trace(ctx context.Context, scene *Scene, out *Result) error {
	n := scene.Tries
	if n == 0 {
		n = 2
	}
	kubeconfig := scene.Kubeconfig
	if kubeconfig == "" {
		kubeconfig = r.Cluster.Kubeconfig()
	}
	args := []string{"trace", "--from", scene.From, "--to", scene.To, "--flows"}
	if r.Keep != nil {
		args = append(args, "--write", r.recording())
	}
	p, err := startPodpath(ctx, r.Podpath, scene.Node, kubeconfig, args...)
	if err != nil {
		return err
	}
	if scene.Noise != nil {
		noise, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); scene.Noise(noise) }()
		defer func() { stop(); <-done }()
	}
	got, err := r.amidNoise(ctx, scene, n)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	p.settle(ctx, n)
	if err := p.stop(); err != nil {
		return err
	}
	out.Case = scene.judge(p.verdicts, n)
	out.Misnamed = r.misnamed(scene, p)
	if scene.Want.Code == healthy.Code {
		out.Misnamed = strings.Join(slices.DeleteFunc([]string{out.Misnamed, r.astray(scene, p)}, func(s string) bool { return s == "" }), "; ")
	}
	out.replay = scene.replay()
	out.Detail = fmt.Sprintf("client: %v\n%s\n%s\n%s\n%s", got, &p.errors, out.Misnamed, out.Otherwise, p.text())
	return nil
}

// amidNoise has the client try, and others make noise of every kind meanwhile, if
// there are any.
func (r *Runner) amidNoise(ctx context.Context, scene *Scene, n int) (Tries, error) {
	limit := max(scene.Patience, 5*time.Second)
	if scene.others == nil {
		return r.tries(scene, n, limit)
	}
	before, err := scene.others.counts()
	if err != nil {
		return nil, fmt.Errorf("count the noise: %w", err)
	}
	got, err := r.tries(scene, n, limit)
	if err != nil {
		return nil, err
	}
	return got, scene.others.heard(ctx, before)
}

// recording is where podpath records what it traces.
func (r *Runner) recording() string { return filepath.Join(r.Scratch, "trace.podpath") }

// replay is what a replay of the recording has to say.
func (sc *Scene) replay() replays.Case {
	c := replays.Of("", sc.Want.confidence(), sc.Want.answer())
	c.GoesOn = sc.GoesOn
	return c
}

// misnamed is what is wrong with names anywhere on the paths that were shown.
func (r *Runner) misnamed(scene *Scene, p *podpath) string {
	var wrong []string
	for _, v := range p.verdicts {
		wrong = append(wrong, scene.Want.misnamed(r.Cluster, scene.Node, v.Flow, v.Hops)...)
	}
	for _, f := range p.flows {
		wrong = append(wrong, scene.Want.misnamed(r.Cluster, scene.Node, f.Flow, f.Hops)...)
	}
	slices.Sort(wrong)
	return strings.Join(slices.Compact(wrong), "; ")
}

// Tries are what a client saw.
type Tries []workload.Try

func tries(text string) Tries {
	var all Tries
	for line := range strings.Lines(text) {
		var t workload.Try
		if json.Unmarshal([]byte(line), &t) == nil {
			all = append(all, t)
		}
	}
	return all
}

func (t Tries) all(want ...workload.Outcome) bool {
	return len(t) > 0 && !slices.ContainsFunc(t, func(one workload.Try) bool { return !slices.Contains(want, one.Outcome) })
}

func (t Tries) any(want ...workload.Outcome) bool {
	return slices.ContainsFunc(t, func(one workload.Try) bool { return slices.Contains(want, one.Outcome) })
}

func (t Tries) String() string {
	var words []string
	for _, one := range t {
		words = append(words, fmt.Sprintf("%s %.0f ms", one.Outcome, one.Took.Seconds()*1000))
	}
	return strings.Join(words, ", ")
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(s) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
