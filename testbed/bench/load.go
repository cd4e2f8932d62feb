package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// load is one kind of traffic.
type load struct {
	name string
	to   netip.AddrPort
	// count is how many packets came to their end so far: by a device's counter
	// or a rule's, never by a tracer's.
	count func(context.Context) (uint64, error)
}

const settleTime = 5 * time.Second

// loads are the paths that are measured, in the order of onPodToPod, ...
func (t *topology) loads() []*load {
	received := func(s *space) func(context.Context) (uint64, error) {
		return func(context.Context) (uint64, error) {
			c, err := s.device("eth0")
			return c.rx, err
		}
	}
	receiver := t.pods[1]
	return []*load{
		{"pod to pod, one bridge", netip.AddrPortFrom(receiver.ip, podPort), received(receiver.space)},
		{"pod to Service to external, DNAT and masquerade", netip.AddrPortFrom(serviceIP, servicePort), received(t.external)},
		{"storm of drops, nft rule", netip.AddrPortFrom(externalIP, droppedPort), t.ruleCount},
	}
}

// deviceCount is what a device counted.
type deviceCount struct{ rx, tx, refused uint64 }

// device reads the counters of a device. refused are packets that the other end
// of a veth had no room for: they were sent, did not arrive, and are drops.
func (s *space) device(name string) (deviceCount, error) {
	link, err := s.nl.LinkByName(name)
	if err != nil {
		return deviceCount{}, fmt.Errorf("read counters of %s in %s: %w", name, s.name, err)
	}
	st := link.Attrs().Statistics
	if st == nil {
		return deviceCount{}, fmt.Errorf("read counters of %s in %s: none", name, s.name)
	}
	return deviceCount{rx: st.RxPackets, tx: st.TxPackets, refused: st.TxDropped}, nil
}

// ruleCount is how many packets the dropping rule has met.
func (t *topology) ruleCount(ctx context.Context) (uint64, error) {
	out, err := t.node.command(ctx, t.spawn, "", "nft", "-j", "list", "counter", "ip", "bench", "dropped")
	if err != nil {
		return 0, err
	}
	var list struct {
		Nftables []struct {
			Counter *struct{ Packets uint64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return 0, fmt.Errorf("read the rule's counter: %w", err)
	}
	for _, x := range list.Nftables {
		if x.Counter != nil {
			return x.Counter.Packets, nil
		}
	}
	return 0, fmt.Errorf("read the rule's counter: not in %q", out)
}

// refused adds up the packets that any device on the way had no room for.
func (t *topology) refused() (uint64, error) {
	var sum uint64
	add := func(s *space, name string) error {
		c, err := s.device(name)
		sum += c.refused
		return err
	}
	for _, p := range t.pods[:2] {
		if err := add(p.space, "eth0"); err != nil {
			return 0, err
		}
		if err := add(t.node, p.veth); err != nil {
			return 0, err
		}
	}
	return sum, add(t.node, "eth0")
}

// rate is what one window of traffic gave.
type rate struct {
	packets uint64 // that came to their end
	spent
}

func (r rate) perSecond() float64 { return float64(r.packets) / r.wall.Seconds() }

// cpuShare is how much of the time that the sender had a CPU is on its account.
func (r rate) cpuShare() float64 { return r.cpu.Seconds() / (r.wall - r.waited).Seconds() }

func (r rate) cpuNS() float64 { return float64(r.cpu.Nanoseconds()) / float64(r.packets) }

// measure sends for a time and counts what arrives.
func (t *topology) measure(ctx context.Context, l *load, d time.Duration, pps float64, flows int) (rate, error) {
	b, err := newBlaster(t.pods[0].space, l.to, flows)
	if err != nil {
		return rate{}, err
	}
	defer b.close()
	before, err := l.count(ctx)
	if err != nil {
		return rate{}, err
	}
	took, err := b.run(ctx, d, pps)
	if err != nil {
		return rate{}, err
	}
	after, err := settled(ctx, l.count)
	if err != nil {
		return rate{}, err
	}
	if after == before {
		return rate{}, fmt.Errorf("%s: no packet came to its end", l.name)
	}
	return rate{after - before, took}, nil
}

// settled reads a counter until it stands still: a packet may still wait in a
// queue when its sender is done.
func settled(ctx context.Context, count func(context.Context) (uint64, error)) (uint64, error) {
	last, err := count(ctx)
	for deadline := time.Now().Add(settleTime); err == nil; {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		var now uint64
		if now, err = count(ctx); err == nil && now == last {
			return now, nil
		}
		last = now
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("packets still arrive %s after the last was sent", settleTime)
		}
	}
	return 0, err
}
