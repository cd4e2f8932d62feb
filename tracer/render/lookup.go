package render

import (
	"time"

	"github.com/podpath/podpath/tracer"
)

// Lookup is what a flow asked of DNS, and what came of it. Names are not read.
type Lookup struct {
	// Resolver is the address that was asked, Server the pod that it was
	// translated to, as NAMESPACE/NAME, if it was one of the cluster's DNS.
	Resolver string `json:"resolver"`
	Server   string `json:"server,omitempty"`
	Asked    int    `json:"asked"`
	Answered int    `json:"answered"`
	// RCode is the gravest of the answers ("NOERROR", "SERVFAIL"), "" without one.
	RCode     string  `json:"rcode,omitempty"`
	LatencyMS float64 `json:"latency_ms,omitempty"` // of the slowest answer
	// Repeated questions were sent again; Truncated answers were cut.
	Repeated  int  `json:"repeated,omitempty"`
	Truncated bool `json:"truncated,omitempty"`
	// SearchMisses are the questions of the search list before this one that
	// found nothing, SearchMS what all of them took.
	SearchMisses int     `json:"search_misses,omitempty"`
	SearchMS     float64 `json:"search_ms,omitempty"`
	// Upstream is what the server asked of others meanwhile, if the lookup did not
	// go well.
	Upstream []Upstream `json:"upstream,omitempty"`
}

// Upstream is what a DNS server asked of another one.
type Upstream struct {
	Resolver  string  `json:"resolver"`
	Protocol  string  `json:"protocol"`
	Asked     int     `json:"asked"`
	Answered  int     `json:"answered"`
	RCode     string  `json:"rcode,omitempty"`
	LatencyMS float64 `json:"latency_ms,omitempty"`
	Refused   bool    `json:"refused,omitempty"`
	// Unshown: single questions on a socket that was there before are not known.
	Unshown bool `json:"unshown,omitempty"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func newLookup(j *tracer.Journey, c *tracer.ClusterFacts) *Lookup {
	l := j.Lookup
	if l == nil {
		return nil
	}
	w := &Lookup{
		Resolver: j.Flow.Dst.String(), Asked: l.Asked, Answered: l.Answered, LatencyMS: milliseconds(l.Slowest),
		Repeated: l.Repeated, Truncated: l.Truncated, SearchMisses: l.Misses, SearchMS: milliseconds(l.Took),
	}
	if l.Answered > 0 {
		w.RCode = tracer.RCodeName(l.RCode)
	}
	if p := c.TargetPod; p != nil && p.DNS {
		w.Server = p.Namespace + "/" + p.Name
	}
	for i := range j.Upstream {
		w.Upstream = append(w.Upstream, newUpstream(&j.Upstream[i]))
	}
	return w
}

func newUpstream(u *tracer.Upstream) Upstream {
	w := Upstream{
		Resolver: u.Resolver.String(), Protocol: tracer.ProtoName(u.Proto), Asked: u.Asked, Answered: u.Answered,
		LatencyMS: milliseconds(u.Slowest), Refused: u.Refused, Unshown: u.Unshown,
	}
	if u.Answered > 0 && u.Proto == tracer.ProtoUDP {
		w.RCode = tracer.RCodeName(u.RCode)
	}
	return w
}
