package node

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// actionKey tells an action of a filter from all others of the node.
type actionKey struct {
	dev           tracer.DeviceKey
	side          string
	chain, handle uint32
	priority      uint16
	order         int
	kind          string
	index         uint32
}

func keyOfAction(d tracer.DeviceKey, side string, f *tcFilter, order int) actionKey {
	a := &f.actions[order]
	return actionKey{d, side, f.chain, f.handle, f.priority, order, a.kind, a.index}
}

// filterCounts are how many packets actions had dropped; none stands for 0. unread are
// the namespaces of which not every filter was read.
type filterCounts struct {
	lost   map[actionKey]uint64
	unread map[uint32]bool
}

// countFilters reads those of every device of a namespace.
func (n *Node) countFilters(inode uint32, into *filterCounts) error {
	f, err := n.OpenNetNS(inode)
	if err != nil {
		return err
	}
	defer f.Close()
	return netns.Do(int(f.Fd()), func() error {
		qs, complete, err := dumped(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(nil) })
		if err != nil {
			return fmt.Errorf("list queueing disciplines: %w", err)
		}
		if !complete {
			return errors.New("queueing disciplines changed while being read")
		}
		done := map[int]bool{}
		for _, q := range qs {
			index := q.Attrs().LinkIndex
			if done[index] {
				continue
			}
			done[index] = true
			for _, s := range tcSides(qs, index) {
				fs, err := tcFilters(index, s)
				if errors.Is(err, unix.ENODEV) || isInvalid(err) {
					continue // it went away meanwhile
				}
				if err != nil {
					return fmt.Errorf("list tc filters: %w", err)
				}
				into.add(tracer.DeviceKey{NetNS: inode, IfIndex: uint32(index)}, s.name, fs)
			}
		}
		return nil
	})
}

func (c *filterCounts) add(d tracer.DeviceKey, side string, fs []tcFilter) {
	for i := range fs {
		for order := range fs[i].actions {
			if n := fs[i].actions[order].lost; n > 0 {
				c.lost[keyOfAction(d, side, &fs[i], order)] = n
			}
		}
	}
}

// moved is by how much a count grew since the reading; false if that is not known. A
// namespace, or a filter, that is younger than the reading began with zero, and so did
// one that has less than it had.
func (r *reading) moved(k actionKey, lost uint64) (uint64, bool) {
	if r.at.IsZero() || r.filters.unread[k.dev.NetNS] {
		return 0, false
	}
	was := r.filters.lost[k]
	if was > lost {
		was = 0
	}
	return lost - was, true
}

// filters reads the tc filters of one device that may drop, in the calling thread's
// namespace.
func (c *collector) filters(v *view, d tracer.Device, sides []tcSide, from *reading) error {
	var errs []error
	for _, s := range sides {
		fs, err := tcFilters(int(d.IfIndex), s)
		if err != nil {
			errs = append(errs, fmt.Errorf("list tc filters of %s %s: %w", d.Name, s.name, err))
		}
		for i := range fs {
			if fs[i].mayDrop() {
				c.facts.Filters = append(c.facts.Filters, filterFact(v, d, s.name, &fs[i], from))
			}
		}
	}
	return errors.Join(errs...)
}

func filterFact(v *view, d tracer.Device, side string, f *tcFilter, from *reading) tracer.FilterFact {
	out := tracer.FilterFact{Device: d.DeviceKey, Dev: d.Name, Side: side, Kind: f.kind, Chain: f.chain, Priority: f.priority, Handle: f.handle}
	for i := range f.actions {
		a := &f.actions[i]
		x := tracer.FilterAction{Kind: a.kind, Drops: a.drops, RateBytes: a.rateBytes, Lost: a.lost}
		x.Moved, x.Counted = from.moved(keyOfAction(d.DeviceKey, side, f, i), a.lost)
		if l := v.link(a.to); l != nil {
			x.To, x.ToDown = l.Attrs().Name, l.Attrs().RawFlags&unix.IFF_UP == 0 || l.Attrs().RawFlags&unix.IFF_LOWER_UP == 0
		}
		out.Actions = append(out.Actions, x)
	}
	return out
}
