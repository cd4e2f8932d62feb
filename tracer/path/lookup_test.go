package path

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// message is one DNS message of a client's socket.
type message struct {
	after   time.Duration
	port    uint16
	id      uint16
	answer  bool
	rcode   uint8
	records uint16
	cut     bool
}

func TestLookup(t *testing.T) {
	const ms = time.Millisecond
	ask := func(after time.Duration, port, id uint16) message { return message{after: after, port: port, id: id} }
	say := func(after time.Duration, port, id uint16, rcode uint8, records uint16) message {
		return message{after: after, port: port, id: id, answer: true, rcode: rcode, records: records}
	}
	cut := say(2*ms, 4000, 1, 0, 3)
	cut.cut = true
	tests := map[string]struct {
		messages []message
		want     tracer.Lookup // of the flow of port 4000
	}{
		"unanswered":             {[]message{ask(0, 4000, 1)}, tracer.Lookup{Asked: 1}},
		"answered":               {[]message{ask(0, 4000, 1), say(2*ms, 4000, 1, 0, 2)}, tracer.Lookup{Asked: 1, Answered: 1, Records: 2, Slowest: 2 * ms}},
		"truncated":              {[]message{ask(0, 4000, 1), cut}, tracer.Lookup{Asked: 1, Answered: 1, Records: 3, Slowest: 2 * ms, Truncated: true}},
		"sent again":             {[]message{ask(0, 4000, 1), ask(5000*ms, 4000, 1), say(5002*ms, 4000, 1, 0, 1)}, tracer.Lookup{Asked: 1, Answered: 1, Records: 1, Slowest: 5002 * ms, Repeated: 1}},
		"an answer to nothing":   {[]message{ask(0, 4000, 1), say(1*ms, 4000, 2, 0, 1)}, tracer.Lookup{Asked: 1}},
		"A and AAAA of one name": {[]message{ask(0, 4000, 1), ask(0, 4000, 2), say(1*ms, 4000, 1, 0, 1), say(3*ms, 4000, 2, 0, 0)}, tracer.Lookup{Asked: 2, Answered: 2, Records: 1, Slowest: 3 * ms, Together: true}},
		"one name has one family only": {[]message{ask(0, 4000, 1), ask(0, 4000, 2), say(1*ms, 4000, 1, 0, 1), say(3*ms, 4000, 2, 3, 0)},
			tracer.Lookup{Asked: 2, Answered: 2, RCode: 3, Records: 1, Slowest: 3 * ms, Together: true, FoundLater: true}},
		"a search list on one socket": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4000, 2), say(3*ms, 4000, 2, 0, 1)},
			tracer.Lookup{Asked: 2, Answered: 2, RCode: 3, Records: 1, Slowest: 1 * ms, FoundLater: true}},
		"the end of a search list": {[]message{ask(0, 4001, 1), ask(0, 4001, 2), say(2*ms, 4001, 1, 3, 0), say(3*ms, 4001, 2, 3, 0), ask(5*ms, 4002, 3), say(9*ms, 4002, 3, 3, 0), ask(10*ms, 4000, 4), say(12*ms, 4000, 4, 0, 1)},
			tracer.Lookup{Asked: 1, Answered: 1, Records: 1, Slowest: 2 * ms, Misses: 3, Took: 9 * ms}},
		"a miss that is another name's": {[]message{ask(0, 4001, 1), say(2*ms, 4001, 1, 3, 0), ask(900*ms, 4000, 4), say(902*ms, 4000, 4, 0, 1)},
			tracer.Lookup{Asked: 1, Answered: 1, Records: 1, Slowest: 2 * ms}},
		"a success before": {[]message{ask(0, 4001, 1), say(2*ms, 4001, 1, 0, 1), ask(3*ms, 4000, 4), say(4*ms, 4000, 4, 0, 1)},
			tracer.Lookup{Asked: 1, Answered: 1, Records: 1, Slowest: 1 * ms}},
		"the gravest counts": {[]message{ask(0, 4000, 1), ask(0, 4000, 2), say(1*ms, 4000, 1, 2, 0), say(3*ms, 4000, 2, 3, 0)}, tracer.Lookup{Asked: 2, Answered: 2, RCode: 2, Slowest: 3 * ms, Together: true}},
		"a failure, then answered": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 2, 0), ask(9*ms, 4000, 1), say(10*ms, 4000, 1, 0, 1)},
			tracer.Lookup{Asked: 1, Answered: 1, Records: 1, Slowest: 10 * ms, Repeated: 1}},
		"a search list that ends well": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4001, 7), say(3*ms, 4001, 7, 0, 1)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms, FoundLater: true}},
		"a search list that does not": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4001, 7), say(3*ms, 4001, 7, 3, 0)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms}},
		"a search list that ends in another failure": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4001, 7), say(3*ms, 4001, 7, 3, 0), ask(4*ms, 4002, 8), say(90*ms, 4002, 8, 2, 0)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms, AskedOn: true}},
		"a search list that waits for its end": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4001, 7)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms, AskedOn: true}},
		"a search list on one socket that ends in another failure": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4000, 2), say(3*ms, 4000, 2, 5, 0)},
			tracer.Lookup{Asked: 2, Answered: 2, RCode: 5, Slowest: 1 * ms}},
		"another name fails later": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(900*ms, 4001, 7), say(903*ms, 4001, 7, 2, 0)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms}},
		"another name failed before": {[]message{ask(0, 4001, 7), say(1*ms, 4001, 7, 2, 0), ask(2*ms, 4000, 1), say(3*ms, 4000, 1, 3, 0)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms}},
		"an answer without records": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(2*ms, 4001, 7), say(3*ms, 4001, 7, 0, 0)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms}},
		"found before, not after": {[]message{ask(0, 4001, 7), say(1*ms, 4001, 7, 0, 1), ask(2*ms, 4000, 1), say(3*ms, 4000, 1, 3, 0)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms}},
		"found much later": {[]message{ask(0, 4000, 1), say(1*ms, 4000, 1, 3, 0), ask(9000*ms, 4001, 7), say(9001*ms, 4001, 7, 0, 1)},
			tracer.Lookup{Asked: 1, Answered: 1, RCode: 3, Slowest: 1 * ms}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			jn := New(nil)
			var id uint64
			for i, m := range tt.messages {
				if got := jn.Add(m.event(uint64(i + 1))); m.port == 4000 {
					id = got
				}
			}
			j, ok := jn.Journey(id)
			if !ok || j.Lookup == nil {
				t.Fatalf("no lookup in %+v", j)
			}
			if *j.Lookup != tt.want {
				t.Errorf("got %+v, want %+v", *j.Lookup, tt.want)
			}
		})
	}
}

// Of a lookup whose question came before the trace, an answer that failed counts,
// unless the socket has asked since.
func TestLookupUnasked(t *testing.T) {
	say := func(id uint16, rcode uint8) message { return message{port: 4000, id: id, answer: true, rcode: rcode} }
	failed := func(rcode uint8) *tracer.Lookup {
		return &tracer.Lookup{Asked: 1, Answered: 1, RCode: rcode, Unasked: true}
	}
	for name, tt := range map[string]struct {
		messages []message
		want     *tracer.Lookup
	}{
		"failed":                       {[]message{say(1, tracer.RCodeServFail), say(1, tracer.RCodeServFail)}, failed(tracer.RCodeServFail)},
		"refused":                      {[]message{say(1, tracer.RCodeRefused)}, failed(tracer.RCodeRefused)},
		"one of two":                   {[]message{say(1, tracer.RCodeServFail), say(2, tracer.RCodeNoError)}, failed(tracer.RCodeServFail)},
		"found":                        {[]message{say(1, tracer.RCodeNoError)}, nil},
		"one try of a search list":     {[]message{say(1, tracer.RCodeNXDomain)}, nil},
		"the socket has asked since":   {[]message{say(1, tracer.RCodeServFail), {port: 4000, id: 2}}, &tracer.Lookup{Asked: 1}},
		"the same question once again": {[]message{say(1, tracer.RCodeServFail), {port: 4000, id: 1}, {after: time.Millisecond, port: 4000, id: 1, answer: true}}, &tracer.Lookup{Asked: 1, Answered: 1, Slowest: time.Millisecond}},
	} {
		jn := New(func(t tracer.Tuple) bool { return t.Dst.Port() == dnsPort })
		var id uint64
		for i, m := range tt.messages {
			id = jn.Add(m.event(uint64(i + 1)))
		}
		if got := jn.Lookup(id); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func (m message) event(seq uint64) *tracer.Event {
	client, resolver := netip.MustParseAddr("10.1.0.10"), netip.MustParseAddrPort("10.9.0.10:53")
	at := time.Unix(1000, 0).Add(m.after)
	e := &tracer.Event{
		Seq: seq, Time: at, MonoNS: uint64(m.after) + 1, Kind: tracer.EventTX, NetNS: 7, IfIndex: 2,
		Tuple: tracer.Tuple{Src: netip.AddrPortFrom(client, m.port), Dst: resolver, Proto: tracer.ProtoUDP}, Payload: 40, Len: 68,
		DNS: &tracer.DNS{ID: m.id, Questions: 1},
	}
	if m.answer {
		e.Kind, e.Tuple = tracer.EventRX, e.Tuple.Reverse()
		e.DNS.Response, e.DNS.RCode, e.DNS.Answers, e.DNS.Truncated = true, m.rcode, m.records, m.cut
	}
	return e
}

// Twenty names that do not exist, asked for one after the other, and then one that
// does: all of them are counted, and their time.
func TestMissesOfBlockLists(t *testing.T) {
	jn := New(nil)
	at, seq := time.Duration(0), uint64(0)
	var id uint64
	ask := func(port uint16, rcode uint8, records uint16) {
		id = jn.Add(message{after: at, port: port, id: 1}.event(seq + 1))
		jn.Add(message{after: at + 60*time.Millisecond, port: port, id: 1, answer: true, rcode: rcode, records: records}.event(seq + 2))
		at, seq = at+61*time.Millisecond, seq+2
	}
	for i := range uint16(20) {
		ask(4000+i, tracer.RCodeNXDomain, 0)
	}
	ask(5000, tracer.RCodeNoError, 1)
	if l := jn.Lookup(id); l.Misses != 20 || l.Took != 21*60*time.Millisecond {
		t.Errorf("%+v", l)
	}
}

// What one client can make the joiner keep has an end.
func TestLookupBounds(t *testing.T) {
	jn := New(nil)
	var id uint64
	for i := range 2 * maxQuestions {
		id = jn.Add(message{port: 4000, id: uint16(i)}.event(uint64(i + 1)))
	}
	if l := jn.Lookup(id); l == nil || l.Asked != maxQuestions {
		t.Errorf("%+v, want %d questions", l, maxQuestions)
	}
	for i := range maxResolved + 100 {
		a := netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&0xff, i&0xff))
		jn.found(a, time.Unix(1000, 0))
	}
	if n := len(jn.resolved); n > maxResolved {
		t.Errorf("%d clients are remembered, want at most %d", n, maxResolved)
	}
	if jn.Lookup(999) != nil {
		t.Error("a lookup of no flow")
	}
}
