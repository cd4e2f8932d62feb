package verdict

import (
	"fmt"
	"strconv"

	"github.com/podpath/podpath/tracer"
)

// conntrackDrop: conntrack itself refused the packet: the table is full, or
// the translated tuple is taken.
func conntrackDrop(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || d.Drop.Engine != "xtables" && d.Drop.Engine != "" || in.ruleFor(d) != nil {
		return nil
	}
	host := in.Inventory.HostNetNS
	ev := []tracer.Evidence{in.seenDrop(d)}
	if n := in.counter(host, "conntrack.insert_failed"); n > 0 && d.CT != nil && d.Tuple.Src != d.CT.Orig.Src {
		return &Finding{
			Code: "egr-snat-port-exhausted", Confidence: tracer.Confirmed, Object: in.nodeRef(),
			Summary:  fmt.Sprintf("node %s found no free source port to translate %s to for %s (insert_failed +%d)", in.NodeName, in.source(), in.Journey.Translated.Dst, n),
			Evidence: append(ev, in.seenState(in.NodeName, "conntrack insert_failed +%d", n)),
		}
	}
	if n := in.droppedByConntrack(d); n > 0 {
		return in.tableFull(n, append(ev, in.seenState(in.NodeName, "conntrack drop +%d", n)))
	}
	return nil
}

// droppedByConntrack is how many packets conntrack counts as dropped, if this may be
// one of them: it drops where flows begin, and then there is no rule to be found.
func (in *Input) droppedByConntrack(d *tracer.DropSeen) uint64 {
	if d.Drop.Engine == "nftables" || d.Drop.Stage != tracer.StagePrerouting && d.Drop.Stage != tracer.StageOutput || in.ruleFor(d) != nil {
		return 0
	}
	return in.counter(in.Inventory.HostNetNS, "conntrack.drop")
}

// From how full a table is, in percent, it explains a drop that is some time ago,
// and from where it proves it: entries come and go.
const (
	tableMayBeFull = 80
	tableIsFull    = 95
)

// tableFull: conntrack counts drops for other reasons as well (a chain too long, a
// clash), so that the table's own fill must agree. The limit 0 is none
// (net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc).
func (in *Input) tableFull(drops uint64, ev []tracer.Evidence) *Finding {
	f := &Finding{
		Code: "node-conntrack-full", Confidence: tracer.Confirmed, Object: in.nodeRef(), Evidence: ev,
		Summary: fmt.Sprintf("the conntrack table of node %s is full: new flows are dropped (drop +%d)", in.NodeName, drops),
	}
	count, limit, known := in.tableUse()
	if !known {
		return f // as recordings of before have it
	}
	if limit == 0 || count*100 < limit*tableMayBeFull {
		return nil
	}
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "net.netfilter.nf_conntrack_count = %d, nf_conntrack_max = %d", count, limit))
	if count*100 < limit*tableIsFull {
		f.Confidence = tracer.Probable
		f.Summary = fmt.Sprintf("the conntrack table of node %s was full: new flows were dropped (drop +%d), and it is at %d %% of its limit now", in.NodeName, drops, count*100/limit)
	}
	return f
}

// tableUse is how many entries conntrack has in the node's namespace, and may have.
func (in *Input) tableUse() (count, limit uint64, known bool) {
	read := func(name string) uint64 {
		v, err := strconv.ParseUint(in.Node.Sysctls["net.netfilter.nf_conntrack_"+name], 10, 32)
		known = known && err == nil
		return v
	}
	known = true
	count, limit = read("count"), read("max")
	return count, limit, known
}
