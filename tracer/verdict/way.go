package verdict

import (
	"slices"

	"github.com/podpath/podpath/tracer"
)

// way is a whole way of one direction over this node.
type way struct {
	by    string // how it reaches another node, "" if it does not
	stops leg
}

// place is where an end of a flow is, seen from this node.
type place int

const (
	unknownPlace place = iota
	podHere
	hostHere
	podElsewhere
	outsideCluster
)

// ways are those that the networks of this node may send a direction of the flow,
// none if that is not known.
func (in *Input) ways(dir tracer.Direction) []way {
	var out []way
	here := in.networksHere()
	from, to := in.sourcePlace(), in.targetPlace()
	if from == podElsewhere && to == podElsewhere || len(here) == 0 {
		return nil
	}
	for _, head := range in.legs(here, from) {
		for _, tail := range in.legs(here, to) {
			w := way{by: head.by + tail.by, stops: append(slices.Clone(head.stops), mirrored(tail.stops)...)}
			if dir == tracer.DirReply {
				w.stops = mirrored(w.stops)
			}
			out = append(out, w)
		}
	}
	return out
}

func (in *Input) sourcePlace() place {
	p := in.Cluster.SourcePod
	switch src := in.Journey.SrcDevice; {
	case src != (tracer.DeviceKey{}) && in.onHost(src):
		return hostHere
	case src != (tracer.DeviceKey{}):
		return podHere
	case p != nil && !p.HostNetwork && p.Node != "" && p.Node != in.NodeName:
		return podElsewhere
	}
	return unknownPlace
}

func (in *Input) targetPlace() place {
	p := in.Cluster.TargetPod
	switch dst := in.Journey.DstDevice; {
	case dst != (tracer.DeviceKey{}) && in.onHost(dst):
		return hostHere
	case dst != (tracer.DeviceKey{}):
		return podHere
	case p != nil && p.HostNetwork || in.Cluster.Target.Kind == tracer.KindNode:
	case p != nil && p.Node != "" && p.Node != in.NodeName, p == nil && in.Cluster.InPodCIDR != "" && in.Cluster.InPodCIDR != in.NodeName:
		return podElsewhere
	case in.unserved(), in.external() && !in.otherTunnel():
		return outsideCluster
	}
	return unknownPlace
}

// otherTunnel: the node has a tunnel that is none of its networks' (a VPN, a
// gateway), and what goes outside may be meant to go by it.
func (in *Input) otherTunnel() bool {
	known := in.crossings(in.networksHere())
	return in.hasDevice(func(d *tracer.Device) bool {
		return d.Role == tracer.RoleTunnel && !slices.ContainsFunc(known, func(c crossing) bool {
			return c.leg[0].role == tracer.RoleTunnel && named(d.Name, c.leg[0].device)
		})
	})
}

// unserved: a Service's address that was to be translated here was not, so that it
// goes where the default route leads.
func (in *Input) unserved() bool { return in.untranslated() && in.expectsTranslation() }

// legs are the ways between an end and the node's forwarding, from the end.
func (in *Input) legs(here []network, p place) []way {
	var out []way
	switch p {
	case hostHere:
		return []way{{}}
	case outsideCluster:
		return []way{{stops: mirrored(outside())}}
	case podHere:
		for _, n := range here {
			out = append(out, way{stops: n.pods})
		}
	case podElsewhere:
		for _, c := range in.crossings(here) {
			out = append(out, way{by: c.by, stops: mirrored(c.leg)})
		}
	}
	return out
}

// crossings are those that the node is set up for: tunnels that it has.
func (in *Input) crossings(here []network) []crossing {
	var out, bare []crossing
	tunnels := false
	for _, n := range here {
		for _, c := range n.nodes {
			switch {
			case c.bare:
				bare = append(bare, c)
			case c.leg[0].role != tracer.RoleTunnel:
				out = append(out, c)
			case in.hasDevice(func(d *tracer.Device) bool { return d.Role == tracer.RoleTunnel && named(d.Name, c.leg[0].device) }):
				out, tunnels = append(out, c), true
			}
		}
	}
	if !tunnels {
		out = append(out, bare...)
	}
	return out
}

// mirrored is a leg the other way round.
func mirrored(l leg) leg {
	out := slices.Clone(l)
	slices.Reverse(out)
	for i, s := range out {
		out[i].hook = opposite(s.hook)
	}
	return out
}
