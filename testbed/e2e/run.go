package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/scenario"
	"github.com/podpath/podpath/tracer/verdict"
)

type runFlags struct {
	flavours, only, podpath string
	record, recordings      string
	atOnce                  int
	seed                    uint64
	verbose                 bool
}

func runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run", Short: "Run the scenarios, each flavour in a new cluster, and print what podpath said", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runAll(c.Context(), f) },
	}
	f.add(c)
	return c
}

func (f *runFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.flavours, "flavours", "", "flavours, with commas between (default: all)")
	c.Flags().StringVar(&f.only, "only", "", "scenarios whose name this regular expression matches")
	c.Flags().StringVar(&f.podpath, "podpath", "bin/podpath", "the program that is tested")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "chooses names, ports and nodes")
	c.Flags().IntVar(&f.atOnce, "at-once", 2, "clusters at once")
	c.Flags().StringVar(&f.record, "record", "", "document that takes the accuracy")
	c.Flags().StringVar(&f.recordings, "recordings", "", "directory that takes a recording of each scenario, from the first of the flavours that shows it")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print everything about what is not right")
}

// plan is what runs in a flavour.
func (f *runFlags) plan(flavour string) ([]scenario.Scenario, error) {
	only, err := regexp.Compile(f.only)
	if err != nil {
		return nil, fmt.Errorf("--only: %w", err)
	}
	return slices.DeleteFunc(scenario.All(), func(s scenario.Scenario) bool {
		return !s.Shown(flavour) || !only.MatchString(s.Name) || f.recordings != "" && !f.recorded(s, flavour)
	}), nil
}

// recorded says whether a scenario is recorded in a flavour: if it gives
// verdicts, in the first of the chosen ones that shows it.
func (f *runFlags) recorded(s scenario.Scenario, flavour string) bool {
	chosen, err := f.chosen()
	i := slices.IndexFunc(chosen, func(c k8s.Flavour) bool { return s.Shown(c.Name) })
	return err == nil && s.Build != nil && i >= 0 && chosen[i].Name == flavour
}

func (f *runFlags) chosen() ([]k8s.Flavour, error) {
	if f.flavours == "" {
		return k8s.Flavours(), nil
	}
	var all []k8s.Flavour
	for name := range strings.SplitSeq(f.flavours, ",") {
		one, err := k8s.FlavourOf(name)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func runAll(ctx context.Context, f runFlags) error {
	flavours, err := f.chosen()
	if err != nil {
		return err
	}
	if _, err := k8s.Build(ctx, ".", flavours, os.Stderr); err != nil {
		return err
	}
	all, err := f.runFlavours(ctx, flavours)
	if err != nil {
		return errors.Join(err, scenario.Print(os.Stdout, all))
	}
	if len(all) == 0 {
		return fmt.Errorf("no scenario matches %q", f.only)
	}
	if err := scenario.Print(os.Stdout, all); err != nil {
		return err
	}
	if slices.ContainsFunc(all, scenario.Result.Surprising) {
		return exitError(1)
	}
	return nil
}

// runFlavours runs a few flavours at once: each cluster is in namespaces of its
// own, and most of its time nothing but the end of a time-out is waited for.
func (f *runFlags) runFlavours(ctx context.Context, flavours []k8s.Flavour) ([]scenario.Result, error) {
	results, errs := make([][]scenario.Result, len(flavours)), make([]error, len(flavours))
	plans := make([][]scenario.Scenario, len(flavours))
	for i, flavour := range flavours {
		var err error
		if plans[i], err = f.plan(flavour.Name); err != nil {
			return nil, err
		}
	}
	room := make(chan struct{}, max(1, f.atOnce))
	var all sync.WaitGroup
	for _, i := range longestFirst(plans) {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				results[i], errs[i] = runFlavour(ctx, f.of(flavours[i].Name, plans[i]))
			}
		})
	}
	all.Wait()
	for i, flavour := range flavours {
		if errs[i] == nil && len(results[i]) > 0 {
			errs[i] = f.keep(flavour.Name, results[i])
		}
	}
	return slices.Concat(results...), errors.Join(errs...)
}

// longestFirst is the order in which plans begin, without those that are empty:
// what takes longest must not be what is left for the end.
func longestFirst(plans [][]scenario.Scenario) []int {
	var order []int
	for i, plan := range plans {
		if len(plan) > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(plans[b]), len(plans[a])) })
	return order
}

// of are the flags of a run of one flavour, with just the scenarios of its plan.
func (f runFlags) of(flavour string, plan []scenario.Scenario) runFlags {
	var names []string
	for _, s := range plan {
		names = append(names, regexp.QuoteMeta(s.Name))
	}
	f.flavours, f.only = flavour, "^("+strings.Join(names, "|")+")$"
	return f
}

// keep writes a flavour's accuracy into the document, if there is one.
func (f *runFlags) keep(flavour string, results []scenario.Result) error {
	if f.record == "" {
		return nil
	}
	command := "make e2e FLAVOURS=" + flavour
	if f.only != "" {
		command += " ONLY='" + f.only + "'"
	}
	if f.seed != 1 {
		command += fmt.Sprintf(" SEED=%d", f.seed)
	}
	return accuracy.Record(f.record, accuracy.Run{
		Name: "Real cluster: " + flavour, Command: command, When: time.Now(), Cases: scenario.Cases(results),
	}, verdict.NewCatalogue().Codes())
}

// runFlavour runs the scenarios of a flavour in a process of their own, which
// makes the cluster and takes it away by ending.
func runFlavour(ctx context.Context, f runFlags) ([]scenario.Result, error) {
	run, err := os.MkdirTemp("", "podpath-e2e-")
	if err != nil {
		return nil, err
	}
	results, err := runIn(ctx, f, run)
	return results, errors.Join(err, os.RemoveAll(run))
}

func runIn(ctx context.Context, f runFlags, run string) ([]scenario.Result, error) {
	args := []string{"scenarios", "--flavours", f.flavours, "--only", f.only, "--podpath", f.podpath,
		"--seed", fmt.Sprint(f.seed), "--recordings", f.recordings, "--run", run}
	if f.verbose {
		args = append(args, "-v")
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var results []scenario.Result
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r scenario.Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return results, errors.Join(err, cmd.Wait())
		}
		r.Report(os.Stderr, f.verbose)
		results = append(results, r)
	}
	if err := cmd.Wait(); err != nil {
		return results, fmt.Errorf("flavour %s: %w", f.flavours, err)
	}
	return results, nil
}

// scenariosCommand is the process that holds one cluster.
func scenariosCommand() *cobra.Command {
	var f runFlags
	var run string
	c := &cobra.Command{Use: "scenarios", Hidden: true, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		flavours, err := f.chosen()
		if err != nil {
			return err
		}
		bin, err := k8s.Build(c.Context(), ".", flavours, os.Stderr)
		if err != nil {
			return err
		}
		group := k8s.Isolate(run)
		return f.inside(c.Context(), bin, run, group)
	}}
	f.add(c)
	c.Flags().StringVar(&run, "run", "", "the run folder")
	return c
}

func (f *runFlags) inside(ctx context.Context, bin, run, group string) error {
	flavour, err := k8s.FlavourOf(f.flavours)
	if err != nil {
		return err
	}
	plan, err := f.plan(flavour.Name)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cl, err := k8s.Up(ctx, k8s.Config{Flavour: flavour, Tree: ".", Bin: bin, Run: run, Group: group, Workload: self, Say: os.Stderr})
	if err != nil {
		return err
	}
	program, err := filepath.Abs(f.podpath)
	if err != nil {
		return err
	}
	r := scenario.Runner{Cluster: cl, Self: self, Podpath: program, Seed: f.seed, Scratch: run}
	if f.recordings != "" {
		r.Keep = replays.NewFolder(filepath.Join(f.recordings, flavour.Name))
	}
	out := json.NewEncoder(os.Stdout)
	for _, s := range plan {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := out.Encode(r.Run(ctx, s)); err != nil {
			return err
		}
	}
	return nil
}
