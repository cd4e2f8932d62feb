package path

import "github.com/podpath/podpath/tracer"

// Query derives from a journey what the node should be asked.
func (jn *Joiner) Query(j *tracer.Journey) tracer.Query {
	q := tracer.Query{Flow: j.Flow, Translated: j.Translated, Last: j.Last}
	if len(j.Hops)+len(j.Drops) > 0 { // a flow that was not seen has tried all the time
		q.Since = j.First
	}
	if d, ok := jn.inv.Owner(j.Flow.Src.Addr()); ok {
		q.SrcNetNS = d.NetNS
	}
	if d, ok := jn.inv.Owner(j.Translated.Dst.Addr()); ok {
		q.DstNetNS = d.NetNS
	}
	for i := range j.Drops {
		q.Drops = append(q.Drops, j.Drops[i].DropSite)
	}
	return q
}
