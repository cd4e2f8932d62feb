package node

import (
	"context"
	"time"
)

const (
	// watchDebounce joins the notifications of one pod being plugged in.
	watchDebounce = 50 * time.Millisecond
	// watchPoll is the safety net for what no notification tells.
	watchPoll = 5 * time.Second
)

// settle are the calls after the first one of a burst: a CNI moves the veth and
// adds the address inside the pod a moment later, and what happens in there may
// not be told (listen).
var settle = []time.Duration{200 * time.Millisecond, 700 * time.Millisecond}

// Watch calls changed, from its own goroutine and never twice at once, whenever
// links or addresses of the node's namespace, or with CAP_NET_BROADCAST of a
// namespace joined to it, change: about 50 ms after the
// first change of a burst, again 250 ms and 950 ms after it, and every 5 s in
// any case. It returns when ctx ends, with nil, or with an error if it could
// not subscribe at all.
func (n *Node) Watch(ctx context.Context, changed func()) error {
	kick := make(chan struct{}, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := n.listen(ctx, kick); err != nil {
		return err
	}
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
