package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/render"
)

const (
	latencyTries = 6
	latencyTime  = 20 * time.Second
	// latencyPackets are those of a flow of datagrams that have to be dropped
	// before it is called silent.
	latencyPackets = 2
)

// verdictLatency is how long it takes from when the last packet that the verdict
// needs was sent, and dropped, until podpath has printed the verdict: of each
// try, in seconds. Each asks for facts of its own: it goes to another address.
func (b *bench) verdictLatency(ctx context.Context) ([]float64, error) {
	t, err := startTool(ctx, b.spawn, b.top.node, *b.trace(b.top.pods[0].ip.String(), "any"))
	if err != nil {
		return nil, err
	}
	defer t.close()
	var out []float64
	to := externalIP
	for range latencyTries {
		took, err := b.untilVerdict(ctx, t, netip.AddrPortFrom(to, droppedPort))
		if err != nil {
			t.kill()
			return out, err
		}
		out = append(out, took)
		to = to.Next()
	}
	return out, t.stop()
}

func (b *bench) untilVerdict(ctx context.Context, t *tool, to netip.AddrPort) (float64, error) {
	s, err := newBlaster(b.top.pods[0].space, to, 1)
	if err != nil {
		return 0, err
	}
	defer s.close()
	name, err := unix.Getsockname(s.fds[0])
	if err != nil {
		return 0, fmt.Errorf("read the source port: %w", err)
	}
	from, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return 0, errors.New("read the source port: no IPv4 socket")
	}
	// The rule drops in this call: the packet passes the node on this thread.
	if n, err := s.sendBatch(s.fds[0], latencyPackets); err != nil || n != latencyPackets {
		return 0, errors.Join(fmt.Errorf("sent %d packets of %d", n, latencyPackets), err)
	}
	sent := time.Now()
	for {
		v, err := verdictOf(t, uint16(from.Port), to)
		took := time.Since(sent)
		if err != nil {
			return 0, err
		}
		if v != nil {
			return took.Seconds(), rightVerdict(v)
		}
		if took > latencyTime {
			return 0, fmt.Errorf("no verdict for the packets to %s in %s", to, latencyTime)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.exited:
			return 0, fmt.Errorf("podpath ended: %s", t.complaint())
		case <-time.After(time.Millisecond):
		}
	}
}

// verdictOf finds the verdict of a flow in what was printed so far.
func verdictOf(t *tool, port uint16, to netip.AddrPort) (*render.Verdict, error) {
	info, err := t.out.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at podpath's output: %w", err)
	}
	all := make([]byte, info.Size())
	if _, err := t.out.ReadAt(all, 0); err != nil && info.Size() > 0 {
		return nil, fmt.Errorf("read podpath's output: %w", err)
	}
	for line := range bytes.Lines(all) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // is being written
		}
		var v render.Verdict
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("read podpath's output: %w", err)
		}
		if v.Kind == "Verdict" && v.Flow.Source.Port == port && v.Flow.Destination.IP == to.Addr() {
			return &v, nil
		}
	}
	return nil, nil
}

// rightVerdict: the rule of the node that dropped is named.
func rightVerdict(v *render.Verdict) error {
	if v.Rule == nil || v.Rule.Table != "bench" || v.Rule.Chain != "forward" {
		return fmt.Errorf("the verdict is %s and names the rule %+v, want the one that dropped", v.Code, v.Rule)
	}
	return nil
}
