package main

import (
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
}

func (s segment) event(began time.Time, seq uint64) *tracer.Event {
	e := packet{after: s.after, from: s.from, to: s.to, tcpSyn: true}.event(began, seq)
	e.TCPFlags, e.TCPSeq, e.Payload = s.flags, 7, s.payload
	if s.answer {
		e.Kind, e.Tuple = tracer.EventRX, e.Tuple.Reverse()
	}
	return e
}

// A client that falls back on the other family made one request: it has one verdict.
func TestOneRequestOverBothFamilies(t *testing.T) {
	const ms, six, four = time.Millisecond, "[fd00::7]:50000", "10.244.1.7:50001"
	const to6, to4 = "[fd00:96::99]:80", "10.96.0.99:80"
	const syn, ack, rst = tracer.TCPSyn, tracer.TCPAck, tracer.TCPRst
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
	for name, tt := range map[string]struct {
		to       string
		segments [][]segment
		outcomes string // of the verdicts, in order
		also     bool   // the first has the try before beside it
	}{
		"refused, then served":           {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, four, to4)}, "delivered", true},
		"refused over IPv4, then served": {"shop/svc/web", [][]segment{refused(0, four, to4), served(3*ms, six, to6)}, "delivered", true},
		"silent, then served":            {"shop/svc/web", [][]segment{silent(0, six, to6), served(300*ms, four, to4)}, "delivered", true},
		"refused, and refused":           {"shop/svc/web", [][]segment{refused(0, six, to6), refused(3*ms, four, to4)}, "refused refused", false},
		"refused, and much later served": {"shop/svc/web", [][]segment{refused(0, six, to6), served(900*ms, four, to4)}, "refused delivered", false},
		"refused, and nothing else":      {"shop/svc/web", [][]segment{refused(0, six, to6)}, "refused", false},
		"served, then refused":           {"shop/svc/web", [][]segment{served(0, four, to4), refused(100*ms, six, to6)}, "refused delivered", false},
		"refused, another's is served":   {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, "10.244.1.8:50001", to4)}, "refused", false},
		"the same family":                {"shop/svc/web", [][]segment{refused(0, four, to4), served(3*ms, "10.244.1.7:50002", to4)}, "refused delivered", false},
		"anything":                       {"any", [][]segment{refused(0, six, to6), served(3*ms, four, to4)}, "refused delivered", false},
		"two requests, both fall back":   {"shop/svc/web", [][]segment{refused(0, six, to6), served(3*ms, four, to4), refused(500*ms, "[fd00::7]:50009", to6), served(503*ms, "10.244.1.7:50009", to4)}, "delivered delivered", true},
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
			for _, v := range traced(t, "shop/pod/web", tt.to, at, events) {
				got = append(got, string(v.Outcome))
				if first == nil {
					first = v
				}
			}
			if s := strings.Join(got, " "); s != tt.outcomes {
				t.Fatalf("verdicts %q, want %q", s, tt.outcomes)
			}
			if also := len(first.AlsoSeen) == 1 && strings.Contains(first.AlsoSeen[0].Why, "the same request was tried over IPv"); also != tt.also {
				t.Errorf("also seen %+v, want the first try: %v", first.AlsoSeen, tt.also)
			}
		})
	}
}
