package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// peer is how another tool is held against the truth.
type peer struct {
	parse func(*tool) (*found, error)
	// due is how many packets or drops it should have told of.
	due  func(truth) uint64
	what string // "packets"
	// arm is done on the node before it starts, and disarm afterwards.
	arm, disarm string // nft commands
}

// dueNothing: its filter matches no packet.
func dueNothing(truth) uint64   { return 0 }
func duePackets(t truth) uint64 { return t.rx + t.tx }
func dueDrops(t truth) uint64   { return t.ruleDrops }
func dueTraced(t truth) uint64  { return t.traced }

// peers are what people use today, as they use it.
func (b *bench) peers() []*tracer {
	bpftrace := func(program string) *command { return &command{argv: []string{"bpftrace", "-e", program}} }
	return []*tracer{
		tcpdump("tcpdump -i any -w, nothing matches", onAll&^onPacedStorm, true, "udp port 9"),
		tcpdump("tcpdump -i any -w, all matches", onAll, true, "ip"),
		tcpdump("tcpdump -i any, text, nothing matches", onUDP, false, "udp port 9"),
		tcpdump("tcpdump -i any, text, all matches", onAll, false, "ip"),
		{name: "bpftrace kfree_skb, count", job: drops, kind: otherTool, loads: onUDP | onDrops | onPingPong | onServiceConnect,
			command: bpftrace(`tracepoint:skb:kfree_skb { @[args->reason] = count(); }`),
			peer:    &peer{parse: ofRule(parseBPFTraceCount), due: dueDrops, what: "drops"}},
		{name: "bpftrace kfree_skb, printf", job: drops, kind: otherTool, loads: onDrops | onServiceConnect,
			command: bpftrace(`tracepoint:skb:kfree_skb { printf("%d %s\n", args->reason, ksym(args->location)); }`),
			peer:    &peer{parse: ofRule(parseBPFTracePrintf), due: dueDrops, what: "drops"}},
		{name: "perf record skb:kfree_skb", job: drops, kind: otherTool, loads: onDrops | onServiceConnect,
			command: &command{argv: []string{"perf", "record", "-a", "-e", "skb:kfree_skb", "-o", "/proc/self/fd/3"}, capture: true},
			peer:    &peer{parse: b.parsePerf, due: dueDrops, what: "drops"}},
		{name: "nft monitor trace", job: follow, kind: otherTool, loads: onUDP | onDrops | onServicePingPong | onServiceConnect,
			command: &command{argv: []string{"nft", "monitor", "trace"}},
			peer:    &peer{parse: func(t *tool) (*found, error) { return parseNFTTrace(t.output()) }, due: dueTraced, what: "packets", arm: traceRule, disarm: "delete table ip bench-trace"}},
	}
}

// traceRule asks for the trace of all that the sender sends, and counts it.
const traceRule = `
table ip bench-trace {
	counter traced { }
	chain pre {
		type filter hook prerouting priority -350; policy accept;
		ip saddr 10.244.1.10 counter name "traced" meta nftrace set 1
	}
}
`

func tcpdump(name string, loads int, write bool, filter string) *tracer {
	c := &command{
		argv:    []string{"tcpdump", "-i", "any", "-n", "-Z", "root"},
		ready:   func(line string) bool { return strings.Contains(line, "listening on any") },
		capture: write,
	}
	if write {
		c.argv = append(c.argv, "-w", "/proc/self/fd/3")
	}
	c.argv = append(c.argv, filter)
	tr := &tracer{name: name, job: follow, kind: otherTool, loads: loads, command: c,
		peer: &peer{parse: func(t *tool) (*found, error) { return parseTCPDump(t.lines()) }, due: duePackets, what: "packets"}}
	if filter != "ip" {
		tr.job, tr.peer.due = passOver, dueNothing
	}
	return tr
}

var tcpdumpCount = regexp.MustCompile(`^(\d+) packets? (captured|dropped by kernel)$`)

// parseTCPDump reads what tcpdump says at its end.
func parseTCPDump(lines []string) (*found, error) {
	f := &found{}
	said := 0
	for _, line := range lines {
		m := tcpdumpCount.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read tcpdump's counts: %w", err)
		}
		said++
		if m[2] == "captured" {
			f.captured = n
		} else {
			f.dropped = n
		}
	}
	if said != 2 {
		return nil, fmt.Errorf("read tcpdump's counts: not in %q", lines)
	}
	return f, nil
}

// netfilterDrop is the number of the rule's reason: it differs by kernel.
func netfilterDrop() (string, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return "", fmt.Errorf("read kernel types: %w", err)
	}
	var reasons *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &reasons); err != nil {
		return "", fmt.Errorf("find the drop reasons: %w", err)
	}
	for _, v := range reasons.Values {
		if v.Name == "SKB_DROP_REASON_NETFILTER_DROP" {
			return strconv.FormatUint(v.Value, 10), nil
		}
	}
	return "", errors.New("find the drop reasons: no NETFILTER_DROP")
}

// lostEvents is what bpftrace says when its buffer was full.
var lostEvents = regexp.MustCompile(`Lost (\d+) events`)

// ofRule lets a parser look only for drops that the rule may have made.
func ofRule(parse func(in io.Reader, reason string) (*found, error)) func(*tool) (*found, error) {
	return func(t *tool) (*found, error) {
		reason, err := netfilterDrop()
		if err != nil {
			return nil, err
		}
		complaints := strings.NewReader(strings.Join(t.lines(), "\n") + "\n")
		return parse(io.MultiReader(complaints, t.output()), reason)
	}
}

func parseBPFTraceCount(in io.Reader, reason string) (*found, error) {
	f := &found{}
	return f, eachLine(in, func(line string) (err error) {
		if rest, ok := strings.CutPrefix(line, "@["+reason+"]: "); ok {
			f.captured, err = strconv.ParseUint(rest, 10, 64)
		}
		return err
	})
}

func parseBPFTracePrintf(in io.Reader, reason string) (*found, error) {
	f := &found{}
	return f, eachLine(in, func(line string) error {
		if strings.HasPrefix(line, reason+" ") {
			f.captured++
		}
		return f.addLost(lostEvents, line)
	})
}

// addLost adds what a line says is lost.
func (f *found) addLost(say *regexp.Regexp, line string) error {
	m := say.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	f.dropped += n
	return err
}

// parsePerf lets perf read what it wrote.
func (b *bench) parsePerf(t *tool) (*found, error) {
	path, err := find("perf")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "script", "-i", "/proc/self/fd/3", "-F", "trace", "--show-lost-events")
	cmd.ExtraFiles = []*os.File{t.capture}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	out, err := memoryFile()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout = out
	if err := b.spawn.start(cmd, nil); err != nil {
		return nil, fmt.Errorf("start perf script: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("perf script: %w", err)
	}
	return parsePerfScript(io.NewSectionReader(out, 0, math.MaxInt64))
}

// perfLost is a record of how many samples found no room.
var perfLost = regexp.MustCompile(`PERF_RECORD_LOST\D* lost (\d+)`)

func parsePerfScript(in io.Reader) (*found, error) {
	f := &found{}
	return f, eachLine(in, func(line string) error {
		if strings.Contains(line, "reason: NETFILTER_DROP") {
			f.captured++
		}
		return f.addLost(perfLost, line)
	})
}

// parseNFTTrace counts the packets of which nft printed the beginning.
func parseNFTTrace(in io.Reader) (*found, error) {
	f := &found{}
	return f, eachLine(in, func(line string) error {
		if strings.Contains(line, "bench-trace pre packet:") {
			f.captured++
		}
		return nil
	})
}

func eachLine(in io.Reader, f func(string) error) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := f(lines.Text()); err != nil {
			return fmt.Errorf("read %q: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}

// counter reads a named counter of the node's rules.
func (t *topology) counter(ctx context.Context, table, name string) (uint64, error) {
	out, err := t.node.command(ctx, t.spawn, "", "nft", "-j", "list", "counter", "ip", table, name)
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
