package verdict

import (
	"fmt"
	"strconv"
	"time"

	"github.com/podpath/podpath/tracer"
)

// A connection that was quiet and is reset as soon as it is used again.
const (
	// shortIdle is the shortest time-out for quiet connections that is in common
	// use outside of a cluster: 60 s of some load balancers, measured less a margin
	// for a client's and their clock; NAT gateways have 240 s and more.
	shortIdle = 55 * time.Second
	// atOnce covers the way there and back of the first packet after the pause, and
	// the time until it is counted.
	atOnce = 2 * time.Second
)

// idleTimeout: the first packet after a pause was answered with a reset by somebody
// who does not know the connection. Whoever ends a connection of its own says so
// with a FIN, or with a reset that acknowledges.
func idleTimeout(in *Input) *Finding {
	j, p, a := in.Journey, in.Journey.Pause, in.answer(tracer.AnswerRST)
	if p == nil || a == nil || !a.Bare || in.Outcome != tracer.OutcomeReset && in.Outcome != tracer.OutcomeResetMidFlow || in.cause() != nil {
		return nil
	}
	if !j.Established || has(j, tracer.AnswerFin) || a.Time.Sub(p.Ended).Abs() > atOnce {
		return nil
	}
	if f := in.expiredHere(p); f != nil {
		f.Evidence = append([]tracer.Evidence{in.seenPause(p), in.seenAnswer(a)}, f.Evidence...)
		return f
	}
	if p.Quiet < shortIdle || !in.external() || in.targetHere() || !j.LeftNode || in.madeHere(a) {
		return nil
	}
	f := &Finding{
		Code: "ext-idle-timeout", Confidence: tracer.Probable, Object: &tracer.Ref{Kind: "ExternalHost", Name: j.Flow.Dst.Addr().String()},
		Summary: fmt.Sprintf("the connection of %s to %s %s was quiet for %s, and the first packet after that was answered with a reset by somebody outside who does not know it any more: a NAT gateway, load balancer or firewall whose idle time was over",
			in.source(), j.Flow.Dst.Addr(), in.port(), inSeconds(p.Quiet)),
		Evidence: []tracer.Evidence{in.seenPause(p), in.seenAnswer(a), in.seenLeft()},
		Blind:    []tracer.Blind{{What: "whether the far host was started anew meanwhile", Effect: "it would have forgotten the connection as well, and answer in the same way"}},
	}
	return f
}

// expiredHere: the node's own conntrack keeps the entries of quiet connections for
// less time than the pause took, and this one was translated.
func (in *Input) expiredHere(p *tracer.Pause) *Finding {
	const setting = "net.netfilter.nf_conntrack_tcp_timeout_established"
	n, err := strconv.Atoi(in.Node.Sysctls[setting])
	_, dnat := in.translation("dnat")
	_, snat := in.translation("snat")
	if kept := time.Duration(n) * time.Second; err != nil || n == 0 || p.Quiet < kept || !dnat && !snat {
		return nil
	}
	f := &Finding{
		Code: "node-conntrack-expired", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("the connection of %s to %s %s was quiet for %s, and conntrack on node %s forgets a connection after %d s: the next packet was not translated as before, and reset",
			in.source(), in.destination(), in.port(), inSeconds(p.Quiet), in.NodeName, n),
		Evidence: []tracer.Evidence{in.seenState(in.NodeName, "%s = %d", setting, n)},
	}
	if in.translatedAnew() {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the connection was translated in two ways: %s", in.translations()))
	}
	return f
}

// translatedAnew: one connection's packets were sent to different ends, or with
// different sources.
func (in *Input) translatedAnew() bool {
	first := map[string]tracer.Translation{}
	for _, t := range in.Journey.Translations {
		if o, ok := first[t.Kind]; ok && o.From == t.From && o.To != t.To {
			return true
		}
		first[t.Kind] = t
	}
	return false
}

func (in *Input) translations() string {
	s := ""
	for i, t := range in.Journey.Translations {
		if i > 0 {
			s += ", then "
		}
		s += fmt.Sprintf("%s to %s", t.Kind, t.To)
	}
	return s
}

func (in *Input) seenPause(p *tracer.Pause) tracer.Evidence {
	return tracer.Evidence{Time: p.Ended, Where: in.NodeName, What: fmt.Sprintf("no packet of the connection for %s, in either direction", inSeconds(p.Quiet))}
}

func inSeconds(d time.Duration) time.Duration { return d.Round(time.Second) }
