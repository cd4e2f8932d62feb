package path

import (
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

const (
	// What a whole exchange leaves in the counts of one direction.
	client = tracer.TCPSyn | tracer.TCPAck | tracer.TCPPsh | tracer.TCPFin
	server = tracer.TCPSyn | tracer.TCPAck | tracer.TCPPsh | tracer.TCPFin
)

// counts hands over a count of packets that were all held back, from a moment on.
func (w *wire) counts(kind tracer.EventKind, at tracer.DeviceKey, t tracer.Tuple, packets uint64, flags uint8, first, last uint64) {
	w.jn.Count(&tracer.FlowCount{
		Kind: kind, Device: at, Tuple: t, Packets: packets, Bytes: 100 * packets, Held: packets, TCPFlags: flags,
		FirstMonoNS: first, Last: epoch.Add(time.Duration(last)),
	})
}

// One packet of a healthy flow was dropped, and everything else was only counted:
// the counts tell that it was answered, and where it passed.
func TestCountsStandInForEvents(t *testing.T) {
	w := newWire(t, nil)
	f := tcp(podA, 40000, podB, 80)
	id := w.drop(dev(hostNS, bridge), f, "NETFILTER_DROP", "nft_do_chain", flags(syn))
	now := w.mono
	w.counts(tracer.EventTX, dev(podANS, eth0), f, 6, client, now-1000, now+1_000_000)
	w.counts(tracer.EventRX, dev(podBNS, eth0), f, 5, client, now+500_000, now+1_000_000)
	w.counts(tracer.EventTX, dev(podBNS, eth0), f.Reverse(), 4, server, now+510_000, now+1_000_000)
	w.counts(tracer.EventRX, dev(podANS, eth0), f.Reverse(), 4, server, now+520_000, now+1_100_000)
	j := w.journey(id)
	if !j.Established || !j.Closed || !j.ReachedTarget || j.RequestBytes == 0 || j.ReplyBytes == 0 {
		t.Errorf("%+v", j)
	}
	for _, kind := range []tracer.AnswerKind{tracer.AnswerSynAck, tracer.AnswerData, tracer.AnswerFin} {
		reached := false
		for _, a := range j.Answers {
			reached = reached || a.Kind == kind && a.ReachedClient
		}
		if !reached {
			t.Errorf("%s is not known to have reached the client: %+v", kind, j.Answers)
		}
	}
	if len(j.Hops) != 4 || len(j.Drops) != 1 || !j.Last.Equal(epoch.Add(time.Duration(now+1_100_000))) {
		t.Errorf("hops %+v, drops %+v, last %s", j.Hops, j.Drops, j.Last)
	}
}

// The counts can come in any order.
func TestCountsOfTheAnswerFirst(t *testing.T) {
	w := newWire(t, nil)
	f := tcp(podA, 40000, podB, 80)
	id := w.tx(dev(podANS, eth0), f, flags(syn))
	now := w.mono
	w.counts(tracer.EventRX, dev(podANS, eth0), f.Reverse(), 4, server, now+20, now+1000)
	w.counts(tracer.EventTX, dev(podANS, eth0), f, 6, client, now, now+1000)
	if j := w.journey(id); !j.Established || !j.Closed || j.ReplyBytes == 0 {
		t.Errorf("%+v", j)
	}
}

// What an earlier connection with the same ports left in the counts is none of
// this one's, which got no answer.
func TestCountsOfAnEarlierConnection(t *testing.T) {
	w := newWire(t, nil)
	f := tcp(podA, 40000, podB, 80)
	w.mono += 1_000_000
	id := w.tx(dev(podANS, eth0), f, flags(syn))
	now := w.mono
	w.counts(tracer.EventRX, dev(podANS, eth0), f.Reverse(), 4, server, now-500_000, now-400_000)
	if j := w.journey(id); len(j.Answers) > 0 || len(j.Hops) != 1 {
		t.Errorf("answers %+v, hops %+v", j.Answers, j.Hops)
	}
	// A reset came for this one; it is an event of its own.
	w.counts(tracer.EventRX, dev(podANS, eth0), f.Reverse(), 5, server|tracer.TCPRst, now-500_000, now+1000)
	if j := w.journey(id); len(j.Answers) > 0 || j.Established {
		t.Errorf("answers %+v", j.Answers)
	}
}

// A reset that ends a connection that was only counted is no refusal; one that
// answers the opening is.
func TestCountsTellEndFromRefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		flags       uint8
		established bool
	}{"end": {server &^ tracer.TCPFin, true}, "refusal": {ack, false}} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, nil)
			f := tcp(podA, 40000, podB, 80)
			id := w.rx(dev(podANS, eth0), f.Reverse(), flags(tracer.TCPRst|tracer.TCPAck))
			now := w.mono
			request := client &^ tracer.TCPFin
			if !tt.established {
				request = syn
			}
			w.counts(tracer.EventTX, dev(podANS, eth0), f, 3, request, now-3000, now-2000)
			w.counts(tracer.EventTX, dev(podANS, eth0), f, 3, request, now-3000, now+2000)
			w.counts(tracer.EventRX, dev(podANS, eth0), f.Reverse(), 3, tt.flags|tracer.TCPRst, now-2500, now)
			if j := w.journey(id); j.Established != tt.established || j.Flow != f {
				t.Errorf("%+v", j)
			}
		})
	}
}

// Datagrams that were only counted were answered all the same.
func TestCountsOfDatagrams(t *testing.T) {
	w := newWire(t, nil)
	f := udp(podA, 40000, podB, 53)
	id := w.drop(dev(hostNS, bridge), f, "NETFILTER_DROP", "nft_do_chain")
	now := w.mono
	w.counts(tracer.EventRX, dev(podANS, eth0), f.Reverse(), 4, 0, now+20, now+1000)
	j := w.journey(id)
	if len(j.Answers) != 1 || j.Answers[0].Kind != tracer.AnswerReply || !j.Answers[0].ReachedClient || j.ReplyPackets != 4 {
		t.Errorf("answers %+v of %d packets", j.Answers, j.ReplyPackets)
	}
}

// Counts without packets held back add nothing that no event said.
func TestCountsAddNothingWithoutHeldPackets(t *testing.T) {
	w := newWire(t, nil)
	f := tcp(podA, 40000, podB, 80)
	id := w.tx(dev(podANS, eth0), f, flags(syn))
	w.jn.Count(&tracer.FlowCount{Kind: tracer.EventRX, Device: dev(podBNS, eth0), Tuple: f, Packets: 20, TCPFlags: client, Last: epoch.Add(time.Hour)})
	if j := w.journey(id); len(j.Hops) != 1 || j.ReachedTarget {
		t.Errorf("%+v", j)
	}
}

// While plain packets are held back, an ICMP error can be the first of a flow.
func TestErrorsOpenFlows(t *testing.T) {
	f := udp(podA, 40000, podB, 53)
	quoting := func(ev *tracer.Event) {
		ev.Quoted = &f
		ev.ICMPType, ev.ICMPCode = 3, 3
		ev.Tuple = tuple(tracer.ProtoICMP, podB, 0, podA, 0)
	}
	related := func(ev *tracer.Event) { ev.CT = &tracer.CT{Orig: f, Reply: f.Reverse(), Info: 4} }
	for name, with := range map[string][]change{"bare": {quoting}, "with conntrack entry": {quoting, related}} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, nil)
			if id := w.rx(dev(podANS, eth0), f, with...); id != 0 {
				t.Fatal("opened a flow although nothing is held back")
			}
			w.jn.SetErrorsOpen(true)
			id := w.rx(dev(podANS, eth0), f, with...)
			if id == 0 {
				t.Fatal("no flow")
			}
			j := w.journey(id)
			if j.Flow != f || len(j.Answers) != 1 || j.Answers[0].Kind != tracer.AnswerICMP || !j.Answers[0].ReachedClient {
				t.Errorf("%+v", j)
			}
			if again := w.rx(dev(podANS, eth0), f, with...); again != id {
				t.Errorf("flow %d, then %d", id, again)
			}
		})
	}
}
