package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Input is all that the rules may look at: one journey and the facts of that
// moment. Node and Cluster are never nil; empty ones mean "not known".
type Input struct {
	Journey *tracer.Journey
	Outcome tracer.Outcome
	Node    *tracer.NodeFacts
	Cluster *tracer.ClusterFacts
	// Inventory names the devices.
	Inventory *tracer.Inventory
	NodeName  string
	Now       time.Time
	Blind     []tracer.Blind
	// Lost counts events that the kernel could not hand over: with losses,
	// "not seen" proves nothing.
	Lost uint64
	// Held counts events that the tracer's budget held back while this flow
	// lived, of all flows; they are in the counts that the journey knows.
	Held uint64
	// DevicesOff: the budget kept devices from being watched while it lived.
	DevicesOff bool
	// Unwatched: devices took no program while it lived.
	Unwatched bool
	// Unheard: what one of the ends receives passes no hook.
	Unheard bool
	// StandIn: nothing was seen, and the destination stands for any outside.
	StandIn bool
	// Beside is what became of the trace's other connections to where this one
	// goes, nil if that is not known or this one did not fail.
	Beside *Group
	// Outside is what became of the others that left the node as this one did, nil
	// if this one was answered or did not leave for the outside.
	Outside *Departures
	// Within is the verdict, with its summary as why, on a connection that the
	// target began when it had just got this request, and that failed.
	Within *tracer.AlsoSeen
	// Untried is set for a lookup that failed and was not followed by the connection
	// that was asked for.
	Untried *Untried
	// Followed: what a DNS pod of this node asks of servers outside is watched.
	Followed bool
	// Behind is, for a lookup, the verdict on what the DNS server asked of others
	// for it; nil if that went well or was not seen.
	Behind *tracer.Verdict

	networks []network // that can be told, from the engine
	// reported is a drop that was not recorded, but that the node told the client.
	reported *tracer.DropSeen
}

func (in *Input) device(k tracer.DeviceKey) tracer.Device {
	d, ok := in.Inventory.Device(k)
	if !ok {
		d.DeviceKey = k
	}
	return d
}

// nameOf is a device's own name.
func (in *Input) nameOf(k tracer.DeviceKey) string {
	if d := in.device(k); d.Name != "" {
		return d.Name
	}
	if k.IfIndex == 0 {
		return "(no device)"
	}
	return fmt.Sprintf("device %d", k.IfIndex)
}

// where names a device as people know it: "n1 cali12ab", or "shop/checkout
// eth0" inside a pod.
func (in *Input) where(k tracer.DeviceKey) string {
	name := in.nameOf(k)
	if in.onHost(k) {
		return in.NodeName + " " + name
	}
	c := in.Cluster
	switch {
	case in.inSource(k) && c.SourcePod != nil:
		return c.SourcePod.Namespace + "/" + c.SourcePod.Name + " " + name
	case in.inTarget(k) && c.TargetPod != nil:
		return c.TargetPod.Namespace + "/" + c.TargetPod.Name + " " + name
	}
	if b := in.bystander(k); b != nil {
		return b.Namespace + "/" + b.Name + " " + name
	}
	return "pod " + name
}

func (in *Input) onHost(k tracer.DeviceKey) bool { return k.NetNS == in.Inventory.HostNetNS }

// inSource: the device is in the client pod's own namespace.
func (in *Input) inSource(k tracer.DeviceKey) bool {
	return !in.onHost(k) && k.NetNS != 0 && k.NetNS == in.Journey.SrcDevice.NetNS
}

// inTarget: the device is in the target pod's own namespace.
func (in *Input) inTarget(k tracer.DeviceKey) bool {
	return !in.onHost(k) && k.NetNS != 0 && k.NetNS == in.Journey.DstDevice.NetNS
}

// onNode: the device is in the node's own namespace, as far as is known.
func (in *Input) onNode(k tracer.DeviceKey) bool {
	return k.NetNS == 0 || in.Inventory.HostNetNS == 0 || in.onHost(k)
}

// onTheWay: the device is in a namespace that is neither the node's nor one of the
// ends': a gateway's or VPN's pod, or a node that is a container. What is dropped
// there is not the node's doing.
func (in *Input) onTheWay(k tracer.DeviceKey) bool {
	return !in.onNode(k) && !in.inSource(k) && !in.inTarget(k)
}

// bystander is the pod that has such a namespace, nil if none is known.
func (in *Input) bystander(k tracer.DeviceKey) *tracer.Bystander {
	for i := range in.Cluster.Bystanders {
		if b := &in.Cluster.Bystanders[i]; b.NetNS == k.NetNS && in.onTheWay(k) {
			return b
		}
	}
	return nil
}

func (in *Input) targetHere() bool { return in.Journey.DstDevice != (tracer.DeviceKey{}) }

// policiesKnown: what the cluster's policies say of the flow is known, also that
// they say nothing.
func (in *Input) policiesKnown() bool {
	return in.Cluster.Known && !in.unread("NetworkPolicy") && !in.unread("Namespace") && !slices.ContainsFunc(clusterWide(), in.unread)
}

// servicesKnown: an address that is no Service's is known to be none's.
func (in *Input) servicesKnown() bool {
	return in.Cluster.Known && !in.unread("Service") && !in.unread("EndpointSlice")
}

func (in *Input) unread(kind string) bool { return slices.Contains(in.Cluster.Unread, kind) }

// external: the flow's destination belongs to nothing in the cluster.
func (in *Input) external() bool {
	return in.servicesKnown() && in.Cluster.Destination.Kind == tracer.KindExternal &&
		in.Cluster.InPodCIDR == "" && !in.Cluster.InServiceRange
}

// translation finds the observed translation of a kind ("dnat", "snat"), the
// newest of several.
func (in *Input) translation(kind string) (tracer.Translation, bool) {
	for _, t := range slices.Backward(in.Journey.Translations) {
		if t.Kind == kind {
			return t, true
		}
	}
	return tracer.Translation{}, false
}

// drop returns the first drop of the flow itself that a test accepts.
func (in *Input) drop(test func(*tracer.DropSeen) bool) *tracer.DropSeen {
	for i := range in.Journey.Drops {
		d := &in.Journey.Drops[i]
		if !d.ARP && !d.ICMPError && test(d) {
			return d
		}
	}
	return nil
}

// cause is the drop to explain, and not a socket's answer. A packet dies once:
// where most of the tries died is what keeps the flow from working, and a single
// loss elsewhere is not. Of equals, the request's before the answer's, then the
// earliest.
func (in *Input) cause() *tracer.DropSeen {
	if in.delivered() {
		return nil
	}
	var best *tracer.DropSeen
	for i := range in.Journey.Drops {
		d := &in.Journey.Drops[i]
		if !d.ARP && !d.ICMPError && d.Drop.Stage != tracer.StageSocket && !in.overcome(d) && (best == nil || graver(d, best)) {
			best = d
		}
	}
	if best == nil {
		return in.reported
	}
	return best
}

// overcome: one segment was lost, and what was sent after it came to its end, so
// that the loss is not why the connection fails. What is lost for good would have
// been lost again when it was sent again.
func (in *Input) overcome(d *tracer.DropSeen) bool {
	j := in.Journey
	if j.Flow.Proto != tracer.ProtoTCP || d.Count > 1 || neighbourFailed(d) {
		return false
	}
	return slices.ContainsFunc(j.Hops, func(h tracer.Hop) bool {
		return h.Direction == d.Direction && h.Last.After(d.Last) && in.atEnd(&h)
	})
}

// atEnd: the sighting is the last of its direction on this node: in the pod that
// it was for, or where it left for another machine.
func (in *Input) atEnd(h *tracer.Hop) bool {
	switch {
	case h.Kind == tracer.EventTX:
		return in.onHost(h.Device) && in.device(h.Device).Role == tracer.RoleUplink
	case h.Direction == tracer.DirRequest:
		return in.inTarget(h.Device)
	}
	return in.inSource(h.Device)
}

func graver(d, than *tracer.DropSeen) bool {
	// A bridge that looks for an unknown port gives everybody a copy.
	if a, b := at(d, "OTHERHOST"), at(than, "OTHERHOST"); a != b {
		return b
	}
	if d.Count != than.Count {
		return d.Count > than.Count
	}
	return d.Direction == tracer.DirRequest && than.Direction == tracer.DirReply
}

// causeIf is the cause if it passes a test.
func (in *Input) causeIf(test func(*tracer.DropSeen) bool) *tracer.DropSeen {
	if d := in.cause(); d != nil && test(d) {
		return d
	}
	return nil
}

// lost is the cause if it passes a test, or else a drop at a socket that does: the
// socket's answer it is not, but its protocol's, to a packet that is broken or has
// no room. A single one, or fewer than were dropped on the way, is no cause.
func (in *Input) lost(test func(*tracer.DropSeen) bool) *tracer.DropSeen {
	c := in.cause()
	if c != nil && test(c) {
		return c
	}
	if in.delivered() {
		return nil
	}
	return in.drop(func(d *tracer.DropSeen) bool {
		return d.Drop.Stage == tracer.StageSocket && in.alike(d) >= 2 && test(d) && (c == nil || graver(d, c))
	})
}

// alike is how often packets were dropped as this one. A tunnel takes the source port
// of its own packets from a hash of the flow, which a client changes when it sends
// again (net.core.txrehash): they are seen as drops of their own.
func (in *Input) alike(d *tracer.DropSeen) uint64 {
	if !in.encloses(d.Tuple) {
		return d.Count
	}
	ends := func(t tracer.Tuple) tracer.Tuple {
		t.Src = netip.AddrPortFrom(t.Src.Addr(), 0)
		return t
	}
	var n uint64
	for i := range in.Journey.Drops {
		o := &in.Journey.Drops[i]
		if o.Device == d.Device && o.Direction == d.Direction && o.Drop.Reason == d.Drop.Reason && o.Drop.Location == d.Drop.Location && ends(o.Tuple) == ends(d.Tuple) {
			n += o.Count
		}
	}
	return n
}

func (in *Input) delivered() bool { return in.Outcome == tracer.OutcomeDelivered }

func (in *Input) answer(k tracer.AnswerKind) *tracer.Answer {
	for i := range in.Journey.Answers {
		if in.Journey.Answers[i].Kind == k {
			return &in.Journey.Answers[i]
		}
	}
	return nil
}

// icmp finds an ICMP error by a test on (IPv4-style type, code) of either family.
func (in *Input) icmp(test func(*tracer.Answer) bool) *tracer.Answer {
	for i := range in.Journey.Answers {
		a := &in.Journey.Answers[i]
		if a.Kind == tracer.AnswerICMP && test(a) {
			return a
		}
	}
	return nil
}

// madeHere: the answer was first seen being sent on this node (or in one of its
// pods), not arriving from outside. An ICMP error carries the address of who made
// it: one that nobody here has came from outside, even if it was not seen there.
func (in *Input) madeHere(a *tracer.Answer) bool {
	if a.Kind == tracer.AnswerICMP && in.Journey.LeftNode {
		if _, here := in.Inventory.Owner(a.From); !here && a.From != in.Journey.Translated.Dst.Addr() && a.From != in.Journey.Flow.Dst.Addr() {
			return false
		}
	}
	return in.device(a.Device).Role != tracer.RoleUplink || a.Hook == tracer.EventTX
}

func (in *Input) route(question string) *tracer.RouteFact {
	for i := range in.Node.Routes {
		if in.Node.Routes[i].For == question {
			return &in.Node.Routes[i]
		}
	}
	return nil
}

func (in *Input) counter(netns uint32, name string) uint64 { return in.Node.Counters[netns][name] }
