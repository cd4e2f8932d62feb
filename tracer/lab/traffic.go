package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	noisePort  = 9    // discard: the bystander's rule drops it
	rudePort   = 7070 // a server that talks to nobody
	closedPort = 7    // nobody listens
	noiseGap   = 400 * time.Millisecond
)

// ErrNoScene is Traffic's answer before Break.
var ErrNoScene = errors.New("nothing to show: call Break first")

// Traffic sends the traffic of the current scenario, several short exchanges
// that overlap, with unrelated noise around them. It returns when all have
// ended or ctx has; then the attempts are those that ended in time. Packets
// flow from the moment of the call, so call it when the tracer is ready.
func (l *Lab) Traffic(ctx context.Context) ([]Attempt, error) {
	if l.scene == nil {
		return nil, ErrNoScene
	}
	noise, hush := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.noise(noise) })
	defer wg.Wait()
	defer hush()
	return l.scene.run(ctx)
}

func (s *scene) run(ctx context.Context) ([]Attempt, error) {
	var mu sync.Mutex
	var out []Attempt
	var errs []error
	var wg sync.WaitGroup
	for i := range s.attempts {
		if i > 0 && !pause(ctx, s.gap) {
			break
		}
		try := s.dial
		if len(s.round) > 0 {
			try.To = s.round[i%len(s.round)]
		}
		for _, from := range append([]*space{s.from}, s.beside...) {
			wg.Go(func() {
				res, err := from.call(ctx, request{Dial: &try})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					out = append(out, *res.Attempt)
				case ctx.Err() == nil:
					errs = append(errs, fmt.Errorf("send traffic: %w", err))
				}
			})
		}
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// pause waits, or says that there is no time left.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// noise is what every node is full of: a flow that a firewall drops, multicast,
// a closed port, connections torn down with data unread. None of it belongs to
// the scenario's flow, and its failures are its purpose.
func (l *Lab) noise(ctx context.Context) {
	a, b := l.server(1), l.dnsPod()
	at := func(port uint16) *netip.AddrPort {
		x := netip.AddrPortFrom(b.ip(l.opts.IPv6), port)
		return &x
	}
	mdns4 := netip.MustParseAddrPort("224.0.0.251:5353")
	mdns6 := netip.MustParseAddrPort("[ff02::fb%eth0]:5353")
	for {
		for _, x := range []struct {
			s   *space
			req request
		}{
			{a.space, request{Cast: at(noisePort)}},
			{a.space, request{Cast: at(closedPort)}},
			{l.client().space, request{Cast: &mdns4}},
			{l.client().space, request{Cast: &mdns6}},
			{a.space, request{Dial: &dialArgs{Kind: dialTeardown, To: *at(rudePort), Timeout: time.Second}}},
		} {
			_, _ = x.s.call(ctx, x.req)
		}
		if !pause(ctx, noiseGap) {
			return
		}
	}
}
