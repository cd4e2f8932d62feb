package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/verdict"
)

// wiring is which networks of podpath's table a flavour is made of.
type wiring struct {
	pods, nodes string
	// by is the table's word for how they cross to another node.
	by string
	// said are the networks that podpath may name: without a packet that meets
	// flannel's rules, host-gw shows no more than the bridge plugin.
	said [][]string
}

func wiringOf(f k8s.Flavour) wiring {
	w := wiring{pods: "flannel", nodes: "flannel", by: "flannel's VXLAN", said: [][]string{{"flannel"}}}
	if f.Backend == "host-gw" {
		w.by, w.said = "a route of flannel's", append(w.said, []string{"bridge"})
	}
	if f.CNI == k8s.Calico {
		w.pods, w.said = "calico", [][]string{{"flannel", "calico"}}
	}
	return w
}

// rightly: podpath names what connects the pods. On a node that has none, only what
// is there without them shows.
func (w wiring) rightly(said []string, pods bool) bool {
	return slices.ContainsFunc(w.said, func(all []string) bool {
		other := func(name string) bool { return !slices.Contains(all, name) }
		return slices.Equal(all, said) || !pods && !slices.ContainsFunc(said, other)
	})
}

// end is where one end of a flow is, seen from the node that is traced.
type end string

const (
	podHere        end = "a pod here"
	podElsewhere   end = "a pod of the other node"
	thisNode       end = "this node"
	anotherNode    end = "the other node"
	outsideCluster end = "outside"
)

// errUntold: the table says nothing of that way.
var errUntold = errors.New("the table of networks has no such way")

// ways are those that the table knows for packets from one end to another, on a
// node of these networks.
func (w wiring) ways(table map[string]verdict.Network, from, to end) ([][]verdict.Stop, error) {
	heads, err := w.legs(table, from)
	if err != nil {
		return nil, err
	}
	tails, err := w.legs(table, to)
	if err != nil {
		return nil, err
	}
	var out [][]verdict.Stop
	for _, h := range heads {
		for _, t := range tails {
			out = append(out, slices.Concat(h, verdict.Mirrored(t)))
		}
	}
	return out, nil
}

// legs are the ways between an end and the node's forwarding, from the end.
func (w wiring) legs(table map[string]verdict.Network, e end) ([][]verdict.Stop, error) {
	switch e {
	case thisNode:
		return [][]verdict.Stop{nil}, nil
	case outsideCluster:
		return [][]verdict.Stop{verdict.Mirrored(verdict.Outside())}, nil
	case podHere:
		return [][]verdict.Stop{table[w.pods].Pods}, nil
	case podElsewhere:
		var out [][]verdict.Stop
		for _, c := range table[w.nodes].Nodes {
			if c.By == w.by {
				out = append(out, verdict.Mirrored(c.Stops))
			}
		}
		return out, nil
	}
	return nil, errUntold
}

// sight is a packet at a place that the testbed knows.
type sight struct {
	kind   tracer.EventKind
	role   tracer.DeviceRole
	device string
	inside string
}

func (s sight) String() string {
	text := map[tracer.EventKind]string{tracer.EventRX: "received by ", tracer.EventTX: "sent by "}[s.kind] + s.device
	if s.inside != "" {
		text += " in " + s.inside
	}
	return text
}

func (s sight) at(stop verdict.Stop) bool {
	return s.kind == stop.Kind && s.role == stop.Role && stop.At(s.device) && s.inside == stop.Inside
}

// apartFrom says where what was seen parts from a way, "" if it took it to its end.
// Every place has to be on the way, and every place of the way that has to be seen
// must have been, in that order.
func apartFrom(way []verdict.Stop, seen []sight) string {
	at := 0
	for _, s := range seen {
		i := slices.IndexFunc(way, s.at)
		if i < 0 {
			return fmt.Sprintf("%s, which is not on the way", s)
		}
		for ; at <= i; at++ {
			if at < i && !way[at].May {
				return fmt.Sprintf("%s, and was not seen before at %s", s, stopText(way[at]))
			}
		}
	}
	for _, stop := range way[at:] {
		if !stop.May {
			return "was not seen at " + stopText(stop)
		}
	}
	return ""
}

func stopText(s verdict.Stop) string {
	return sight{s.Kind, s.Role, fmt.Sprintf("%s %q", s.Role, s.Device), s.Inside}.String()
}

// route is where one flow begins and ends, as the testbed knows it.
type route struct {
	node     *k8s.Node
	from, to end
	// pods are those of the ends that have a network of their own.
	pods []*k8s.Pod
	// unasked: podpath was asked for a pod, and the packets come to another address
	// of it, as a hostPort: they are not its to see before that is translated.
	unasked bool
}

// seen are the sightings of one direction at the ends' own devices and at the
// node's. A bridge that looks for an address sends copies to other pods.
func (r route) seen(hops []render.HopLine, dir tracer.Direction) []sight {
	var out []sight
	for _, h := range hops {
		role := r.roleOf(h)
		if role == "" || h.Direction != dir || h.Mark != "ok" && h.Mark != "answer" || strings.Contains(h.Detail, "ICMP") {
			continue
		}
		what, inside, _ := strings.Cut(h.What, " in ")
		inside, _, _ = strings.Cut(inside, " to ")
		kind := map[string]tracer.EventKind{"sent": tracer.EventTX, "received": tracer.EventRX}[what]
		out = append(out, sight{kind: kind, role: role, device: h.Device, inside: inside})
	}
	return out
}

// roleOf is what the testbed made a device for, "" if it is none of this flow's.
func (r route) roleOf(h render.HopLine) tracer.DeviceRole {
	own := func(is func(*k8s.Pod) bool) bool { return slices.ContainsFunc(r.pods, is) }
	switch {
	case h.NetNS != r.node.Inode():
		if own(func(p *k8s.Pod) bool { return p.Inode() == h.NetNS }) {
			return tracer.RolePod
		}
	case h.Device == "eth0":
		return tracer.RoleUplink
	case h.Device == "cni0":
		return tracer.RoleBridge
	case strings.HasPrefix(h.Device, "flannel"):
		return tracer.RoleTunnel
	case own(func(p *k8s.Pod) bool { peer, err := p.PeerIndex(); return err == nil && peer == int(h.IfIndex) }):
		return tracer.RolePodHost
	}
	return ""
}

// astray is where flows of a healthy scenario did not go as podpath's table of
// networks says that this flavour's packets go, in words: "" if all did.
func (r *Runner) astray(scene *Scene, p *podpath) string {
	w, table := wiringOf(r.Cluster.Flavour), verdict.Networks()
	var wrong []string
	compared := 0
	for _, v := range p.verdicts {
		if !w.rightly(v.CNI, r.hasPods(scene.Node)) {
			wrong = append(wrong, fmt.Sprintf("pods are said to be connected by %v, and are by %v", v.CNI, w.said))
		}
		for _, e := range v.Evidence {
			if strings.HasPrefix(e.What, "expected ") {
				wrong = append(wrong, "a healthy flow is said to have left its way: "+e.What)
			}
		}
		flow := r.route(scene, v.Flow)
		ways, err := w.ways(table, flow.from, flow.to)
		if err != nil {
			continue
		}
		compared++
		wrong = append(wrong, flow.offEach(ways, v.Hops)...)
	}
	if (compared > 0) != (scene.Want.Untold == "") {
		wrong = append(wrong, fmt.Sprintf("%d flows were compared with the table of networks, which is to say nothing of them because %q", compared, scene.Want.Untold))
	}
	slices.Sort(wrong)
	return strings.Join(slices.Compact(wrong), "; ")
}

// offEach: the packets took none of the ways that the table knows, there and back.
func (r route) offEach(ways [][]verdict.Stop, hops []render.HopLine) []string {
	there, back := r.seen(hops, tracer.DirRequest), r.seen(hops, tracer.DirReply)
	wrong := []string{fmt.Sprintf("the table of networks has %d ways from %s to %s, and the packets took none", len(ways), r.from, r.to)}
	for _, way := range ways {
		if way = slices.Clone(way); r.unasked && len(way) > 0 {
			way[0].May = true
		}
		parts := apartFrom(way, there)
		if parts == "" {
			parts = apartFrom(verdict.Mirrored(way), back)
		}
		if parts == "" {
			return nil
		}
		wrong = append(wrong, fmt.Sprintf("a packet from %s to %s was %s", r.from, r.to, parts))
	}
	return wrong
}

// route is where a flow of the scene's client begins and where it leads in the end.
func (r *Runner) route(scene *Scene, f render.FlowRef) route {
	out := route{node: scene.Node}
	from := out.place(scene.Client, r.Cluster)
	dst := f.Destination.IP
	for _, t := range f.Translations {
		if to, err := netip.ParseAddrPort(t.To); err == nil && strings.EqualFold(t.Kind, "dnat") {
			dst = to.Addr()
			out.unasked = strings.Contains(scene.To, "/pod/")
		}
	}
	out.from, out.to = from, out.place(r.placeWith(dst), r.Cluster)
	return out
}

// place is where a place is, seen from the node, and takes note of a pod.
func (r *route) place(p Place, c *k8s.Cluster) end {
	if e, ok := p.(execed); ok {
		p = e.pod
	}
	pod, isPod := p.(*k8s.Pod)
	switch {
	case isPod && !pod.HostNetwork && pod.Node == r.node.Name:
		r.pods = append(r.pods, pod)
		return podHere
	case isPod && !pod.HostNetwork:
		return podElsewhere
	case isPod && pod.Node == r.node.Name, p == r.node.Space:
		return thisNode
	case p == c.Outside:
		return outsideCluster
	}
	return anotherNode
}

// hasPods: the node has pods with a network of their own.
func (r *Runner) hasPods(n *k8s.Node) bool {
	return slices.ContainsFunc(r.Cluster.Pods(), func(p *k8s.Pod) bool { return !p.HostNetwork && p.Node == n.Name })
}

// placeWith is who has an address: a pod, a node, or else the outside.
func (r *Runner) placeWith(a netip.Addr) Place {
	for _, p := range r.Cluster.Pods() {
		if !p.HostNetwork && slices.Contains(p.Addrs, a) {
			return p
		}
	}
	for _, n := range r.Cluster.Nodes() {
		if n.Addr == a.String() {
			return n.Space
		}
	}
	return r.Cluster.Outside
}
