package verdict

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// What a reason means is said where no code is for it, and only there.
func TestKnownReasons(t *testing.T) {
	forward := func(reason, location string) change {
		return dropOf(reason, location, tracer.StageForward, "")
	}
	inPod := dropOf("IP_RPFILTER", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(apiNS, eth0)))
	refusedHere := dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(hostNS, uplink)), ofReply, func(d *tracer.DropSeen) {
		d.Tuple = tracer.Tuple{Src: ap(nodeIP, 61000), Dst: ap(world, 443), Proto: tracer.ProtoTCP}
	})
	reset := func(s *scene) { s.j.ClientReset, s.Outcome = true, tracer.OutcomeReset }
	for name, tt := range map[string]struct {
		with []change
		want string
	}{
		"the TTL ended":                              {[]change{toWorld, forward("IP_INHDR", "ip_forward"), icmpFromNode(11, 0), outcomeIs(tracer.OutcomeICMPError)}, "the TTL (hop limit) of packets"},
		"a header that is wrong":                     {[]change{toWorld, forward("IP_INHDR", "ip_forward")}, "nothing here explains why"},
		"an IPsec policy":                            {[]change{toWorld, forward("XFRM_POLICY", "ip_forward")}, "by IPsec (XFRM_POLICY)"},
		"rp_filter in the pod":                       {[]change{inPod}, "rp_filter inside the pod"},
		"the node does not know its own connection":  {[]change{toWorld, left(nodeIP), refusedHere, reset}, "was not translated back"},
		"the client resets":                          {[]change{toWorld, left(nodeIP), reset}, "itself reset the connection"},
		"a connection of the node's own is refused":  {[]change{toWorld, left(webIP), refusedHere, reset}, "itself reset the connection"},
		"rp_filter of a namespace that is neither's": {[]change{dropOf("IP_RPFILTER", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))}, "dropped inside"},
	} {
		f := undecided(given(tt.with...))
		if !strings.Contains(f.Summary, tt.want) {
			t.Errorf("%s: %q, want %q", name, f.Summary, tt.want)
		}
	}
}

// The rule that dropped is named, also where what it stands for is not known.
func TestUndecidedNamesTheRule(t *testing.T) {
	if f := undecided(given(filtered(), rule("kube-proxy", "drop"))); f.Rule == nil || len(f.Evidence) < 2 {
		t.Errorf("%+v", f)
	}
	if f := undecided(given(dropOf("XFRM_POLICY", "ip_forward", tracer.StageForward, ""), rule("kube-proxy", "drop"))); f.Rule != nil {
		t.Errorf("%+v", f)
	}
}

// Who listens is no application without a listener because a firewall answers for it.
func TestRejectedInItsName(t *testing.T) {
	rejected := []change{filtered(times(1)), rule("firewalld", "reject"), reached, outcomeIs(tracer.OutcomeRefused), answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0), arrivedAt)}
	for name, tt := range map[string]struct {
		with []change
		also bool
	}{
		"somebody listens":                         {append([]change{listening("0.0.0.0:8080")}, rejected...), false},
		"nobody listens":                           {rejected, true},
		"somebody listens now, and did not then":   {append([]change{listening("0.0.0.0:8080"), noSocket(times(1))}, rejected...), true},
		"somebody listens, and nothing else shows": {[]change{listening("0.0.0.0:8080"), reached, outcomeIs(tracer.OutcomeRefused), answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0), arrivedAt)}, true},
	} {
		if f := refusedHere(given(tt.with...)); (f != nil) != tt.also {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
