package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	nameAge  = 30 * time.Second // after which a name is asked for again
	nameTime = 5 * time.Second  // that one question may take
)

// hostNames remembers what DNS names stand for. Only the first question is
// waited for: a trace must go on when the DNS does not answer, which may be the
// very incident it looks into.
type hostNames struct {
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	mu    sync.Mutex
	known map[string]hostName
}

type hostName struct {
	addrs  []netip.Addr
	asked  time.Time
	asking bool
}

func newHostNames() *hostNames {
	return &hostNames{known: map[string]hostName{}, lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
}

// recordedNames knows what a recording says, and asks nobody.
func recordedNames(hosts map[string][]netip.Addr) *hostNames {
	h := &hostNames{known: map[string]hostName{}, lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		return nil, fmt.Errorf("the recording does not say what %s stands for", host)
	}}
	for name, addrs := range hosts {
		h.known[name] = hostName{addrs: addrs, asking: true} // never asked again
	}
	return h
}

// all returns every name with its addresses.
func (h *hostNames) all() map[string][]netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string][]netip.Addr, len(h.known))
	for name, k := range h.known {
		out[name] = k.addrs
	}
	return out
}

// resolve returns the addresses of a name, if need be those of before.
func (h *hostNames) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	h.mu.Lock()
	k, ok := h.known[host]
	if ok && !k.asking && time.Since(k.asked) > nameAge {
		k.asking = true
		h.known[host] = k
		go func() { _, _ = h.ask(ctx, host) }()
	}
	h.mu.Unlock()
	if ok {
		return k.addrs, nil
	}
	return h.ask(ctx, host)
}

func (h *hostNames) ask(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	addrs, err := h.lookup(ctx, host)
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.known[host]
	k.asking, k.asked = false, time.Now()
	if err == nil {
		k.addrs = addrs
	}
	if err == nil || ok {
		h.known[host] = k
	}
	return addrs, err
}
