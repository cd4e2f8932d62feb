package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// demoFlags are the options of demo.
type demoFlags struct {
	list  bool
	seed  uint64
	ipv6  bool
	proto string
	write string
	hook  string
}

const (
	defaultFault = "policy-ingress"
	demoTime     = 14 * time.Second
	// afterTraffic is how long the last answers are waited for.
	afterTraffic = 1500 * time.Millisecond
)

// demoFor is how long a fault is traced.
func demoFor(f lab.Fault) time.Duration { return max(demoTime, f.Visible+demoTime/2) }

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	c := &cobra.Command{
		Use:   "demo [FAULT]",
		Short: "Break a small cluster of network namespaces, trace it and explain it",
		Long: `Build a small cluster of network namespaces, break one thing, send real traffic,
trace it as on a node, print the verdict, and remove everything.`,
		Example: "  podpath demo\n  podpath demo --list\n  podpath demo stale-endpoint -o json",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return faultNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.list {
				return a.listFaults()
			}
			name := defaultFault
			if len(args) == 1 {
				name = args[0]
			}
			return a.demo(c.Context(), name, f)
		},
	}
	fs := c.Flags()
	fs.BoolVar(&f.list, "list", false, "list the faults and their codes")
	fs.Uint64Var(&f.seed, "seed", 0, "vary every name, address and port; 0 is the readable default")
	fs.BoolVar(&f.ipv6, "ipv6", false, "send the traffic over IPv6")
	fs.StringVar(&f.proto, "protocol", "", "tcp or udp, for faults that both can show")
	fs.StringVar(&f.write, "write", "", "record the session to a file, for podpath replay; - is standard output")
	fs.StringVar(&f.hook, "hook", "auto", "how packets are seen: auto, tcx or tracepoint")
	return c
}

func faultNames() []string {
	var s []string
	for _, f := range demos() {
		s = append(s, f.Name)
	}
	return s
}

// demos are the faults that leave the rest of the machine alone.
func demos() []lab.Fault {
	return slices.DeleteFunc(lab.Faults(), func(f lab.Fault) bool { return f.Machine })
}

func (a *app) listFaults() error {
	p, err := a.printer()
	if err != nil {
		return err
	}
	for _, f := range demos() {
		err := p.Print(render.NewFault(render.Fault{
			Name: f.Name, Title: f.Title, Description: f.Description, Component: f.Component, Code: f.Code, Healthy: f.Healthy, IPv4Only: f.IPv4Only,
		}))
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) demo(ctx context.Context, name string, f demoFlags) (err error) {
	fault, ok := lab.FindFault(name)
	if !ok {
		return &hinted{fmt.Errorf("no fault is called %q%s", name, nearest(name, faultNames())), "podpath demo --list names them all"}
	}
	if fault.Machine {
		return fmt.Errorf("%s: %w", name, lab.ErrOwnMachine)
	}
	tf := traceFlags{hook: f.hook, write: f.write, firstPackets: 8, duration: demoFor(fault), budget: defaultBudget()}
	if err := tf.check(); err != nil {
		return err
	}
	if tf.write, err = a.recordingTo(tf.write); err != nil {
		return err
	}
	printer, err := a.printer()
	if err != nil {
		return err
	}
	l, err := lab.New(ctx, lab.Options{Seed: f.seed, IPv6: f.ipv6, Protocol: f.proto, Log: a.logger()})
	if err != nil {
		return fmt.Errorf("build the lab: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	sc, err := l.Break(ctx, name)
	if err != nil {
		return err
	}
	a.say("demo: %s: %s", name, fault.Description)
	return a.demoTrace(ctx, l, sc, tf, printer)
}

// demoTrace runs the same trace as on a node, with the cluster's state from the
// lab's dump.
func (a *app) demoTrace(ctx context.Context, l *lab.Lab, sc lab.Scenario, tf traceFlags, printer render.Printer) error {
	dump, err := l.ClusterDump()
	if err != nil {
		return fmt.Errorf("dump the lab's cluster: %w", err)
	}
	snapshot, _, err := kube.ReadDump(bytes.NewReader(dump), "the lab's dump")
	if err != nil {
		return err
	}
	tf.from, tf.to, tf.hostNetNS = sc.From, sc.To, l.NodeNetNS()
	ends, err := parseEndpoints(sc.From, sc.To, "", "default", l.NodeName())
	if err != nil {
		return err
	}
	a.say("demo: podpath trace --node %s --from %s --to %s", l.NodeName(), sc.From, sc.To)
	s, err := a.openSession(ctx, tf, &ends, &clusterSource{store: kube.NewStore(snapshot)})
	if err != nil {
		return err
	}
	defer s.close()
	traffic, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	enough := make(chan struct{})
	go func() {
		_, err := l.Traffic(traffic)
		select {
		case <-time.After(afterTraffic):
		case <-traffic.Done():
		}
		close(enough)
		ended <- err
	}()
	s.enough = enough
	tf.count = 1
	if sc.Code == "ok" || sc.Part || sc.Prelude {
		tf.count = 0 // health, and which part is at fault, show only when all is over
	}
	err = s.trace(ctx, tf, printer)
	stop()
	if terr := <-ended; terr != nil && ctx.Err() == nil && !errors.Is(terr, context.Canceled) {
		return fmt.Errorf("send the demo's traffic: %w", terr)
	}
	if s.tally.codes[sc.Code] == 0 && ctx.Err() == nil {
		a.say("demo: expected %s (%s): please report this", sc.Code, sc.Component)
	}
	return err
}
