package scenario

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// named is what podpath called the things of one flow's path.
type named struct {
	cluster *k8s.Cluster
	node    *k8s.Node
	// names are all that were given, as Want.Path has them.
	names []string
	// changed are the translations and tunnels among them.
	changed []string
	wrong   []string
}

// misnamed lists what is wrong with the names on a path: a thing that is called
// by another name than it has, and what is missing of want. Every network
// namespace, address and node of the testbed is known, so that nothing has to
// be taken from podpath.
func (w Want) misnamed(cluster *k8s.Cluster, node *k8s.Node, flow render.FlowRef, hops []render.HopLine) []string {
	n := named{cluster: cluster, node: node}
	n.end(flow.Source)
	n.end(flow.Destination)
	for _, t := range flow.Translations {
		n.translation(t)
	}
	for _, h := range hops {
		n.hop(h)
	}
	for _, want := range w.Path {
		if !slices.Contains(n.names, want) {
			n.wrong = append(n.wrong, "the path does not name "+want)
		}
	}
	if len(w.Path) > 0 {
		for _, got := range n.changed {
			if !slices.Contains(w.Path, got) {
				n.wrong = append(n.wrong, "the path names "+got+", which is not so")
			}
		}
	}
	slices.Sort(n.wrong)
	return slices.Compact(n.wrong)
}

func (n *named) say(format string, args ...any) {
	n.wrong = append(n.wrong, fmt.Sprintf(format, args...))
}

// end checks one end of the flow.
func (n *named) end(e tracer.Endpoint) {
	if e.Name != "" {
		n.names = append(n.names, string(e.Kind)+" "+path.Join(e.Namespace, e.Name))
	}
	if e.Node != "" {
		n.names = append(n.names, "node "+e.Node)
	}
	if e.Owner != "" {
		n.names = append(n.names, "owner "+e.Owner)
	}
	pod := n.podWith(e.IP)
	switch {
	case pod == nil:
		return
	case e.Kind != "pod" || e.Namespace != pod.Namespace || e.Name != pod.Name:
		n.say("%s is called %s %s/%s, and is pod %s/%s", e.IP, e.Kind, e.Namespace, e.Name, pod.Namespace, pod.Name)
	case e.Node != pod.Node || e.Owner != pod.Owner:
		n.say("pod %s is said to be on %q and of %q, and is on %q and of %q", e.Name, e.Node, e.Owner, pod.Node, pod.Owner)
	}
}

// translated is how Want.Path has a translation, without ports.
func translated(kind, from, to string) string { return kind + " " + from + " to " + to }

// translation checks who a packet is for after it.
func (n *named) translation(t render.Translation) {
	from, err := netip.ParseAddrPort(t.From)
	to, err2 := netip.ParseAddrPort(t.To)
	if err != nil || err2 != nil {
		n.say("a translation of %q to %q", t.From, t.To)
		return
	}
	n.changes(translated(t.Kind, from.Addr().String(), to.Addr().String()))
	if t.ToObject != "" {
		n.names = append(n.names, "to "+t.ToObject)
	}
	pod := n.podWith(to.Addr())
	switch {
	case t.Kind != "dnat" && t.ToObject != "":
		n.say("%s of the source is said to be for %s", t.Kind, t.ToObject)
	case t.Kind == "dnat" && pod != nil && t.ToObject != pod.Namespace+"/pod/"+pod.Name:
		n.say("%s is called %q", t.To, t.ToObject)
	}
}

func (n *named) changes(name string) {
	n.names, n.changed = append(n.names, name), append(n.changed, name)
}

// inTunnel is how Want.Path has packets in a tunnel: the outer destination, and who
// talks to whom inside.
func inTunnel(kind, outer, from, to string) string {
	return fmt.Sprintf("%s to %s of %s > %s", kind, outer, from, to)
}

// tunnel checks that what is sent in one goes to the other node, and what is
// received in one comes to this one, by flannel's way of connecting nodes.
func (n *named) tunnel(h render.HopLine) {
	what, how, in := strings.Cut(h.What, " in ")
	if !in {
		return
	}
	kind, outer, _ := strings.Cut(how, " to ")
	from, to, _ := strings.Cut(h.Tuple, " > ")
	src, err := netip.ParseAddrPort(from)
	dst, err2 := netip.ParseAddrPort(to)
	if err != nil || err2 != nil {
		n.say("%s, %s: the inner packet is %q", h.Where, h.What, h.Tuple)
		return
	}
	n.changes(inTunnel(kind, outer, src.Addr().String(), dst.Addr().String()))
	if kind != n.cluster.Flavour.Backend {
		n.say("%s, %s: nodes are connected by %s", h.Where, h.What, n.cluster.Flavour.Backend)
	}
	for _, node := range n.cluster.Nodes() {
		if own := node == n.node; own == (what == "received") && outer != node.Addr {
			n.say("%s, %s: the other end is %s", h.Where, h.What, node.Addr)
		}
	}
}

// podWith is the pod that has an address of its own, nil if none or several do.
func (n *named) podWith(a netip.Addr) *k8s.Pod {
	var found *k8s.Pod
	for _, p := range n.cluster.Pods() {
		switch {
		case p.HostNetwork || p.Addr != a:
		case found != nil:
			return nil
		default:
			found = p
		}
	}
	return found
}

// hop checks the node and the pod of one sighting, by the network namespace that
// it was made in.
func (n *named) hop(h render.HopLine) {
	n.names = append(n.names, "node "+h.Node)
	if h.Pod != "" {
		n.names = append(n.names, "hop "+h.Pod)
	}
	if h.Node != n.node.Name {
		n.say("a hop of node %s, seen on %s", h.Node, n.node.Name)
	}
	switch pod := n.podIn(h.NetNS); {
	case h.NetNS == 0 || h.NetNS == n.node.Inode():
	case pod == nil:
		n.say("%s is in a network namespace that is neither %s's nor a pod's", h.Where, n.node.Name)
	case pod.Node != n.node.Name:
		n.say("%s is in pod %s of node %s, seen on %s", h.Where, pod.Name, pod.Node, n.node.Name)
	case h.Pod != pod.Namespace+"/"+pod.Name || h.Owner != pod.Owner:
		n.say("%s is called pod %q of %q, and is pod %s/%s of %q", h.Where, h.Pod, h.Owner, pod.Namespace, pod.Name, pod.Owner)
	}
	if h.NetNS == n.node.Inode() && h.Pod != "" {
		n.nodeEnd(h)
	}
	n.tunnel(h)
}

// nodeEnd checks that a device of the node leads to the pod that is named for it.
func (n *named) nodeEnd(h render.HopLine) {
	for _, p := range n.cluster.Pods() {
		if p.HostNetwork || p.Namespace+"/"+p.Name != h.Pod {
			continue
		}
		if peer, err := p.PeerIndex(); err == nil && peer != int(h.IfIndex) {
			n.say("%s is called the node's end of pod %s, which is device %d", h.Where, h.Pod, peer)
		}
		return
	}
	n.say("%s is called the node's end of pod %s, and there is none", h.Where, h.Pod)
}

func (n *named) podIn(netns uint32) *k8s.Pod {
	for _, p := range n.cluster.Pods() {
		if !p.HostNetwork && p.Inode() == netns {
			return p
		}
	}
	return nil
}
