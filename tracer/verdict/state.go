package verdict

import (
	"time"

	"github.com/podpath/podpath/tracer"
)

// What the node read of its devices and of conntrack, asked for one thing. Recordings
// of before have none of it: then nothing is known, and nothing is taken back.

// entryOf is conntrack's entry that the node has for the flow now, nil if none was
// found; asked is false if that is not known.
func (in *Input) entryOf() (e *tracer.TrackedFact, asked bool) {
	for i := range in.Node.Tracked {
		if t := &in.Node.Tracked[i]; t.Orig == in.Journey.Flow && in.onNode(tracer.DeviceKey{NetNS: t.NetNS}) {
			return t, true
		}
	}
	return nil, in.Node.TrackedRead
}

// freshEntry is how much an entry may be older than the first packet that was seen
// and still be made by it: the clocks of both are read at different times.
const freshEntry = time.Second

// older: the entry was there before the flow's first packet was seen, as far as the
// node keeps that; known is false if it does not.
func (in *Input) older(e *tracer.TrackedFact) (older, known bool) {
	if e.Age == 0 || in.Node.At.IsZero() {
		return false, false
	}
	return in.Node.At.Add(-e.Age).Before(in.Journey.First.Add(-freshEntry)), true
}

func (in *Input) seenEntry(e *tracer.TrackedFact) tracer.Evidence {
	if older, known := in.older(e); known {
		when := "made by this flow"
		if older {
			when = "older than what was seen of this flow"
		}
		return in.seenState(in.NodeName, "conntrack entry %s, answered by %s: %s old, %s", e.Orig, e.Reply.Src, e.Age.Round(time.Second), when)
	}
	return in.seenState(in.NodeName, "conntrack entry %s, answered by %s, for another %s", e.Orig, e.Reply.Src, e.Timeout)
}

// bridgePort is the device's place in a bridge, nil if that was not read.
func (in *Input) bridgePort(k tracer.DeviceKey) *tracer.BridgePort {
	for i := range in.Node.Ports {
		if in.Node.Ports[i].Device == k {
			return &in.Node.Ports[i]
		}
	}
	return nil
}

// tunnel is how a tunnel device is set up, nil if that was not read.
func (in *Input) tunnel(k tracer.DeviceKey) *tracer.TunnelFact {
	for i := range in.Node.Tunnels {
		if in.Node.Tunnels[i].Device == k {
			return &in.Node.Tunnels[i]
		}
	}
	return nil
}

// queueOf is a device's queue, one that limits before others; nil if none was read.
func (in *Input) queueOf(k tracer.DeviceKey) *tracer.QueueFact {
	var found *tracer.QueueFact
	for i := range in.Node.Queues {
		if q := &in.Node.Queues[i]; q.Device == k && (found == nil || limits(q) && !limits(found)) {
			found = q
		}
	}
	return found
}

// limits: the discipline lets through so much in a second, and no more.
func limits(q *tracer.QueueFact) bool {
	switch q.Kind {
	case "tbf", "htb", "hfsc", "cake":
		return true
	}
	return q.RateBytes > 0
}

func (in *Input) seenQueue(q *tracer.QueueFact) tracer.Evidence {
	if q.RateBytes > 0 {
		return in.seenState(in.where(q.Device), "queue %s: %d bytes a second, %d packets dropped since it was made", q.Kind, q.RateBytes, q.Drops)
	}
	return in.seenState(in.where(q.Device), "queue %s: %d packets dropped since it was made", q.Kind, q.Drops)
}

// mtuOf is what was read of a device, nil if nothing was.
func (in *Input) mtuOf(k tracer.DeviceKey) *tracer.MTUFact {
	for i := range in.Node.MTUs {
		if in.Node.MTUs[i].Device == k {
			return &in.Node.MTUs[i]
		}
	}
	return nil
}

// remoteEntry is the tunnel device's forwarding entry for the flow's next hop: for
// its MAC address, or the one for all; known is false if the entries were not read in
// full, or the address is not known.
func (in *Input) remoteEntry(t tracer.Device) (e *tracer.ForwardingFact, mac string, known bool) {
	const all = "00:00:00:00:00:00"
	hop := in.Journey.Translated.Dst.Addr()
	if r := in.route("forward"); r != nil && r.Via.IsValid() {
		hop = r.Via
	}
	for _, n := range in.Node.Neighbours {
		if n.Dev == t.Name && n.Addr == hop && n.NetNS == t.NetNS {
			mac = n.MAC
		}
	}
	for i := range in.Node.Forwarding {
		f := &in.Node.Forwarding[i]
		if f.NetNS == t.NetNS && f.Dev == t.Name && f.Remote.IsValid() && (f.MAC == all || mac != "" && f.MAC == mac) {
			return f, f.MAC, true
		}
	}
	return nil, mac, in.Node.ForwardingRead && mac != ""
}
