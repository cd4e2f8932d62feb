package verdict

import "github.com/podpath/podpath/tracer"

// Network is what the table says of one CNI's ways over a node, for tests that hold
// it against packets of real clusters.
type Network struct {
	Name string
	// Pods is the way from a pod to the node's forwarding.
	Pods []Stop
	// Nodes are the ways from there to another node.
	Nodes []Crossing
}

// Crossing is a way to another node: By says in words how.
type Crossing struct {
	By    string
	Stops []Stop
}

// Stop is a place that a packet passes on such a way, and how it looks there.
type Stop struct {
	Kind tracer.EventKind
	Role tracer.DeviceRole
	// Device is a name, with * for the rest of it, or "" for any.
	Device string
	// Inside is the encapsulation ("vxlan"), "" for none.
	Inside string
	// May: it need not be seen there.
	May bool
}

// At reports whether a device of that name is the stop's.
func (s Stop) At(device string) bool { return named(device, s.Device) }

// Networks are those of the table, by name.
func Networks() map[string]Network {
	all := map[string]Network{}
	for _, n := range networks() {
		out := Network{Name: n.name, Pods: stopsOf(n.pods)}
		for _, c := range n.nodes {
			out.Nodes = append(out.Nodes, Crossing{By: c.by, Stops: stopsOf(c.leg)})
		}
		all[n.name] = out
	}
	return all
}

// Outside is the way out of the cluster, of every network.
func Outside() []Stop { return stopsOf(outside()) }

// Mirrored is a way the other way round.
func Mirrored(stops []Stop) []Stop {
	out := make([]Stop, len(stops))
	for i, s := range stops {
		s.Kind = opposite(s.Kind)
		out[len(out)-1-i] = s
	}
	return out
}

func opposite(k tracer.EventKind) tracer.EventKind {
	if k == tracer.EventTX {
		return tracer.EventRX
	}
	return tracer.EventTX
}

func stopsOf(l leg) []Stop {
	var out []Stop
	for _, s := range l {
		out = append(out, Stop{Kind: s.hook, Role: s.role, Device: s.device, Inside: s.inside, May: s.may})
	}
	return out
}
