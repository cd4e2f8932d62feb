package path

import (
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Where no answer passes a hook, what the client acknowledges tells that it got one.
func TestAcknowledgedAnswers(t *testing.T) {
	const server = 9000 // the server's first sequence number, and one
	flow, at := tcp(nodeIP, 40000, world, 443), dev(hostNS, uplink)
	opened := func(w *wire) {
		w.tx(at, flow, flags(syn))
		w.tx(at, flow, flags(ack), seqNo(w.isn+1), acks(server))
		w.tx(at, flow, flags(psh), seqNo(w.isn+1), acks(server), bytes(20))
	}
	none := func(*wire) {}
	table := []struct {
		name        string
		then        func(w *wire)
		data, fin   bool
		bytes       uint64
		established bool
		before      func(w *wire)
	}{
		{"the SYN-ACK alone", none, false, false, 0, true, opened},
		{"data", func(w *wire) { w.tx(at, flow, flags(ack), seqNo(w.isn+21), acks(server+300)) }, true, false, 300, true, opened},
		{"a FIN", func(w *wire) { w.tx(at, flow, flags(fin), seqNo(w.isn+21), acks(server+1)) }, false, true, 0, true, opened},
		{"data, across the number's end", func(w *wire) {
			w.tx(at, flow, flags(syn))
			w.tx(at, flow, flags(ack), seqNo(w.isn+1), acks(0xfffffff0))
			w.tx(at, flow, flags(ack), seqNo(w.isn+1), acks(0x10))
		}, true, false, 0x20, true, none},
		// Look-alikes.
		{"only asked, again and again", func(w *wire) {
			w.tx(at, flow, flags(syn))
			w.pass(time.Second)
			w.tx(at, flow, flags(syn), retransmitted())
		}, false, false, 0, false, none},
		{"given up", func(w *wire) {
			w.tx(at, flow, flags(syn))
			w.tx(at, flow, flags(rst), seqNo(w.isn+1), acks(server))
		}, false, false, 0, false, none},
		{"of another connection", func(w *wire) {
			w.tx(at, flow, flags(syn))
			w.tx(at, flow, flags(ack), seqNo(w.isn-5000), acks(server))
		}, false, false, 0, false, none},
	}
	for _, tt := range table {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, nil)
			tt.before(w)
			tt.then(w)
			j := w.only()
			if j.Established != tt.established || (has(j, tracer.AnswerSynAck) != nil) != tt.established || (has(j, tracer.AnswerData) != nil) != tt.data ||
				(has(j, tracer.AnswerFin) != nil) != tt.fin || j.ReplyBytes != tt.bytes {
				t.Errorf("established %t, reply bytes %d, answers %+v", j.Established, j.ReplyBytes, j.Answers)
			}
			for _, a := range j.Answers {
				if a.From != flow.Dst.Addr() || a.Device != (tracer.DeviceKey{}) || !a.ReachedClient {
					t.Errorf("%+v", a)
				}
			}
		})
	}
}

// Where answers are seen, nothing is presumed: who sent them and where stays known.
func TestAcknowledgedAndSeen(t *testing.T) {
	flow, at := tcp(nodeIP, 40000, world, 443), dev(hostNS, uplink)
	w := newWire(t, nil)
	w.tx(at, flow, flags(syn))
	w.rx(at, flow.Reverse(), flags(synAck), seqNo(8999), acks(w.isn+1))
	w.tx(at, flow, flags(ack), seqNo(w.isn+1), acks(9000))
	w.tx(at, flow, flags(ack), seqNo(w.isn+1), acks(9500))
	j := w.only()
	if len(j.Answers) != 1 || j.Answers[0].Device != at || j.ReplyBytes != 0 {
		t.Errorf("reply bytes %d, answers %+v", j.ReplyBytes, j.Answers)
	}
}
