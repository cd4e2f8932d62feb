package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/netns"
)

// counters are absolute values by name.
type counters map[string]uint64

// wanted are the counters kept, by the name that /proc/net/snmp, snmp6 and
// netstat give with the group in front ("IpOutNoRoutes", "TcpExtListenDrops").
// IPReversePathFilter is kept without its group TcpExt.
var wanted = map[string]string{
	"IpForwDatagrams": "", "IpInHdrErrors": "", "IpInAddrErrors": "", "IpInDiscards": "",
	"IpOutDiscards": "", "IpOutNoRoutes": "", "IpReasmFails": "", "IpFragFails": "", "IpInUnknownProtos": "",
	"IcmpInCsumErrors": "", "TcpInCsumErrors": "", "TcpInErrs": "", "TcpOutRsts": "", "TcpRetransSegs": "", "TcpAttemptFails": "",
	"UdpNoPorts": "", "UdpInErrors": "", "UdpRcvbufErrors": "", "UdpSndbufErrors": "", "UdpInCsumErrors": "", "UdpMemErrors": "",
	"TcpExtListenOverflows": "", "TcpExtListenDrops": "", "TcpExtTCPTimeouts": "", "TcpExtTCPReqQFullDrop": "",
	"TcpExtIPReversePathFilter": "IPReversePathFilter", "IpExtInNoRoutes": "", "IpExtInCsumErrors": "",
	"Ip6InNoRoutes": "", "Ip6OutNoRoutes": "", "Ip6InDiscards": "", "Ip6OutDiscards": "", "Ip6OutForwDatagrams": "",
	"Ip6InTooBigErrors": "", "Ip6InAddrErrors": "", "Ip6InHdrErrors": "", "Ip6FragFails": "",
	"Udp6NoPorts": "", "Udp6InErrors": "", "Udp6RcvbufErrors": "", "Udp6InCsumErrors": "",
}

// reading is what the counters of every namespace were, and when they had been read.
type reading struct {
	at      time.Time
	byNetNS map[uint32]counters
	// partial are the namespaces of which not every counter was ever read: what is
	// absent is not known, and no zero.
	partial map[uint32]bool
	filters filterCounts
}

// keptReadings bounds the memory: the first reading, and the latest ones.
const keptReadings = 8

// Baseline remembers every counter of every namespace of the node, so that
// Collect can give deltas. Namespaces that appear later count from zero, which
// is what they began with. Called again, now and then, it lets the deltas of a
// flow begin closer to the flow.
func (n *Node) Baseline(ctx context.Context) error {
	inv := n.Last()
	if inv.HostNetNS == 0 {
		var err error
		if inv, err = n.Inventory(ctx); err != nil {
			return err
		}
	}
	r := reading{byNetNS: make(map[uint32]counters, len(inv.NetNS)), partial: map[uint32]bool{},
		filters: filterCounts{lost: map[actionKey]uint64{}, unread: map[uint32]bool{}}}
	for _, ns := range inv.NetNS {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read counters: %w", err)
		}
		c, err := n.readCounters(ns.Inode)
		if errors.Is(err, ErrNetNSGone) {
			continue
		}
		if err := n.countFilters(ns.Inode, &r.filters); err != nil {
			r.filters.unread[ns.Inode] = true
			n.log.DebugContext(ctx, "tc filters not counted", slog.Uint64("netns", uint64(ns.Inode)), slog.Any("error", err))
		}
		if err != nil {
			n.log.DebugContext(ctx, "counters incomplete", slog.Uint64("netns", uint64(ns.Inode)), slog.Any("error", err))
			n.complete(&r, ns.Inode, c)
			continue
		}
		r.byNetNS[ns.Inode] = c
	}
	r.at = time.Now()
	n.keep(r)
	return nil
}

// complete takes from the last reading what could not be read of a namespace now: its
// deltas then begin earlier, and not when the namespace began. One that the last
// reading does not have is younger than that.
func (n *Node) complete(r *reading, inode uint32, read counters) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r.byNetNS[inode], r.partial[inode] = counters{}, len(n.base) == 0
	if len(n.base) > 0 {
		last := n.base[len(n.base)-1]
		maps.Copy(r.byNetNS[inode], last.byNetNS[inode])
		r.partial[inode] = last.partial[inode]
	}
	maps.Copy(r.byNetNS[inode], read)
}

func (n *Node) keep(r reading) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.base = append(n.base, r)
	if len(n.base) > keptReadings {
		n.base = slices.Delete(n.base, 1, 2)
	}
}

// countedFrom is the last reading before a moment, or else the first one: an empty
// one if there is none.
func (n *Node) countedFrom(since time.Time) reading {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.base) == 0 {
		return reading{}
	}
	for _, r := range slices.Backward(n.base) {
		if r.at.Before(since) {
			return r
		}
	}
	return n.base[0]
}

// CountedFrom is when the reading was done that the counters of a flow are counted
// from, zero if there is none.
func (n *Node) CountedFrom(since time.Time) time.Time { return n.countedFrom(since).at }

// readCounters reads one namespace; with an error what was read is still valid.
func (n *Node) readCounters(inode uint32) (counters, error) {
	f, err := n.OpenNetNS(inode)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := counters{}
	err = netns.Do(int(f.Fd()), func() error {
		// thread-self, because "net" and "self/net" are the main thread's.
		dir := n.proc + "/thread-self/net/"
		return errors.Join(
			readFile(dir+"snmp", out, parsePairs),
			readFile(dir+"netstat", out, parsePairs),
			readFile(dir+"snmp6", out, parseSNMP6),
			readConntrack(out))
	})
	return out, err
}

func readFile(path string, out counters, parse func(io.Reader, counters) error) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no IPv6
	}
	if err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	defer f.Close()
	return parse(f, out)
}

func (c counters) keep(name string, v int64) {
	as, ok := wanted[name]
	if !ok {
		return
	}
	if as == "" {
		as = name
	}
	c[as] = uint64(v)
}

var errCounters = errors.New("counter file has an unknown shape")

// parsePairs reads pairs of lines, names and values ("Ip: Forwarding ...",
// "Ip: 1 ..."), as /proc/net/snmp and netstat have them.
func parsePairs(r io.Reader, out counters) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		names := strings.Fields(s.Text())
		if !s.Scan() {
			break
		}
		values := strings.Fields(s.Text())
		if len(names) != len(values) || len(names) == 0 || names[0] != values[0] {
			return errCounters
		}
		group := strings.TrimSuffix(names[0], ":")
		for i := 1; i < len(names); i++ {
			// Some gauges are negative (MaxConn -1).
			v, err := strconv.ParseInt(values[i], 10, 64)
			if err != nil {
				continue
			}
			out.keep(group+names[i], v)
		}
	}
	return s.Err()
}

// parseSNMP6 reads one "name value" a line.
func parseSNMP6(r io.Reader, out counters) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) != 2 {
			return errCounters
		}
		if v, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			out.keep(f[0], v)
		}
	}
	return s.Err()
}

// conntrackNames are attributes of IPCTNL_MSG_CT_GET_STATS_CPU
// (linux/netfilter/nfnetlink_conntrack.h, enum ctattr_stats_cpu).
var conntrackNames = map[uint16]string{
	4: "conntrack.invalid", 9: "conntrack.insert_failed", 10: "conntrack.drop", 11: "conntrack.early_drop",
	12: "conntrack.error", 14: "conntrack.clash_resolve", 15: "conntrack.chain_toolong",
}

const ctGetStatsCPU = 4

// readConntrack sums the per-CPU conntrack statistics of the calling thread's
// namespace. A kernel without conntrack has none.
func readConntrack(out counters) error {
	msgs, _, err := dumped(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|ctGetStatsCPU, unix.NLM_F_DUMP)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
		return req.Execute(unix.NETLINK_NETFILTER, 0)
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read conntrack statistics: %w", err)
	}
	for _, m := range msgs {
		addConntrack(m, out)
	}
	return nil
}

func addConntrack(m []byte, out counters) {
	if len(m) < nl.SizeofNfgenmsg {
		return
	}
	attrs, err := parseAttrs(m[nl.SizeofNfgenmsg:])
	if err != nil {
		return
	}
	for _, a := range attrs {
		name := conntrackNames[a.typ]
		if name != "" && len(a.value) >= 4 {
			out[name] += uint64(be32(a.value))
		}
	}
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// deltas are the counters that moved since a reading.
func (n *Node) deltas(inode uint32, from reading) (map[string]uint64, error) {
	now, err := n.readCounters(inode)
	if now == nil {
		return nil, err
	}
	return from.until(inode, now), err
}

// until is by how much the counters of a namespace moved since the reading. One that
// is younger than the reading began with zeros.
func (r *reading) until(inode uint32, now counters) map[string]uint64 {
	base, out := r.byNetNS[inode], map[string]uint64{}
	for k, v := range now {
		was, known := base[k]
		if (known || !r.partial[inode]) && v > was {
			out[k] = v - was
		}
	}
	return out
}
