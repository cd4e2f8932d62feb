package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer/netns"
)

const (
	// watchDebounce joins the notifications of one pod being plugged in.
	watchDebounce = 50 * time.Millisecond
	// watchPoll is the safety net for what no notification tells.
	watchPoll = 5 * time.Second
	// resubscribeAfter spaces out attempts after a lost subscription.
	resubscribeAfter = 500 * time.Millisecond
)

// settle are the calls after the first one of a burst: a CNI moves the veth and
// adds the address inside the pod a moment later, where the node's namespace
// gets no notification.
var settle = []time.Duration{200 * time.Millisecond, 700 * time.Millisecond}

// Watch calls changed, from its own goroutine and never twice at once, whenever
// links or addresses of the node's namespace change: about 50 ms after the
// first change of a burst, again 250 ms and 950 ms after it, and every 5 s in
// any case. It returns when ctx ends, with nil, or with an error if it could
// not subscribe at all.
func (n *Node) Watch(ctx context.Context, changed func()) error {
	kick := make(chan struct{}, 1)
	stop, err := n.subscribe(ctx, kick)
	if err != nil {
		return err
	}
	defer func() { stop() }()
	poll := time.NewTicker(watchPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
			changed()
		case <-kick:
			if !n.burst(ctx, kick, changed) {
				return nil
			}
		}
	}
}

// burst runs the calls that follow one notification; false if ctx ended.
// Notifications on the way start the series again, so that the last change is
// always followed by the whole of it.
func (n *Node) burst(ctx context.Context, kick <-chan struct{}, changed func()) bool {
	for step := 0; step <= len(settle); step++ {
		wait := watchDebounce
		if step > 0 {
			wait = settle[step-1]
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-kick:
			t.Stop()
			if step > 0 {
				step = -1 // the loop makes it 0: debounce anew
			} else {
				// Already debouncing: do not postpone, or a steady stream of
				// notifications would starve the call.
				if !sleep(ctx, watchDebounce) {
					return false
				}
				changed()
			}
		case <-t.C:
			changed()
		}
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// subscribe turns notifications into kicks. A subscription that breaks
// (ENOBUFS in a storm) kicks, because something was missed, and is renewed.
func (n *Node) subscribe(ctx context.Context, kick chan<- struct{}) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	start := func() (<-chan struct{}, error) { return n.subscribeOnce(ctx, kick) }
	broken, err := start()
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-broken:
			}
			notify(kick)
			if !sleep(ctx, resubscribeAfter) {
				return
			}
			again, err := start()
			if err != nil {
				n.log.WarnContext(ctx, "watching devices by polling only", slog.Any("error", err))
				return
			}
			broken = again
		}
	}()
	return cancel, nil
}

// subscribeOnce subscribes to links and addresses; broken is closed when
// either stops. Both end with ctx.
func (n *Node) subscribeOnce(ctx context.Context, kick chan<- struct{}) (broken <-chan struct{}, err error) {
	ctx, cancel := context.WithCancel(ctx)
	fail := func(err error) {
		n.log.DebugContext(ctx, "device notifications interrupted", slog.Any("error", err))
	}
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	err = netns.Do(int(n.host.Fd()), func() error {
		if err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{ErrorCallback: fail}); err != nil {
			return fmt.Errorf("subscribe to link changes: %w", err)
		}
		if err := netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: fail}); err != nil {
			return fmt.Errorf("subscribe to address changes: %w", err)
		}
		return nil
	})
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				drain(links, addrs)
				return
			case _, ok := <-links:
				if !ok {
					drain(nil, addrs)
					return
				}
			case _, ok := <-addrs:
				if !ok {
					cancel()
					drain(links, nil)
					return
				}
			}
			notify(kick)
		}
	}()
	return done, nil
}

// drain lets the senders end: they may be blocked on a full channel.
func drain(links <-chan netlink.LinkUpdate, addrs <-chan netlink.AddrUpdate) {
	if links != nil {
		go func() {
			for range links {
			}
		}()
	}
	if addrs != nil {
		go func() {
			for range addrs {
			}
		}()
	}
}

func notify(kick chan<- struct{}) {
	select {
	case kick <- struct{}{}:
	default:
	}
}
