package verdict

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

const dnsPort = 53

// lookup: the flow asks DNS.
func (in *Input) lookup() bool { return in.Journey.Flow.Dst.Port() == dnsPort }

// nodeLocal: what is asked is the cache on the node itself, by a link-local
// address (NodeLocal DNSCache uses 169.254.20.10).
func (in *Input) nodeLocal() bool {
	return in.lookup() && in.Journey.Flow.Dst.Addr().IsLinkLocalUnicast()
}

// nodeLocalDNS: the node has the cache's address, and nothing answers there.
func nodeLocalDNS(in *Input) *Finding {
	a := in.refusal()
	if a == nil || !in.nodeLocal() || !in.targetHere() || !in.onHost(in.Journey.DstDevice) {
		return nil
	}
	f := &Finding{
		Code: "dns-nodelocal-broken", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("the node-local DNS cache of node %s does not listen on %s: pods are told to ask it, and lookups are refused",
			in.NodeName, in.Journey.Flow.Dst),
		Evidence: []tracer.Evidence{in.seenAnswer(a)},
	}
	if d := in.drop(func(d *tracer.DropSeen) bool { return d.Drop.Reason == "NO_SOCKET" }); d != nil {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	return f
}
