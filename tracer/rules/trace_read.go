package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

const (
	// traceBuffer is what the kernel keeps of messages that were not read yet.
	traceBuffer = 4 << 20
	// maxTraceEnds and maxTraceOpen bound what is remembered.
	maxTraceEnds = 1024
	maxTraceOpen = 1024
	// settleTime is how long the messages of a packet that was dropped may take
	// to be read.
	settleTime = 500 * time.Millisecond
)

// traceReader reads the kernel's trace messages of one namespace.
type traceReader struct {
	nl   *netlink.Conn
	log  *slog.Logger
	done chan struct{}

	mu    sync.Mutex
	open  map[uint32]*traceWay // packets on their way, by the kernel's id
	found []traceEnd           // the last drops, oldest first
	drops uint64               // times that the kernel had to drop messages
	fence map[uint32]chan struct{}
}

// traceWay is a packet on its way through one base chain. The kernel gives it
// another id at the next.
type traceWay struct {
	tuple tracer.Tuple
	path  []string
}

// traceEnd is the rule, or the policy, that dropped a packet or queued it.
type traceEnd struct {
	table  tableKey
	tuple  tracer.Tuple
	path   []string // chains, from the base chain to the rule's
	handle uint64
	kind   int32
	policy bool
}

// listenTrace subscribes in the calling thread's namespace.
func listenTrace(log *slog.Logger) (*traceReader, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	_ = c.SetReadBuffer(traceBuffer) // a smaller one only loses more
	if err := c.JoinGroup(unix.NFNLGRP_NFTRACE); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to the kernel's rule trace: %w", err), c.Close())
	}
	r := &traceReader{nl: c, log: log, done: make(chan struct{}), open: map[uint32]*traceWay{}, fence: map[uint32]chan struct{}{}}
	go r.run()
	return r, nil
}

func (r *traceReader) close() error {
	err := r.nl.Close()
	<-r.done
	return err
}

func (r *traceReader) run() {
	defer close(r.done)
	for {
		ms, err := r.nl.Receive()
		r.mu.Lock()
		if errors.Is(err, unix.ENOBUFS) {
			r.drops++
			clear(r.open)
			err = nil
		}
		for _, m := range ms {
			r.message(m)
		}
		r.mu.Unlock()
		if err != nil {
			if !errors.Is(err, unix.EBADF) && !isClosed(err) {
				r.log.Debug("the kernel's rule trace ended", slog.Any("error", err))
			}
			return
		}
	}
}

// isClosed: the socket was closed while it was being read.
func isClosed(err error) bool {
	var op *netlink.OpError
	return errors.As(err, &op) && op.Err != nil && op.Err.Error() == "use of closed file"
}

func (r *traceReader) message(m netlink.Message) {
	switch m.Header.Type {
	case netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_TRACE):
		if len(m.Data) < 4 {
			return
		}
		if as, err := parseAttrs(m.Data[4:]); err == nil {
			r.trace(family(m.Data[0]), &as)
		}
	default:
		if ch := r.fence[m.Header.Sequence]; ch != nil {
			delete(r.fence, m.Header.Sequence)
			close(ch)
		}
	}
}

// trace takes one message. The headers of the packet come with the first of
// each base chain.
func (r *traceReader) trace(f family, as *attrs) {
	id := as.u32(unix.NFTA_TRACE_ID)
	way := r.open[id]
	if as.get(unix.NFTA_TRACE_NETWORK_HEADER) != nil {
		way = &traceWay{tuple: tracedTuple(as)}
		if len(r.open) >= maxTraceOpen {
			clear(r.open)
		}
		r.open[id] = way
	}
	if way == nil {
		return
	}
	way.enter(as.str(unix.NFTA_TRACE_CHAIN))
	kind, ends := traceVerdict(as)
	if !ends {
		return
	}
	delete(r.open, id)
	if kind != vDrop && kind != vQueue {
		return
	}
	if len(r.found) >= maxTraceEnds {
		r.found = slices.Delete(r.found, 0, maxTraceEnds/2)
	}
	r.found = append(r.found, traceEnd{table: tableKey{f, as.str(unix.NFTA_TRACE_TABLE)}, tuple: way.tuple, path: way.path,
		handle: as.u64(unix.NFTA_TRACE_RULE_HANDLE), kind: kind, policy: as.u32(unix.NFTA_TRACE_TYPE) == unix.NFT_TRACETYPE_POLICY})
}

// enter notes the chain of a message. One that was left is not on the way of
// what comes after it.
func (w *traceWay) enter(chain string) {
	if i := slices.Index(w.path, chain); i >= 0 {
		w.path = w.path[:i+1]
		return
	}
	w.path = append(slices.Clip(w.path), chain)
}

// traceVerdict is the verdict of a message, and whether it ends the base chain.
func traceVerdict(as *attrs) (kind int32, ends bool) {
	switch as.u32(unix.NFTA_TRACE_TYPE) {
	case unix.NFT_TRACETYPE_POLICY:
		return int32(as.u32(unix.NFTA_TRACE_POLICY)), true
	case unix.NFT_TRACETYPE_RULE:
		in, err := parseAttrs(as.get(unix.NFTA_TRACE_VERDICT))
		if err != nil || len(in.get(unix.NFTA_VERDICT_CODE)) < 4 {
			return 0, false
		}
		kind = int32(in.u32(unix.NFTA_VERDICT_CODE))
		if kind >= 0 {
			return kind & 0xff, true // NF_QUEUE carries its number above
		}
	}
	return 0, false
}

// tracedTuple reads the headers that come with a trace message.
func tracedTuple(as *attrs) (t tracer.Tuple) {
	ip, l4 := as.get(unix.NFTA_TRACE_NETWORK_HEADER), as.get(unix.NFTA_TRACE_TRANSPORT_HEADER)
	var src, dst netip.Addr
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4:
		t.Proto, src, dst = ip[9], netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	case len(ip) >= 40 && ip[0]>>4 == 6:
		t.Proto, src, dst = ip[6], netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	default:
		return tracer.Tuple{}
	}
	port := func(off int) uint16 {
		if len(l4) < off+2 {
			return 0
		}
		return uint16(l4[off])<<8 | uint16(l4[off+1])
	}
	var sport, dport uint16
	switch t.Proto {
	case tracer.ProtoTCP, tracer.ProtoUDP, tracer.ProtoSCTP:
		sport, dport = port(0), port(2)
	case tracer.ProtoICMP, tracer.ProtoICMPv6:
		sport, dport = port(4), port(4) // the identifier of an echo
	}
	t.Src, t.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return t
}

// settle waits until every message that the kernel has sent so far was read: the
// answer to a question comes after them.
func (r *traceReader) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	arrived := make(chan struct{})
	r.mu.Lock()
	sent, err := r.nl.Send(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN), Flags: netlink.Request},
		Data: []byte{0, unix.NFNETLINK_V0, 0, 0}})
	if err == nil {
		r.fence[sent.Header.Sequence] = arrived
	}
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("ask whether all was read: %w", err)
	}
	select {
	case <-arrived:
		return nil
	case <-r.done:
		return errors.New("reading it ended")
	case <-ctx.Done():
		return errors.New("it was not read in time")
	}
}

// ends are the drops of packets with a tuple, the last first.
func (r *traceReader) ends(t tracer.Tuple) (out []traceEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Backward(r.found) {
		if e.tuple == t {
			out = append(out, e)
		}
	}
	return out
}

func (r *traceReader) lost() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drops
}
