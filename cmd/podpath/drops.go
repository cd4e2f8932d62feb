package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

// dropFlags are the options of drops.
type dropFlags struct {
	from, to  string
	duration  time.Duration
	noise     bool
	hostNetNS string
	budget    budgetFlags
}

func (a *app) dropsCommand() *cobra.Command {
	var f dropFlags
	c := &cobra.Command{
		Use:   "drops",
		Short: "Which packets does this node drop: reason, place, workload, owner",
		Long: `Show the packets that this node's kernel drops, as they happen, or with
--duration as a report. Counts are exact at any rate: the kernel keeps them.
Frees that nobody lost a packet to (sockets closed with data unread, multicast
nobody wants) are counted apart.`,
		Example: "  podpath drops --duration 30s\n  podpath drops --from payments/deploy/api\n  podpath drops -o json | jq .reason",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.drops(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.from, "from", "any", "only packets with this endpoint at one end")
	fs.StringVar(&f.to, "to", "any", "only packets with this endpoint at the other end")
	fs.StringVarP(&a.selector, "selector", "l", "", "narrow --from to pods with these labels")
	fs.DurationVar(&f.duration, "duration", 0, "print a report after this time instead of live lines")
	fs.BoolVar(&f.noise, "noise", false, "also list harmless frees")
	fs.StringVar(&f.hostNetNS, "host-netns", "", "path to the node's own network namespace (default: this process's)")
	f.budget.add(c)
	return c
}

func (a *app) drops(ctx context.Context, f dropFlags) error {
	if f.duration < 0 {
		return fmt.Errorf("--duration %s: must not be negative", f.duration)
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
	d := &dropReport{app: a, flags: f, printer: printer, cluster: cluster, ends: &ends, told: map[dropKey]uint64{}}
	defer func() {
		if err := d.closeNode(); err != nil {
			a.logger().Debug("close", "error", err)
		}
	}()
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.run(ctx)
}

// dropReport is one run of drops.
type dropReport struct {
	onNode
	app     *app
	flags   dropFlags
	printer render.Printer
	cluster *clusterSource
	ends    *endpoints
	aim     *aim
	inv     tracer.Inventory
	begun   time.Time
	told    map[dropKey]uint64
	found   bool
}

// dropKey identifies a row of the report.
type dropKey struct {
	dev      tracer.DeviceKey
	reason   string
	place    string
	stage    tracer.Stage
	src, dst netip.Addr
	proto    uint8
	port     uint16
}

// everything: the whole node, not only selected flows.
func (d *dropReport) everything() bool {
	return d.aim.selection.AnyA && d.aim.selection.AnyB && d.aim.from.Port == 0 && d.aim.to.Port == 0
}

func (d *dropReport) open(ctx context.Context) error {
	var err error
	if d.aim, err = d.ends.resolve(ctx, d.cluster.current()); err != nil {
		return err
	}
	if d.onNode, err = d.app.open(probe.Config{DropsOnly: true, DropsAll: d.everything()}, d.flags.budget, d.flags.hostNetNS); err != nil {
		return err
	}
	if err := d.retarget(ctx); err != nil {
		return err
	}
	for _, b := range d.hidden() {
		d.app.say("not visible: %s: %s", b.What, b.Effect)
	}
	return nil
}

func (d *dropReport) retarget(ctx context.Context) error {
	if aim, err := d.ends.resolve(ctx, d.cluster.current()); err == nil {
		d.aim = aim
	}
	inv, err := d.node.Inventory(ctx, d.aim.podIPs...)
	if err != nil {
		return fmt.Errorf("read this node's namespaces and devices: %w", err)
	}
	d.aim.addHost(d.cluster.current(), &inv, d.ends.node)
	d.inv = inv
	if err := d.probe.Select(d.aim.selection); err != nil {
		return fmt.Errorf("select the flows: %w", err)
	}
	namespaces := inv
	namespaces.Devices = nil // the drop hook needs no devices
	return d.probe.SetInventory(namespaces)
}

func (d *dropReport) run(ctx context.Context) error {
	d.begun = time.Now()
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.flags.duration > 0 {
		runCtx, cancel = context.WithTimeout(ctx, d.flags.duration)
		defer cancel()
	}
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	errs := make(chan error, 3)
	ended := make(chan struct{})
	go func() {
		errs <- d.probe.Run(runCtx, func(tracer.Event) {}) // stages and examples of the rows
		close(ended)
	}()
	go func() { errs <- d.node.Watch(runCtx, poke) }()
	go func() { errs <- d.cluster.watch(runCtx, poke) }()
	if st, err := d.probe.Stats(); err == nil {
		d.budget.begin(&st)
	}
	d.app.ready("counting drops of %s and %s on node %s", d.aim.from.Description, d.aim.to.Description, d.ends.node)
	err := d.loop(runCtx, changed, errs)
	cancel()
	<-ended
	if err == nil {
		err = d.finish()
	}
	switch {
	case errors.Is(err, unix.EPIPE):
		return nil
	case err != nil:
		return err
	case ctx.Err() != nil:
		return &exitError{exitInterrupted}
	case d.found:
		return &exitError{exitFault}
	}
	return nil
}

func (d *dropReport) loop(ctx context.Context, changed <-chan struct{}, errs <-chan error) error {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-errs:
			if err != nil && ctx.Err() == nil {
				return err
			}
		case <-changed:
			err := d.retarget(ctx)
			if ctx.Err() != nil {
				continue
			}
			if d.outdated = err; err != nil {
				d.app.say("warning: selection is out of date: %v", err)
			}
		case <-tick.C:
			if st, err := d.probe.Stats(); err == nil {
				d.budget.look(&st)
			}
			if d.flags.duration == 0 {
				if err := d.live(); err != nil {
					return err
				}
			}
		}
	}
}
