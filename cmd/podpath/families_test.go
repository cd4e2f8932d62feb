package main

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// segment is one of a TCP connection, seen at the client's own device.
type segment struct {
	after    time.Duration
	from, to string
	flags    uint8 // of a segment of the client, or of its peer
	answer   bool
	payload  uint32
	dropped  bool
}

func (s segment) event(began time.Time, seq uint64) *tracer.Event {
	e := packet{after: s.after, from: s.from, to: s.to, tcpSyn: true}.event(began, seq)
	e.TCPFlags, e.TCPSeq, e.Payload = s.flags, 7, s.payload
	if s.answer {
		e.Kind, e.Tuple = tracer.EventRX, e.Tuple.Reverse()
	}
	if s.dropped {
		e.Kind, e.Drop = tracer.EventDrop, &tracer.Drop{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Stage: tracer.StageForward}
	}
	return e
}

// A client that falls back on the other family made one request: it has one verdict.
func TestOneRequestOverBothFamilies(t *testing.T) {
	const ms, six, four = time.Millisecond, "[fd00::7]:50000", "10.244.1.7:50001"
	const to6, to4 = "[fd00:96::99]:80", "10.96.0.99:80"
	const syn, ack, rst, fin = tracer.TCPSyn, tracer.TCPAck, tracer.TCPRst, tracer.TCPFin
	refused := func(after time.Duration, from, to string) []segment {
		return []segment{{after: after, from: from, to: to, flags: syn}, {after: after + ms, from: from, to: to, flags: rst | ack, answer: true}}
	}
	served := func(after time.Duration, from, to string) []segment {
		return []segment{{after: after, from: from, to: to, flags: syn}, {after: after + ms, from: from, to: to, flags: syn | ack, answer: true},
			{after: after + 2*ms, from: from, to: to, flags: ack}, {after: after + 3*ms, from: from, to: to, flags: ack | tracer.TCPPsh, payload: 40},
			{after: after + 4*ms, from: from, to: to, flags: ack | tracer.TCPPsh, payload: 400, answer: true}}
	}
	silent := func(after time.Duration, from, to string) []segment {
		return []segment{{after: after, from: from, to: to, flags: syn}}
	}
	dropped := func(after time.Duration, from, to string) []segment {
		return append(silent(after, from, to), segment{after: after, from: from, to: to, flags: syn, dropped: true})
	}
	// closed: the client has what it wanted, and goes.
	closed := func(after time.Duration, from, to string) []segment {
		return append(served(after, from, to), segment{after: after + 5*ms, from: from, to: to, flags: fin | ack},
			segment{after: after + 6*ms, from: from, to: to, flags: fin | ack, answer: true}, segment{after: after + 7*ms, from: from, to: to, flags: ack})
	}
	for name, tt := range map[string]struct {
		to       string
		segments [][]segment
		outcomes string // of the verdicts, in order
		also     bool   // the first has the try before beside it
		long     time.Duration
	}{
		"dropped once, then served and closed": {"shop/svc/web", [][]segment{dropped(0, six, to6), closed(250*ms, four, to4)}, "delivered", true, 0},
		"silent, then served and closed":       {"shop/svc/web", [][]segment{silent(0, six, to6), closed(250*ms, four, to4)}, "delivered", true, 0},
		"refused, then served and closed":      {"shop/svc/web", [][]segment{refused(0, six, to6), closed(3*ms, four, to4)}, "delivered", true, 0},
		"served and closed":                    {"shop/svc/web", [][]segment{closed(0, six, to6)}, "delivered", false, 0},
		// The trace ends before all is told.
		"refused, then served at the end":     {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, four, to4)}, "delivered", true, 50 * ms},
		"refused, then under way at the end":  {"shop/svc/web", [][]segment{refused(0, six, to6), silent(140*ms, four, to4)}, "refused", false, 200 * ms},
		"under way at the end, and told more": {"shop/svc/web", [][]segment{closed(0, "[fd00::7]:50009", to6), refused(100*ms, six, to6), silent(240*ms, four, to4)}, "delivered refused", false, 300 * ms},
		"refused, then served":                {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, four, to4)}, "delivered", true, 0},
		"refused over IPv4, then served":      {"shop/svc/web", [][]segment{refused(0, four, to4), served(3*ms, six, to6)}, "delivered", true, 0},
		"silent, then served":                 {"shop/svc/web", [][]segment{silent(0, six, to6), served(300*ms, four, to4)}, "delivered", true, 0},
		"refused, and refused":                {"shop/svc/web", [][]segment{refused(0, six, to6), refused(3*ms, four, to4)}, "refused refused", false, 0},
		"refused, and much later served":      {"shop/svc/web", [][]segment{refused(0, six, to6), served(900*ms, four, to4)}, "refused delivered", false, 0},
		"refused, and nothing else":           {"shop/svc/web", [][]segment{refused(0, six, to6)}, "refused", false, 0},
		"served, then refused":                {"shop/svc/web", [][]segment{served(0, four, to4), refused(100*ms, six, to6)}, "refused delivered", false, 0},
		"refused, another's is served":        {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, "10.244.1.8:50001", to4)}, "refused", false, 0},
		"the same family":                     {"shop/svc/web", [][]segment{refused(0, four, to4), served(3*ms, "10.244.1.7:50002", to4)}, "refused delivered", false, 0},
		"anything":                            {"any", [][]segment{refused(0, six, to6), served(3*ms, four, to4)}, "refused delivered", false, 0},
		"two requests, both fall back":        {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, four, to4), refused(500*ms, "[fd00::7]:50009", to6), served(503*ms, "10.244.1.7:50009", to4)}, "delivered delivered", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var events []func(time.Time, uint64) *tracer.Event
			var at []time.Duration
			for _, list := range tt.segments {
				for _, s := range list {
					events, at = append(events, s.event), append(at, s.after)
				}
			}
			var got []string
			var first *tracer.Verdict
			for _, v := range tracedFor(t, cmp.Or(tt.long, 12*time.Second), "shop/pod/web", tt.to, at, events) {
				got = append(got, string(v.Outcome))
				if first == nil {
					first = v
				}
			}
			if s := strings.Join(got, " "); s != tt.outcomes {
				t.Fatalf("verdicts %q, want %q", s, tt.outcomes)
			}
			if also := len(first.AlsoSeen) == 1 && strings.Contains(first.AlsoSeen[0].Why, "the same request was tried over IPv"); also != tt.also {
				t.Fatalf("also seen %+v, want the first try: %v", first.AlsoSeen, tt.also)
			}
			if strings.HasPrefix(name, "dropped once") && first.AlsoSeen[0].Code == tracer.CodeUnknown {
				t.Errorf("also seen %+v, want what its drop says", first.AlsoSeen)
			}
		})
	}
}
