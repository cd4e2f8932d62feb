package path

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// viaService sends one segment from pod a to pod b through a Service; conntrack
// is seen only where it is attached: not at receive hooks.
func viaService(w *wire, req, dnat tracer.Tuple, with ...change) {
	w.tx(dev(podANS, eth0), req, with...)
	w.rx(dev(hostNS, vethA), req, with...)
	w.tx(dev(hostNS, vethB), dnat, append(with, ct(req, dnat, false))...)
	w.rx(dev(podBNS, eth0), dnat, with...)
}

func answerService(w *wire, req, dnat tracer.Tuple, with ...change) {
	w.tx(dev(podBNS, eth0), dnat.Reverse(), with...)
	w.rx(dev(hostNS, vethB), dnat.Reverse(), with...)
	w.tx(dev(hostNS, vethA), req.Reverse(), append(with, ct(req, dnat, true))...)
	w.rx(dev(podANS, eth0), req.Reverse(), with...)
}

func TestServiceConnection(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	w := newWire(t, func(t tracer.Tuple) bool { return t.Dst == req.Dst })
	viaService(w, req, dnat, flags(syn))
	answerService(w, req, dnat, flags(synAck), acks(101))
	viaService(w, req, dnat, flags(ack))
	viaService(w, req, dnat, flags(psh), bytes(120))
	answerService(w, req, dnat, flags(psh), bytes(4000))
	viaService(w, req, dnat, flags(fin))
	answerService(w, req, dnat, flags(fin))

	j := w.only()
	if j.Flow != req || j.Translated != dnat {
		t.Errorf("flow %s, translated %s", j.Flow, j.Translated)
	}
	if len(j.Translations) != 1 || j.Translations[0].Kind != "dnat" || j.Translations[0].To != dnat.Dst {
		t.Errorf("translations %+v", j.Translations)
	}
	if len(j.Hops) != 8 {
		t.Errorf("%d hops, want 8: %+v", len(j.Hops), j.Hops)
	}
	for i, h := range j.Hops[:4] {
		if h.Direction != tracer.DirRequest || h.Packets != 4 {
			t.Errorf("hop %d: %+v", i, h)
		}
	}
	if !j.Established || !j.Closed || j.Mid || !j.CTSeen || !j.ReachedTarget || j.LeftNode {
		t.Errorf("established %t closed %t mid %t ct %t reached %t left %t", j.Established, j.Closed, j.Mid, j.CTSeen, j.ReachedTarget, j.LeftNode)
	}
	if j.RequestBytes != 120 || j.ReplyBytes != 4000 || j.Attempts != 1 || j.ReplyPackets != 3 {
		t.Errorf("request %d reply %d attempts %d reply packets %d", j.RequestBytes, j.ReplyBytes, j.Attempts, j.ReplyPackets)
	}
	for _, k := range []tracer.AnswerKind{tracer.AnswerSynAck, tracer.AnswerData, tracer.AnswerFin} {
		if a := has(j, k); a == nil || !a.ReachedClient || a.Device != dev(podBNS, eth0) || a.Count != 1 {
			t.Errorf("answer %s: %+v", k, a)
		}
	}
	if j.SrcDevice != dev(podANS, eth0) || j.DstDevice != dev(podBNS, eth0) {
		t.Errorf("ends %v %v", j.SrcDevice, j.DstDevice)
	}
	for i, id := range w.ids {
		if id != j.ID {
			t.Errorf("event %d belongs to flow %d", i+1, id)
		}
	}
}

// To the outside: the answer is met at the uplink before conntrack has seen it.
func TestReplyAtUplinkByLearnedTuple(t *testing.T) {
	req, out := tcp(podA, 40000, world, 443), tcp(nodeIP, 61000, world, 443)
	w := newWire(t, func(t tracer.Tuple) bool { return t.Src.Addr() == netip.MustParseAddr(podA) })
	w.tx(dev(podANS, eth0), req, flags(syn))
	w.tx(dev(hostNS, uplink), out, flags(syn), ct(req, out, false))
	w.rx(dev(hostNS, uplink), out.Reverse(), flags(synAck), acks(101))
	w.tx(dev(hostNS, vethA), req.Reverse(), flags(synAck), ct(req, out, true))
	w.rx(dev(podANS, eth0), req.Reverse(), flags(synAck), acks(101))
	j := w.only()
	a := has(j, tracer.AnswerSynAck)
	if a == nil || a.Device != dev(hostNS, uplink) || a.Hook != tracer.EventRX || !a.ReachedClient {
		t.Errorf("answer %+v", a)
	}
	if !j.LeftNode || j.LeftAs != out || j.LeftBy != dev(hostNS, uplink) || j.ReachedTarget {
		t.Errorf("left %t as %s by %v, reached %t", j.LeftNode, j.LeftAs, j.LeftBy, j.ReachedTarget)
	}
	if len(j.Translations) != 1 || j.Translations[0].Kind != "snat" || j.Translations[0].To != out.Src {
		t.Errorf("translations %+v", j.Translations)
	}
}

func TestDNATAndSNATTogether(t *testing.T) {
	req, both := tcp(podA, 40000, clusterIP, 80), tcp(bridgeIP, 33000, podB, 8080)
	w := newWire(t, nil)
	viaService(w, req, both, flags(syn))
	answerService(w, req, both, flags(synAck), acks(101))
	j := w.only()
	if j.Translated != both || len(j.Translations) != 2 || j.Translations[0].Kind != "dnat" || j.Translations[1].Kind != "snat" {
		t.Errorf("translated %s by %+v", j.Translated, j.Translations)
	}
}

// A pod with rules of its own has a conntrack that translates nothing: it must
// not hide what the node's translates.
func TestConntrackInPodDoesNotHideTranslation(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	w := newWire(t, nil)
	for _, f := range []uint8{syn, syn, syn} {
		w.tx(dev(podANS, eth0), req, flags(f), ct(req, req, false))
		w.tx(dev(hostNS, vethB), dnat, flags(f), ct(req, dnat, false))
		w.rx(dev(podBNS, eth0), dnat, flags(f))
	}
	w.tx(dev(podANS, eth0), req, flags(syn), ct(req, req, false))
	if j := w.only(); j.Translated != dnat || len(j.Translations) != 1 {
		t.Errorf("translated %s, %+v", j.Translated, j.Translations)
	}
}

// What a target pod does with packets after it has them (a sidecar's redirect)
// is not where the flow goes.
func TestRedirectInsideTargetPod(t *testing.T) {
	req, inside := tcp(podA, 40000, podB, 8080), tcp(podA, 40000, podB, 15006)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), req, flags(syn))
	w.rx(dev(podBNS, eth0), req, flags(syn))
	w.tx(dev(podBNS, eth0), req.Reverse(), flags(synAck), acks(101), ct(req, inside, true))
	w.rx(dev(podANS, eth0), req.Reverse(), flags(synAck), acks(101))
	j := w.only()
	if j.Translated != req || len(j.Translations) != 0 || has(j, tracer.AnswerSynAck) == nil {
		t.Errorf("translated %s, %+v", j.Translated, j.Translations)
	}
}

// Two conntracks in a row: the pod's own redirects names to a local address,
// the node's masquerades.
func TestTranslatedTwice(t *testing.T) {
	req, mid, out := udp(podA, 5000, clusterIP, 53), udp(podA, 5000, world, 53), udp(nodeIP, 6000, world, 53)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), mid, ct(req, mid, false))
	w.rx(dev(hostNS, vethA), mid)
	w.tx(dev(hostNS, uplink), out, ct(mid, out, false))
	w.rx(dev(hostNS, uplink), out.Reverse())
	w.tx(dev(hostNS, vethA), mid.Reverse(), ct(mid, out, true))
	w.rx(dev(podANS, eth0), mid.Reverse())
	j := w.only()
	if j.Flow != req || j.Translated.Dst != mid.Dst || !j.LeftNode || has(j, tracer.AnswerReply) == nil {
		t.Errorf("%s -> %s left %t %+v", j.Flow, j.Translated, j.LeftNode, j.Answers)
	}
}

func TestDatagramsTranslatedAnew(t *testing.T) {
	req, old, fresh := udp(podA, 5000, clusterIP, 53), udp(podA, 5000, "10.1.0.66", 53), udp(podA, 5000, podB, 53)
	w := newWire(t, nil)
	w.tx(dev(hostNS, bridge), old, ct(req, old, false))
	w.tx(dev(hostNS, bridge), fresh, ct(req, fresh, false))
	w.tx(dev(hostNS, bridge), fresh, ct(req, fresh, false))
	j := w.only()
	if n := len(j.Translations); n != 2 || j.Translations[n-1].To != fresh.Dst || j.Translated != fresh {
		t.Errorf("translations %+v, translated %s", j.Translations, j.Translated)
	}
}

// A client in the node's own namespace: answers are met before the node's
// conntrack turns them back, and are the client's all the same.
func TestClientOnNode(t *testing.T) {
	req, dnat := udp(nodeIP, 5000, clusterIP, 53), udp(nodeIP, 5000, podB, 53)
	w := newWire(t, nil)
	w.tx(dev(hostNS, bridge), dnat, ct(req, dnat, false))
	w.rx(dev(podBNS, eth0), dnat)
	w.tx(dev(podBNS, eth0), dnat.Reverse())
	w.rx(dev(hostNS, vethB), dnat.Reverse())
	j := w.only()
	if a := has(j, tracer.AnswerReply); j.Flow != req || a == nil || !a.ReachedClient {
		t.Errorf("%s: answers %+v", j.Flow, j.Answers)
	}
}

// The answer that keeps the endpoint's address is not one for a pod's socket.
func TestUntranslatedAnswerDoesNotReachPod(t *testing.T) {
	req, dnat := udp(podA, 5000, clusterIP, 53), udp(podA, 5000, podB, 53)
	w := newWire(t, nil)
	viaService(w, req, dnat)
	w.tx(dev(podBNS, eth0), dnat.Reverse())
	w.rx(dev(podANS, eth0), dnat.Reverse())
	if a := has(w.only(), tracer.AnswerReply); a == nil || a.ReachedClient {
		t.Errorf("answer %+v", a)
	}
}

func TestOpening(t *testing.T) {
	req := tcp(podA, 40000, world, 443)
	want := func(t tracer.Tuple) bool { return t == req }
	tests := []struct {
		name string
		want Want
		add  func(*wire)
		mid  bool
		flow tracer.Tuple
	}{
		{"a SYN", nil, func(w *wire) { w.tx(dev(podANS, eth0), req, flags(syn)) }, false, req},
		{"a SYN-ACK", nil, func(w *wire) { w.rx(dev(hostNS, uplink), req.Reverse(), flags(synAck)) }, true, req},
		{"data from the server, who is not wanted", want, func(w *wire) { w.rx(dev(podANS, eth0), req.Reverse(), flags(psh), bytes(9)) }, true, req},
		{"data from the client", want, func(w *wire) { w.tx(dev(podANS, eth0), req, flags(psh), bytes(9)) }, true, req},
		{"data, everything is wanted: the lower port serves", nil, func(w *wire) { w.rx(dev(podANS, eth0), req.Reverse(), flags(ack)) }, true, req},
		{"conntrack knows the direction", nil, func(w *wire) {
			w.tx(dev(podANS, eth0), req.Reverse(), flags(ack), ct(req, req, true))
		}, true, req},
		{"an echo reply", nil, func(w *wire) {
			w.rx(dev(podANS, eth0), tuple(tracer.ProtoICMP, world, 7, podA, 7), icmp(0, 0))
		}, true, tuple(tracer.ProtoICMP, podA, 7, world, 7)},
		{"an ICMPv6 echo reply", nil, func(w *wire) {
			w.rx(dev(podANS, eth0), tuple(tracer.ProtoICMPv6, "fd00::b", 7, "fd00::a", 7), icmp(129, 0))
		}, true, tuple(tracer.ProtoICMPv6, "fd00::a", 7, "fd00::b", 7)},
		{"a datagram's answer", func(t tracer.Tuple) bool { return t == udp(podA, 5000, world, 53) },
			func(w *wire) { w.rx(dev(podANS, eth0), udp(world, 53, podA, 5000)) }, true, udp(podA, 5000, world, 53)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, tt.want)
			tt.add(w)
			if j := w.only(); j.Flow != tt.flow || j.Mid != tt.mid {
				t.Errorf("flow %s mid %t", j.Flow, j.Mid)
			}
		})
	}
}

func TestSYNRetransmissions(t *testing.T) {
	req := tcp(podA, 40000, world, 443)
	w := newWire(t, nil)
	for i := range 4 {
		var re []change
		if i > 0 {
			re = append(re, retransmitted())
		}
		w.tx(dev(podANS, eth0), req, append(re, flags(syn))...)
		w.rx(dev(hostNS, vethA), req, append(re, flags(syn))...)
		w.pass(time.Second)
	}
	j := w.only()
	if j.Attempts != 4 || j.Retransmits != 3 || j.Established || j.Last.Sub(j.First) < 3*time.Second {
		t.Errorf("attempts %d retransmits %d established %t lasted %s", j.Attempts, j.Retransmits, j.Established, j.Last.Sub(j.First))
	}
}

func TestPortReuse(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	tests := []struct {
		name  string
		first func(*wire)
	}{
		{"after a closed connection", func(w *wire) {
			viaService(w, req, dnat, flags(syn))
			answerService(w, req, dnat, flags(rst), acks(101))
		}},
		{"after a connection whose SYN was not seen", func(w *wire) {
			viaService(w, req, dnat, flags(psh), bytes(10))
			answerService(w, req, dnat, flags(psh), bytes(10))
		}},
		{"after SYNs that were all dropped", func(w *wire) {
			w.drop(dev(hostNS, vethA), req, "TC_INGRESS", "x", flags(syn))
			w.drop(dev(hostNS, vethA), req, "TC_INGRESS", "x", flags(syn))
		}},
		{"after a SYN-ACK alone", func(w *wire) { answerService(w, req, dnat, flags(synAck), acks(101)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, nil)
			tt.first(w)
			w.pass(time.Minute)
			w.isn = 7_000_000
			other := tcp(podA, 40000, "10.1.0.99", 8080)
			viaService(w, req, other, flags(syn))
			w.rx(dev(hostNS, vethB), other.Reverse(), flags(synAck), acks(w.isn+1))
			ids := w.jn.IDs()
			if len(ids) != 2 {
				t.Fatalf("%d flows: %s", len(ids), w.describe())
			}
			old, fresh := w.journey(ids[0]), w.journey(ids[1])
			if fresh.Mid || fresh.Translated != other || has(fresh, tracer.AnswerSynAck) == nil || fresh.Attempts != 1 {
				t.Errorf("new flow %+v", fresh)
			}
			if old.Translated == other || old.Last.After(fresh.First) {
				t.Errorf("old flow %+v", old)
			}
		})
	}
}

// The rings of two CPUs are not read in order.
func TestOutOfOrder(t *testing.T) {
	req := tcp(podA, 40000, podB, 8080)
	t.Run("answer before SYN", func(t *testing.T) {
		for name, answer := range map[string]uint8{"syn-ack": synAck, "rst": rst} {
			w := newWire(t, nil)
			at := w.mono + 50_000
			w.tx(dev(podBNS, eth0), req.Reverse(), flags(answer), seqNo(9), acks(101), mono(at))
			w.tx(dev(podANS, eth0), req, flags(syn), mono(at-5_000))
			w.rx(dev(podBNS, eth0), req, flags(syn), mono(at-3_000))
			j := w.only()
			if j.Mid || j.Established || j.Flow != req || j.Attempts != 1 || len(j.Answers) != 1 {
				t.Errorf("%s: %+v", name, j)
			}
			for i := 1; i < len(j.Hops); i++ {
				if j.Hops[i-1].FirstMonoNS > j.Hops[i].FirstMonoNS {
					t.Errorf("%s: hops not in the order of time", name)
				}
			}
		}
	})
	t.Run("translated before untranslated", func(t *testing.T) {
		req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
		w := newWire(t, nil)
		at := w.mono + 50_000
		w.tx(dev(hostNS, vethB), dnat, flags(syn), ct(req, dnat, false), mono(at))
		w.rx(dev(podBNS, eth0), dnat, flags(syn), mono(at+1000))
		w.tx(dev(podANS, eth0), req, flags(syn), mono(at-2000))
		w.rx(dev(hostNS, vethA), req, flags(syn), mono(at-1000))
		j := w.only()
		if j.Hops[0].Device != dev(podANS, eth0) || j.Hops[3].Device != dev(podBNS, eth0) || j.Flow != req {
			t.Errorf("%+v", j)
		}
	})
	t.Run("drop before the sighting", func(t *testing.T) {
		w := newWire(t, nil)
		at := w.mono + 50_000
		w.drop(dev(hostNS, vethA), req, "NETFILTER_DROP", "nft_do_chain", flags(syn), mono(at))
		w.tx(dev(podANS, eth0), req, flags(syn), mono(at-1000))
		if j := w.only(); len(j.Drops) != 1 || len(j.Hops) != 1 {
			t.Errorf("%+v", j)
		}
	})
}

func TestOtherProtocols(t *testing.T) {
	tests := []struct {
		name     string
		req      tracer.Tuple
		ask, ans []change
	}{
		{"UDP", udp(podA, 5000, podB, 53), nil, nil},
		{"SCTP", tuple(tracer.ProtoSCTP, podA, 5000, podB, 9999), nil, nil},
		{"ICMP echo", tuple(tracer.ProtoICMP, podA, 77, podB, 77), []change{icmp(8, 0)}, []change{icmp(0, 0)}},
		{"ICMPv6 echo", tuple(tracer.ProtoICMPv6, "fd00::a", 77, "fd00::b", 77), []change{icmp(128, 0)}, []change{icmp(129, 0)}},
		{"UDP over IPv6", udp("fd00::a", 5000, "fd00::b", 53), nil, nil},
		{"a protocol without ports", tuple(50, podA, 0, podB, 0), nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, nil)
			w.tx(dev(podANS, eth0), tt.req, append(tt.ask, bytes(30))...)
			w.rx(dev(podBNS, eth0), tt.req, append(tt.ask, bytes(30))...)
			w.tx(dev(podBNS, eth0), tt.req.Reverse(), append(tt.ans, bytes(50))...)
			w.rx(dev(podANS, eth0), tt.req.Reverse(), append(tt.ans, bytes(50))...)
			j := w.only()
			a := has(j, tracer.AnswerReply)
			if j.Attempts != 1 || !j.ReachedTarget || a == nil || !a.ReachedClient || j.ReplyBytes != 50 || j.RequestBytes != 30 || j.Mid {
				t.Errorf("%+v", j)
			}
		})
	}
}

// An ICMP error quotes the packet as the router saw it.
func TestICMPErrors(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	snat := tcp(nodeIP, 61000, world, 443)
	out := tcp(podA, 40000, world, 443)
	unreachable := tuple(tracer.ProtoICMP, "192.0.2.254", 0, podA, 0)
	t.Run("before translation", func(t *testing.T) {
		w := newWire(t, nil)
		w.tx(dev(podANS, eth0), req, flags(syn))
		w.tx(dev(hostNS, vethA), unreachable, icmp(3, 3), quoting(req))
		w.rx(dev(podANS, eth0), unreachable, icmp(3, 3), quoting(req))
		a := has(w.only(), tracer.AnswerICMP)
		if a == nil || !a.ReachedClient || a.ICMPCode != 3 || a.Device != dev(hostNS, vethA) {
			t.Errorf("answer %+v", a)
		}
	})
	t.Run("after translation, met at the uplink", func(t *testing.T) {
		w := newWire(t, nil)
		w.tx(dev(podANS, eth0), out, flags(syn))
		w.tx(dev(hostNS, uplink), snat, flags(syn), ct(out, snat, false))
		w.rx(dev(hostNS, uplink), tuple(tracer.ProtoICMP, "192.0.2.254", 0, nodeIP, 0), icmp(3, 13), quoting(snat))
		j := w.only()
		a := has(j, tracer.AnswerICMP)
		if a == nil || a.ReachedClient || a.From.String() != "192.0.2.254" || a.Hook != tracer.EventRX {
			t.Errorf("answer %+v", a)
		}
	})
	t.Run("about the answer", func(t *testing.T) {
		w := newWire(t, nil)
		viaService(w, req, dnat, flags(syn))
		w.rx(dev(hostNS, vethA), tuple(tracer.ProtoICMP, podA, 0, podB, 0), icmp(3, 3), quoting(dnat.Reverse()))
		if j := w.only(); len(j.Answers) != 0 {
			t.Errorf("the client's own error counts as an answer: %+v", j.Answers)
		}
	})
	t.Run("about nothing that is known", func(t *testing.T) {
		w := newWire(t, nil)
		if id := w.rx(dev(podANS, eth0), unreachable, icmp(3, 3), quoting(req)); id != 0 || len(w.jn.IDs()) != 0 {
			t.Errorf("flow %d", id)
		}
	})
	t.Run("quote cut off, conntrack knows", func(t *testing.T) {
		w := newWire(t, nil)
		w.tx(dev(podANS, eth0), req, flags(syn))
		related := func(ev *tracer.Event) { ev.CT = &tracer.CT{Orig: req, Reply: req.Reverse(), Info: 4} }
		w.tx(dev(hostNS, vethA), unreachable, icmp(3, 1), related)
		if a := has(w.only(), tracer.AnswerICMP); a == nil {
			t.Error("the error is lost")
		}
	})
	t.Run("the only one to tell of the translation", func(t *testing.T) {
		w := newWire(t, nil)
		w.tx(dev(podANS, eth0), req, flags(syn))
		related := func(ev *tracer.Event) { ev.CT = &tracer.CT{Orig: req, Reply: dnat.Reverse(), Info: 4} }
		w.tx(dev(hostNS, vethA), unreachable, icmp(3, 1), quoting(req), related)
		if j := w.only(); j.Translated != dnat || !j.CTSeen || j.Attempts != 1 || has(j, tracer.AnswerICMP) == nil {
			t.Errorf("translated to %s, %d attempts, answers %+v", j.Translated, j.Attempts, j.Answers)
		}
	})
	t.Run("a redirect is neither an answer nor a packet of the flow", func(t *testing.T) {
		w := newWire(t, nil)
		related := func(ev *tracer.Event) { ev.CT = &tracer.CT{Orig: req, Reply: req.Reverse(), Info: 4} }
		w.tx(dev(podANS, eth0), req, flags(syn))
		w.tx(dev(hostNS, vethA), unreachable, icmp(5, 1), related)
		w.drop(dev(hostNS, 0), unreachable, "NETFILTER_DROP", "nf_hook_slow", icmp(5, 1), related)
		j := w.only()
		if len(j.Answers) != 0 || len(j.Hops) != 1 || len(j.Drops) != 1 || !j.Drops[0].ICMPError {
			t.Errorf("answers %+v hops %+v drops %+v", j.Answers, j.Hops, j.Drops)
		}
	})
	t.Run("dropped", func(t *testing.T) {
		w := newWire(t, nil)
		w.tx(dev(podANS, eth0), out, flags(psh), bytes(1400))
		w.drop(dev(hostNS, 0), tuple(tracer.ProtoICMP, nodeIP, 0, podA, 0), "NETFILTER_DROP", "nft_do_chain", icmp(3, 4), quoting(out))
		j := w.only()
		if len(j.Drops) != 1 || !j.Drops[0].ICMPError || j.Drops[0].Direction != tracer.DirReply || len(j.Answers) != 0 {
			t.Errorf("drops %+v answers %+v", j.Drops, j.Answers)
		}
	})
}

func TestTunnel(t *testing.T) {
	req := tcp(podA, 40000, far, 8080)
	outer := udp(nodeIP, 49152, "192.0.2.2", 8472)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), req, flags(syn))
	w.tx(dev(hostNS, tunnel), req, flags(syn))
	w.tx(dev(hostNS, uplink), outer, inner(req, syn), ct(outer, outer, false))
	w.rx(dev(hostNS, uplink), outer.Reverse(), inner(req.Reverse(), synAck))
	w.rx(dev(hostNS, tunnel), req.Reverse(), flags(synAck), acks(101))
	w.rx(dev(podANS, eth0), req.Reverse(), flags(synAck), acks(101))
	j := w.only()
	if !j.LeftNode || j.LeftBy != dev(hostNS, uplink) || j.LeftAs != outer {
		t.Errorf("left by %v as %s", j.LeftBy, j.LeftAs)
	}
	a := has(j, tracer.AnswerSynAck)
	if a == nil || a.From.String() != far || !a.ReachedClient || j.CTSeen || len(j.Translations) != 0 {
		t.Errorf("answer %+v, journey %+v", a, j)
	}
	if h := j.Hops[2]; h.Inner == nil || h.Inner.VNI != 1 {
		t.Errorf("hop %+v", h)
	}
}

// At the receiving node, the tunnel packet comes first.
func TestTunnelAtReceiver(t *testing.T) {
	req := tcp(far, 40000, podB, 8080)
	outer := udp("192.0.2.2", 49152, nodeIP, 8472)
	w := newWire(t, nil)
	w.rx(dev(hostNS, uplink), outer, inner(req, syn))
	w.rx(dev(hostNS, tunnel), req, flags(syn))
	w.rx(dev(podBNS, eth0), req, flags(syn))
	w.tx(dev(podBNS, eth0), req.Reverse(), flags(synAck), acks(101))
	w.tx(dev(hostNS, uplink), outer.Reverse(), inner(req.Reverse(), synAck))
	j := w.only()
	if j.Mid || !j.ReachedTarget || j.LeftNode {
		t.Errorf("%+v", j)
	}
	if a := has(j, tracer.AnswerSynAck); a == nil || !a.ReachedClient {
		t.Errorf("answer %+v: a client off the node is reached when the answer leaves", a)
	}
}

// A tunnel that hides what it carries is the last that is seen.
func TestOpaqueTunnelLeavesTheNode(t *testing.T) {
	req := udp(podA, 4000, far, 53)
	w := newWire(t, nil)
	w.tx(dev(hostNS, wg), req)
	if j := w.only(); !j.LeftNode || j.LeftBy != dev(hostNS, wg) {
		t.Errorf("%+v", j)
	}
}

func TestHairpin(t *testing.T) {
	req, masq := tcp(podA, 40000, clusterIP, 80), tcp(bridgeIP, 40001, podA, 8080)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), req, flags(syn))
	w.rx(dev(hostNS, vethA), req, flags(syn))
	w.tx(dev(hostNS, vethA), masq, flags(syn), ct(req, masq, false))
	w.rx(dev(podANS, eth0), masq, flags(syn))
	w.tx(dev(podANS, eth0), masq.Reverse(), flags(synAck), acks(101))
	w.rx(dev(hostNS, vethA), masq.Reverse(), flags(synAck), acks(101))
	w.tx(dev(hostNS, vethA), req.Reverse(), flags(synAck), acks(101), ct(req, masq, true))
	w.rx(dev(podANS, eth0), req.Reverse(), flags(synAck), acks(101))
	j := w.only()
	if j.Translated != masq || !j.ReachedTarget || j.Attempts != 1 || len(j.Hops) != 8 {
		t.Errorf("%+v", j)
	}
	if a := has(j, tracer.AnswerSynAck); a == nil || !a.ReachedClient || a.Count != 1 {
		t.Errorf("answer %+v", a)
	}
	if j.SrcDevice != j.DstDevice {
		t.Error("both ends are the same pod")
	}
}

// A NodePort's packets are received by the node, which is not their target.
func TestNodePortReachesPodNotNode(t *testing.T) {
	req, dnat := tcp(world, 50000, nodeIP, 30080), tcp(world, 50000, podB, 8080)
	w := newWire(t, nil)
	w.rx(dev(hostNS, uplink), req, flags(syn))
	if j := w.only(); !j.ReachedTarget {
		t.Error("as far as is known, the node is the target")
	}
	w.drop(dev(hostNS, uplink), dnat, "NETFILTER_DROP", "nft_do_chain", flags(syn), ct(req, dnat, false))
	if j := w.only(); j.ReachedTarget || j.DstDevice != dev(podBNS, eth0) {
		t.Errorf("reached %t, target %v", j.ReachedTarget, j.DstDevice)
	}
}

func TestDrops(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	w := newWire(t, nil)
	for range 3 {
		w.tx(dev(podANS, eth0), req, flags(syn))
		w.drop(dev(hostNS, bridge), dnat, "NETFILTER_DROP", "nft_do_chain", flags(syn), ct(req, dnat, false))
		w.pass(time.Second)
	}
	w.drop(dev(hostNS, vethA), req, "TC_INGRESS", "tc", flags(syn))
	w.drop(dev(podANS, eth0), req.Reverse(), "NO_SOCKET", "tcp_v4_rcv", flags(synAck))
	noise := w.make(tracer.EventDrop, dev(hostNS, lo), req)
	noise.Drop = &tracer.Drop{Reason: "QUEUE_PURGE", Noise: "socket-teardown"}
	w.add(noise)
	j := w.only()
	if len(j.Drops) != 3 {
		t.Fatalf("drops %+v", j.Drops)
	}
	if d := j.Drops[0]; d.Count != 3 || d.Tuple != dnat || d.Direction != tracer.DirRequest || d.Last.Sub(d.First) < 2*time.Second {
		t.Errorf("after translation: %+v", d)
	}
	if d := j.Drops[1]; d.Count != 1 || d.Tuple != req {
		t.Errorf("before translation: %+v", d)
	}
	if d := j.Drops[2]; d.Direction != tracer.DirReply {
		t.Errorf("answer: %+v", d)
	}
}

func TestDropInsideTargetReachesIt(t *testing.T) {
	req := udp(podA, 5000, podB, 53)
	w := newWire(t, nil)
	w.drop(dev(podBNS, eth0), req, "NO_SOCKET", "__udp4_lib_rcv")
	if j := w.only(); !j.ReachedTarget || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
}

func TestARPDrops(t *testing.T) {
	req := tcp(podA, 40000, clusterIP, 80)
	ask := func(src, dst string) tracer.Tuple {
		return tracer.Tuple{Src: ap(src, 0), Dst: ap(dst, 0)}
	}
	arp := func(ev *tracer.Event) { ev.ARP = true }
	w := newWire(t, nil)
	for range 3 {
		if id := w.drop(dev(podANS, eth0), ask(podA, bridgeIP), "QDISC_DROP", "__dev_queue_xmit", arp); id != 0 {
			t.Errorf("an address resolution belongs to flow %d", id)
		}
		w.pass(time.Second)
	}
	w.drop(dev(podBNS, eth0), ask(podB, bridgeIP), "QDISC_DROP", "__dev_queue_xmit", arp)
	w.drop(dev(podANS, eth0), req, "NEIGH_FAILED", "neigh_invalidate", flags(syn))
	j := w.only()
	if len(j.Drops) != 2 || !j.Drops[0].ARP || j.Drops[0].Count != 3 || j.Drops[1].ARP {
		t.Errorf("drops %+v", j.Drops)
	}
	w.pass(time.Minute)
	id := w.tx(dev(podANS, eth0), tcp(podA, 40001, world, 80), flags(syn))
	if later := w.journey(id); len(later.Drops) != 0 {
		t.Errorf("an old resolution is blamed: %+v", later.Drops)
	}
}

// The same addresses in other namespaces, seen there without translation, are
// the same flow.
func TestSameTupleInSeveralNamespaces(t *testing.T) {
	req := udp(podA, 5000, podB, 53)
	w := newWire(t, nil)
	for _, at := range []tracer.DeviceKey{dev(podANS, eth0), dev(hostNS, vethA), dev(hostNS, bridge), dev(podBNS, eth0)} {
		w.rx(at, req)
	}
	if j := w.only(); len(j.Hops) != 4 {
		t.Errorf("%+v", j.Hops)
	}
}

func TestWant(t *testing.T) {
	yes, no := tcp(podA, 40000, podB, 80), tcp(podA, 40000, podB, 81)
	w := newWire(t, func(t tracer.Tuple) bool { return t == yes })
	if w.tx(dev(podANS, eth0), yes, flags(syn)) == 0 || w.tx(dev(podANS, eth0), no, flags(syn)) != 0 {
		t.Error("selection")
	}
	if len(w.jn.IDs()) != 1 {
		t.Errorf("ids %v", w.jn.IDs())
	}
	w.jn.SetWant(func(t tracer.Tuple) bool { return t == no })
	if len(w.jn.IDs()) != 2 {
		t.Errorf("an unwanted flow is asked again, a wanted one stays: %v", w.jn.IDs())
	}
}

// Who asks for a pod means what comes by its Service, too, and not what the
// Service sends to another pod or what others send.
func TestWantByTranslation(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	for name, tt := range map[string]struct {
		want Want
		seen bool
	}{
		"its endpoint":            {func(t tracer.Tuple) bool { return t == dnat }, true},
		"the Service":             {func(t tracer.Tuple) bool { return t == req }, true},
		"another pod":             {func(t tracer.Tuple) bool { return t.Dst.Addr() == netip.MustParseAddr(far) }, false},
		"the answer as a request": {func(t tracer.Tuple) bool { return t == dnat.Reverse() }, false},
		"from somebody else":      {func(t tracer.Tuple) bool { return t.Src.Addr() == netip.MustParseAddr(world) && t.Dst == dnat.Dst }, false},
	} {
		w := newWire(t, tt.want)
		w.tx(dev(podANS, eth0), req, flags(syn))
		w.tx(dev(hostNS, vethB), dnat, flags(syn), ct(req, dnat, false))
		w.rx(dev(podBNS, eth0), dnat, flags(syn))
		if seen := len(w.jn.IDs()) == 1; seen != tt.seen {
			t.Errorf("%s: seen %t", name, seen)
		}
	}
}

func TestClosing(t *testing.T) {
	req := tcp(podA, 40000, podB, 8080)
	open := func(w *wire) {
		w.tx(dev(podANS, eth0), req, flags(syn))
		w.tx(dev(podBNS, eth0), req.Reverse(), flags(synAck), acks(101))
		w.rx(dev(podANS, eth0), req.Reverse(), flags(synAck), acks(101))
		w.tx(dev(podANS, eth0), req, flags(psh), bytes(10))
	}
	data := func(w *wire) { w.tx(dev(podBNS, eth0), req.Reverse(), flags(psh), bytes(10)) }
	tests := []struct {
		name   string
		then   func(*wire)
		closed bool
		answer tracer.AnswerKind
		client bool
	}{
		{"one side", func(w *wire) { data(w); w.tx(dev(podANS, eth0), req, flags(fin)) }, false, "", false},
		{"both sides", func(w *wire) {
			data(w)
			w.tx(dev(podANS, eth0), req, flags(fin))
			w.tx(dev(podBNS, eth0), req.Reverse(), flags(fin))
		}, true, tracer.AnswerFin, false},
		{"reset by the server", func(w *wire) { w.tx(dev(podBNS, eth0), req.Reverse(), flags(rst)) }, true, tracer.AnswerRST, false},
		{"reset by the client", func(w *wire) { w.tx(dev(podANS, eth0), req, flags(rst)) }, true, "", true},
		{"reset after the client closed with its answer", func(w *wire) {
			data(w)
			w.tx(dev(podANS, eth0), req, flags(fin))
			w.tx(dev(podBNS, eth0), req.Reverse(), flags(rst))
		}, true, tracer.AnswerFin, false},
		{"reset after the client closed without an answer", func(w *wire) {
			w.tx(dev(podANS, eth0), req, flags(fin))
			w.tx(dev(podBNS, eth0), req.Reverse(), flags(rst))
		}, true, tracer.AnswerRST, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, nil)
			open(w)
			tt.then(w)
			j := w.only()
			if j.Closed != tt.closed || j.ClientReset != tt.client || !j.Established {
				t.Errorf("closed %t, client reset %t, established %t", j.Closed, j.ClientReset, j.Established)
			}
			if (has(j, tracer.AnswerRST) != nil) != (tt.answer == tracer.AnswerRST) || (has(j, tracer.AnswerFin) != nil) != (tt.answer == tracer.AnswerFin) {
				t.Errorf("answers %+v", j.Answers)
			}
		})
	}
}

func TestCount(t *testing.T) {
	req := tcp(podA, 40000, podB, 8080)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), req, flags(syn))
	w.tx(dev(podBNS, eth0), req.Reverse(), flags(synAck), acks(101))
	later := epoch.Add(time.Hour)
	w.jn.Count(&tracer.FlowCount{Kind: tracer.EventTX, Device: dev(podANS, eth0), Tuple: req, Packets: 900, Last: later})
	w.jn.Count(&tracer.FlowCount{Kind: tracer.EventTX, Device: dev(podBNS, eth0), Tuple: req.Reverse(), Packets: 800, TCPFlags: psh, Last: later})
	w.jn.Count(&tracer.FlowCount{Kind: tracer.EventTX, Device: dev(podANS, eth0), Tuple: req, Packets: 3}) // counts do not go back
	w.jn.Count(&tracer.FlowCount{Kind: tracer.EventRX, Device: dev(hostNS, wg), Tuple: req, Packets: 5})   // a hop without an event
	w.jn.Count(&tracer.FlowCount{Kind: tracer.EventRX, Device: dev(hostNS, wg), Tuple: udp(far, 1, world, 2)})
	j := w.only()
	if j.Hops[0].Packets != 900 || j.Hops[1].Packets != 800 || !j.Last.Equal(later) || !j.Hops[0].Last.Equal(later) {
		t.Errorf("%+v", j.Hops)
	}
	if has(j, tracer.AnswerData) == nil || j.ReplyBytes == 0 {
		t.Error("data came back after the packets that were followed")
	}
}

func TestEviction(t *testing.T) {
	w := newWire(t, nil)
	w.jn.max = 10
	for i := range 25 {
		req, dnat := tcp(podA, uint16(40000+i), clusterIP, 80), tcp(podA, uint16(40000+i), podB, 8080)
		viaService(w, req, dnat, flags(syn))
	}
	if n := len(w.jn.IDs()); n != 10 || w.jn.Evicted != 15 || len(w.jn.flows) != 10 || len(w.jn.order) != 10 {
		t.Errorf("%d flows kept, %d evicted", n, w.jn.Evicted)
	}
	if len(w.jn.index) > 10*3 {
		t.Errorf("%d tuples for 10 flows", len(w.jn.index))
	}
	for _, id := range w.jn.IDs() {
		w.jn.Forget(id)
		w.jn.Forget(id)
	}
	if len(w.jn.index)+len(w.jn.flows)+len(w.jn.order) != 0 {
		t.Errorf("left over: %d tuples, %d flows, %d in order", len(w.jn.index), len(w.jn.flows), len(w.jn.order))
	}
	if _, ok := w.jn.Journey(1); ok {
		t.Error("a forgotten flow is known")
	}
}

// Forged packets must not fill the memory of one flow, nor that of resolutions.
func TestBoundsOfOneFlow(t *testing.T) {
	req := udp(podA, 5000, world, 53)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), req)
	for i := range 2000 {
		router := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String()
		w.rx(dev(hostNS, uplink), tuple(tracer.ProtoICMP, router, 0, nodeIP, 0), icmp(3, uint8(i)), quoting(req))
		w.drop(dev(hostNS, uint32(i)), req, "R", "L")
		to := udp(podA, 5000, router, 53)
		w.tx(dev(hostNS, uplink), to, ct(req, to, false))
		w.drop(dev(podANS, eth0), tracer.Tuple{Src: ap(router, 0), Dst: ap(podA, uint16(i))}, "R", "L", func(ev *tracer.Event) { ev.ARP = true })
	}
	j := w.journey(w.jn.IDs()[0])
	if len(j.Hops) > maxHops || len(j.Drops) > maxDrops+maxARP || len(j.Answers) > maxAnswers || len(j.Translations) > maxTranslations {
		t.Errorf("hops %d drops %d answers %d translations %d", len(j.Hops), len(j.Drops), len(j.Answers), len(j.Translations))
	}
	for i := range 3 * maxAskers {
		asker := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}).String()
		w.pass(time.Millisecond)
		w.drop(dev(podANS, eth0), tracer.Tuple{Src: ap(asker, 0), Dst: ap(podA, 0)}, "R", "L", func(ev *tracer.Event) { ev.ARP = true })
	}
	if len(w.jn.arp) > maxAskers {
		t.Errorf("%d askers kept", len(w.jn.arp))
	}
}

func TestQuery(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	w := newWire(t, nil)
	w.tx(dev(podANS, eth0), req, flags(syn))
	w.drop(dev(hostNS, bridge), dnat, "NETFILTER_DROP", "nft_do_chain", flags(syn), ct(req, dnat, false))
	q := w.jn.Query(w.only())
	if q.Flow != req || q.Translated != dnat || q.SrcNetNS != podANS || q.DstNetNS != podBNS || len(q.Drops) != 1 || q.Since != w.only().First {
		t.Errorf("%+v", q)
	}
	if q := w.jn.Query(&tracer.Journey{Flow: req, Translated: req, First: w.only().First}); !q.Since.IsZero() {
		t.Errorf("a flow that was not seen began at %s", q.Since)
	}
}

// Packets after translation are read before the one that shows the translation.
func TestAdoption(t *testing.T) {
	req, dnat := tcp(podA, 40000, clusterIP, 80), tcp(podA, 40000, podB, 8080)
	t.Run("the rings of two CPUs", func(t *testing.T) {
		w := newWire(t, nil)
		at := w.mono + 50_000
		w.rx(dev(podBNS, eth0), dnat, flags(syn), mono(at))
		w.tx(dev(podBNS, eth0), dnat.Reverse(), flags(synAck), acks(101), mono(at+1000))
		w.tx(dev(podANS, eth0), req, flags(syn), mono(at-3000))
		w.tx(dev(hostNS, vethB), dnat, flags(syn), ct(req, dnat, false), mono(at-1000))
		j := w.only()
		if len(j.Hops) != 4 || j.Mid || !j.ReachedTarget || has(j, tracer.AnswerSynAck) == nil || j.Attempts != 1 {
			t.Errorf("%+v", j)
		}
	})
	t.Run("the trace begins with an answer", func(t *testing.T) {
		w := newWire(t, nil)
		answerService(w, req, dnat, flags(psh), bytes(500))
		if j := w.only(); j.Flow != req || len(j.Hops) != 4 || j.ReplyBytes != 500 || !j.Mid {
			t.Errorf("%+v", j)
		}
	})
	t.Run("not an old connection", func(t *testing.T) {
		w := newWire(t, nil)
		w.tx(dev(podANS, eth0), dnat, flags(syn))
		w.pass(time.Minute)
		viaService(w, req, dnat, flags(syn))
		if n := len(w.jn.IDs()); n != 2 {
			t.Errorf("%d flows: %s", n, w.describe())
		}
	})
}

// On a node where pods come and go for days, what is kept of their devices is
// bounded; one that has just gone is still known.
func TestGoneDevicesAreBounded(t *testing.T) {
	jn := New(nil)
	for n := range uint32(3 * maxGone) {
		d := tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: n + 1, IfIndex: 2}, Name: "eth0", Role: tracer.RolePod}
		jn.SetInventory(tracer.Inventory{Devices: []tracer.Device{d}})
	}
	if n := len(jn.roles); n > maxGone+2 {
		t.Errorf("%d devices are kept", n)
	}
	last := tracer.DeviceKey{NetNS: 3 * maxGone, IfIndex: 2}
	jn.SetInventory(tracer.Inventory{})
	if _, ok := jn.Device(last); !ok {
		t.Error("a device that has just gone is not known any more")
	}
}
