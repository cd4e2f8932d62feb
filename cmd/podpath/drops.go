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

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/node"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

// dropFlags are the options of drops.
type dropFlags struct {
	from, to  string
	duration  time.Duration
	noise     bool
	hostNetNS string
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
	defer d.close()
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.run(ctx)
}

// dropReport is one run of drops.
type dropReport struct {
	app     *app
	flags   dropFlags
	printer render.Printer
	cluster *clusterSource
	ends    *endpoints
	aim     *aim
	node    *node.Node
	probe   *probe.Probe
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

func (d *dropReport) close() {
	if d.probe != nil {
		_ = d.probe.Close()
	}
	if d.node != nil {
		_ = d.node.Close()
	}
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
	log := d.app.logger()
	d.probe, err = probe.Open(probe.Config{Logger: log, DropsOnly: true, DropsAll: d.everything()})
	if err != nil {
		return err
	}
	d.node, err = node.New(node.Config{Logger: log, HostNetNS: d.flags.hostNetNS})
	if err != nil {
		return err
	}
	if err := d.retarget(ctx); err != nil {
		return err
	}
	for _, b := range d.probe.Blind() {
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
	d.app.say("ready: counting drops of %s and %s on node %s", d.aim.from.Description, d.aim.to.Description, d.ends.node)
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
			if err := d.retarget(ctx); err != nil && ctx.Err() == nil {
				d.app.say("warning: selection may be out of date: %v", err)
			}
		case <-tick.C:
			if d.flags.duration == 0 {
				if err := d.live(); err != nil {
					return err
				}
			}
		}
	}
}

// rows reads the report, busiest first.
func (d *dropReport) rows() ([]probe.DropCount, error) {
	rows, err := d.probe.DropCounts()
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r probe.DropCount) bool { return r.Drop.Noise != "" && !d.flags.noise })
	slices.SortStableFunc(rows, func(a, b probe.DropCount) int {
		switch {
		case a.Packets > b.Packets:
			return -1
		case a.Packets < b.Packets:
			return 1
		}
		return a.First.Compare(b.First)
	})
	return rows, nil
}

func keyOf(r *probe.DropCount) dropKey {
	return dropKey{r.DeviceKey, r.Drop.Reason, r.Drop.Location, r.Drop.Stage, r.Src, r.Dst, r.Proto, r.DstPort}
}

// live prints what was dropped since the last look.
func (d *dropReport) live() error {
	rows, err := d.rows()
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(a, b probe.DropCount) int { return a.Last.Compare(b.Last) })
	for i := range rows {
		r := &rows[i]
		k := keyOf(r)
		before := d.told[k]
		if r.Packets == before {
			continue
		}
		d.told[k] = r.Packets
		now := *r
		now.Packets -= before
		if err := d.print(&now, countEvery); err != nil {
			return err
		}
	}
	return nil
}

func (d *dropReport) finish() error {
	if d.flags.duration == 0 {
		if err := d.live(); err != nil {
			return err
		}
	} else {
		rows, err := d.rows()
		if err != nil {
			return err
		}
		for i := range rows {
			if err := d.print(&rows[i], time.Since(d.begun)); err != nil {
				return err
			}
		}
	}
	return d.summary()
}

func (d *dropReport) print(r *probe.DropCount, over time.Duration) error {
	if r.Drop.Noise == "" {
		d.found = true
	}
	w := render.NewDrop()
	w.Time, w.Node, w.Reason, w.Location = r.Last, d.ends.node, r.Drop.Reason, r.Drop.Location
	w.Stage, w.Engine, w.Noise = r.Drop.Stage, r.Drop.Engine, r.Drop.Noise
	w.NetNS, w.Count, w.Bytes, w.First, w.Last = r.NetNS, r.Packets, r.Bytes, r.First, r.Last
	w.PerSecond = float64(r.Packets) / over.Seconds()
	w.Example = example(r)
	dev, _ := d.inv.Device(r.DeviceKey)
	w.Device = dev.Name
	w.Workload, w.Owner, w.Direction = d.workload(r, dev)
	return d.printer.Print(w)
}

func example(r *probe.DropCount) string {
	switch {
	case r.Example.IsValid():
		return r.Example.String()
	case r.Src.IsValid():
		return fmt.Sprintf("%s %s > %s", tracer.ProtoName(r.Proto), r.Src, netip.AddrPortFrom(r.Dst, r.DstPort))
	}
	return ""
}

// workload names the pod that lost the packet: the one in whose namespace or on
// whose veth it was dropped, else the one it came from or was for. Direction is
// the packet's, seen from that pod.
func (d *dropReport) workload(r *probe.DropCount, dev tracer.Device) (name, owner, direction string) {
	view := d.cluster.at(r.Last)
	if view == nil {
		return "", "", ""
	}
	src, dst := podAt(view, r.Src), podAt(view, r.Dst)
	in := d.podOn(view, dev)
	switch {
	case in != nil && src == in, in == nil && src != nil && dst == nil:
		return src.Key().String(), view.Owner(src).String(), "egress"
	case dst != nil:
		return dst.Key().String(), view.Owner(dst).String(), "ingress"
	case src != nil:
		return src.Key().String(), view.Owner(src).String(), "egress"
	case in != nil:
		return in.Key().String(), view.Owner(in).String(), ""
	}
	return "", "", ""
}

func podAt(view *kube.Snapshot, a netip.Addr) *kube.Pod {
	p, ok := view.PodByIP(a)
	if !ok {
		return nil
	}
	return p
}

// podOn is the pod whose namespace or veth the device belongs to.
func (d *dropReport) podOn(view *kube.Snapshot, dev tracer.Device) *kube.Pod {
	ns := dev.NetNS
	if dev.Role == tracer.RolePodHost {
		ns = dev.Peer.NetNS
	}
	if ns == 0 || ns == d.inv.HostNetNS {
		return nil
	}
	for i := range d.inv.Devices {
		x := &d.inv.Devices[i]
		if x.NetNS != ns {
			continue
		}
		for _, p := range x.Addrs {
			if pod := podAt(view, p.Addr()); pod != nil {
				return pod
			}
		}
	}
	return nil
}

func (d *dropReport) summary() error {
	s := render.NewSummary()
	s.Time, s.Node = time.Now().Round(0), d.ends.node
	s.Duration = time.Since(d.begun).Round(time.Millisecond).String()
	s.Tier = string(d.probe.Tier())
	s.Blind = append(s.Blind, d.probe.Blind()...)
	s.Cost = ownCost()
	st, err := d.probe.Stats()
	if err != nil {
		return err
	}
	s.Events, s.Lost = st.Seen, st.Lost
	for kind, counters := range st.Hooks {
		for name, n := range counters {
			if n > 0 {
				s.Counters[string(kind)+"."+name] = n
			}
		}
	}
	if s.Drops, err = d.totals(); err != nil {
		return err
	}
	return d.printer.Print(s)
}

// totals: the kernel's exact totals by reason and place, split into drops and
// noise. A place can be noise for some packets only (its stack tells), so the
// rows decide where there are rows.
func (d *dropReport) totals() (*render.DropTotals, error) {
	t := &render.DropTotals{Noise: map[string]uint64{}}
	rows, err := d.probe.DropCounts()
	if err != nil {
		return nil, err
	}
	listed := map[[2]string]uint64{}
	for i := range rows {
		r := &rows[i]
		listed[[2]string{r.Drop.Reason, r.Drop.Location}] += r.Packets
		if r.Drop.Noise != "" {
			t.Noise[r.Drop.Noise] += r.Packets
		} else {
			t.Total += r.Packets
		}
	}
	totals, err := d.probe.DropTotals()
	if err != nil {
		return nil, err
	}
	for i := range totals {
		x := &totals[i]
		rest := x.Packets - min(x.Packets, listed[[2]string{x.Drop.Reason, x.Drop.Location}])
		switch {
		case rest == 0:
		case x.Drop.Noise != "":
			t.Noise[x.Drop.Noise] += rest
		default:
			t.Total += rest
			t.Unlisted += rest
		}
	}
	return t, nil
}
