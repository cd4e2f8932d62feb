package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

const (
	// maxTrail bounds the failures that are remembered.
	maxTrail = 256
	// onBehalf is how soon after a request a server asks others for it.
	onBehalf = time.Second
	// ownHabit: what a server also tried so shortly before the request, it does
	// anyway.
	ownHabit = 5 * time.Second
)

// Trail remembers the connections that failed of late, so that a server which does
// not answer can be seen to wait for an answer itself. The zero value is ready; it
// is not safe for concurrent use.
type Trail struct{ failed []failure }

type failure struct {
	src       netip.Addr
	dst       netip.AddrPort
	begun     time.Time
	component tracer.Component
	code      string
	summary   string
}

// Add takes note of a verdict, if it is on a connection that failed.
func (t *Trail) Add(v *tracer.Verdict) {
	j := v.Journey
	if j == nil || len(j.Hops)+len(j.Drops) == 0 || v.Outcome == tracer.OutcomeDelivered {
		return
	}
	if len(t.failed) >= maxTrail {
		t.failed = slices.Delete(t.failed, 0, 1)
	}
	t.failed = append(t.failed, failure{j.Flow.Src.Addr(), j.Flow.Dst, j.First, v.Component, v.Code, v.Summary})
}

// Within is the connection that the target of a flow began when it had just got
// the request, and that failed; nil if there is none, or the target makes such
// connections without being asked.
func (t *Trail) Within(j *tracer.Journey) *tracer.AlsoSeen {
	server := j.Translated.Dst.Addr()
	own := func(f failure) bool { return f.src == server && f.dst != j.Flow.Dst }
	i := slices.IndexFunc(t.failed, func(f failure) bool { return own(f) && soonAfter(f.begun, j) })
	if i < 0 {
		return nil
	}
	f := t.failed[i]
	habit := func(x failure) bool {
		return own(x) && x.dst == f.dst && x.begun.Before(j.First) && j.First.Sub(x.begun) <= ownHabit
	}
	if slices.ContainsFunc(t.failed, habit) {
		return nil
	}
	return &tracer.AlsoSeen{Component: f.component, Code: f.code, Why: f.summary}
}

func soonAfter(begun time.Time, j *tracer.Journey) bool {
	return !begun.Before(j.First) && begun.Sub(j.First) <= onBehalf
}

// Waits reports whether a flow with that outcome had reached a server, which then
// did not answer as it should, and so may wait for somebody else.
func Waits(o tracer.Outcome) bool {
	switch o {
	case tracer.OutcomeConnectedNoData, tracer.OutcomeReset, tracer.OutcomeResetMidFlow, tracer.OutcomeDNSError, tracer.OutcomeSlow:
		return true
	}
	return false
}

// Awaits reports whether the target of a flow began another one when it had just
// got the request, so that the flow is better judged after it.
func Awaits(j, own *tracer.Journey) bool {
	return own.Flow.Src.Addr() == j.Translated.Dst.Addr() && own.Flow.Dst != j.Flow.Dst && soonAfter(own.First, j)
}

// waits are the codes of a target that has the request and does not answer as it
// should: it may wait for somebody else.
func waits() []string {
	return []string{"app-hang", "app-reset", "dns-servfail", "dns-slow"}
}

// waited puts first what the server itself failed to reach meanwhile.
func (in *Input) waited(v *tracer.Verdict) {
	own := in.Within
	if own == nil || !slices.Contains(waits(), v.Code) {
		return
	}
	v.AlsoSeen = append([]tracer.AlsoSeen{{Component: own.Component, Code: own.Code, Why: fmt.Sprintf(
		"may be the cause: when %s had just got this request, a connection of its own failed: %s", in.target(), own.Why)}}, v.AlsoSeen...)
	v.Blind = append(v.Blind, tracer.Blind{What: "what goes on inside " + in.target(), Effect: "that it waits for its own connection is inferred from the time"})
}
