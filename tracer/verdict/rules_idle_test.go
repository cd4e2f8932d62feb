package verdict

import (
	"time"

	"github.com/podpath/podpath/tracer"
)

// quiet: a connection that was in use, and not for some time; then a reset comes in
// from outside.
func quiet(for_ time.Duration, bare bool) change {
	return func(s *scene) {
		established(s)
		left(nodeIP)(s)
		s.j.RequestBytes, s.j.ReplyBytes = 10, 0
		s.j.Pause = &tracer.Pause{Quiet: for_, Ended: start.Add(for_)}
		answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink), arrivedAt, from(world), func(a *tracer.Answer) {
			a.Time, a.Bare = start.Add(for_+20*ms), bare
		})(s)
		s.Outcome = tracer.OutcomeResetMidFlow
	}
}

func forgets(seconds string) change {
	return sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", seconds)
}

func otherPort(s *scene) {
	s.j.Translations = append(s.j.Translations, tracer.Translation{Kind: "snat", From: s.j.Flow.Src, To: ap(nodeIP, 61999)})
}

func idleFaults() []fault {
	return []fault{
		{"quiet for six minutes, and forgotten outside", "idle-timeout", "ext-idle-timeout", probable, "ExternalHost " + world, []change{toWorld, quiet(6*time.Minute, true), forgets("86400")}},
		{"quiet for a minute, and the node's time is not known", "idle-timeout", "ext-idle-timeout", probable, "", []change{toWorld, quiet(time.Minute, true)}},
		{"quiet for longer than the node remembers", "idle-timeout", "node-conntrack-expired", probable, "Node n1", []change{toWorld, quiet(6*time.Minute, true), forgets("300")}},
		{"quiet for longer than the node remembers, and translated anew", "idle-timeout", "node-conntrack-expired", confirmed, "Node n1", []change{toWorld, quiet(6*time.Minute, true), forgets("300"), otherPort}},
	}
}

func idleLookalikes() []lookalike {
	const ext, here = "ext-idle-timeout", "node-conntrack-expired"
	with := func(more ...change) []change { return append([]change{toWorld}, more...) }
	return []lookalike{
		{"the far application ends a quiet connection", with(quiet(6*time.Minute, false), forgets("300")), "egr-remote-reset", ext + " " + here, ""},
		{"a reset after a short pause", with(quiet(20*time.Second, true), forgets("86400")), "egr-remote-reset", ext + " " + here, ""},
		{"a reset long after the pause", with(quiet(6*time.Minute, true), func(s *scene) { s.j.Pause.Ended = start }), "egr-remote-reset", ext + " " + here, ""},
		{"a reset without a pause", with(quiet(6*time.Minute, true), func(s *scene) { s.j.Pause = nil }), "egr-remote-reset", ext + " " + here, ""},
		{"the far application closed before", with(quiet(6*time.Minute, true), answer(tracer.AnswerFin, tracer.EventRX, on(hostNS, uplink))), "egr-remote-reset", ext + " " + here, ""},
		{"a pod of this node that was started anew", []change{reached, established, func(s *scene) {
			s.j.Pause = &tracer.Pause{Quiet: 6 * time.Minute, Ended: start}
			answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0), arrivedAt, func(a *tracer.Answer) { a.Bare = true })(s)
			s.Outcome = tracer.OutcomeReset
		}, forgets("86400")}, "app-reset", ext + " " + here, ""},
		{"quiet, then healthy", with(quiet(6*time.Minute, true), outcomeIs(tracer.OutcomeDelivered)), "ok", ext + " " + here, ""},
	}
}
