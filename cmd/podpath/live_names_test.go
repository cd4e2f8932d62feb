package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestHostNames: a name once known is never waited for again, and is kept when
// the DNS fails.
func TestHostNames(t *testing.T) {
	before, after := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	answer, asked := make(chan error), make(chan struct{}, 8)
	next := before
	h := newHostNames()
	h.lookup = func(context.Context, string) ([]netip.Addr, error) {
		asked <- struct{}{}
		if err := <-answer; err != nil {
			return nil, err
		}
		return []netip.Addr{next}, nil
	}
	resolve := func() (netip.Addr, error) {
		got, err := h.resolve(t.Context(), "www.example.com")
		if err != nil {
			return netip.Addr{}, err
		}
		return got[0], nil
	}
	go func() { answer <- errors.New("no such host") }()
	if _, err := resolve(); err == nil {
		t.Error("a name that was never known must be an error")
	}
	go func() { answer <- nil }()
	if got, err := resolve(); err != nil || got != before {
		t.Fatalf("got %v, %v", got, err)
	}
	<-asked
	<-asked
	age := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		k := h.known["www.example.com"]
		k.asked = k.asked.Add(-2 * nameAge)
		h.known["www.example.com"] = k
	}
	for _, err := range []error{errors.New("the DNS does not answer"), nil} {
		age()
		if got, _ := resolve(); got != before { // must not wait for the answer
			t.Errorf("got %v while asking", got)
		}
		<-asked
		next = after
		answer <- err
		deadline := time.Now().Add(20 * time.Second)
		for want := map[bool]netip.Addr{true: after, false: before}[err == nil]; ; {
			h.mu.Lock()
			k := h.known["www.example.com"]
			h.mu.Unlock()
			if !k.asking && k.addrs[0] == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %v, want %v", k.addrs, want)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
