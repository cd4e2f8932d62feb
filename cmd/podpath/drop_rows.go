package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

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
	w.Time, w.Node, w.Reason, w.Location = r.Last.UTC(), d.ends.node, r.Drop.Reason, r.Drop.Location
	w.Stage, w.Engine, w.Noise = r.Drop.Stage, r.Drop.Engine, r.Drop.Noise
	w.NetNS, w.Count, w.Bytes, w.First, w.Last = r.NetNS, r.Packets, r.Bytes, r.First.UTC(), r.Last.UTC()
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
	s.Time, s.Node = d.probe.Now().UTC(), d.ends.node
	s.Duration = time.Since(d.begun).Round(time.Millisecond).String()
	s.Tier = string(d.probe.Tier())
	s.Blind = append(s.Blind, d.hidden()...)
	st, err := d.probe.Stats()
	if err != nil {
		return err
	}
	s.Cost, s.Budget = d.budget.cost(&st), d.budget.report(&st)
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
