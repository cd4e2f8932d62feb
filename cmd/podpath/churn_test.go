package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/testbed/apiserver"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// brief is a pod on the node that lives for a moment: a process in a namespace of
// its own, a veth pair, an address.
type brief struct {
	cmd *exec.Cmd
	in  interface{ Close() error }
	ns  netns.NsHandle
	nl  *netlink.Handle
	ip  netip.Addr
}

// bear makes one, as a runtime and a CNI do. The node's end of the pair has the
// name given.
func (v *labView) bear(veth string, ip netip.Addr) (*brief, error) {
	return v.bearAt(veth, ip, 0)
}

// bearAt gives the node's end of the veth an interface index; 0 lets the kernel
// choose one.
func (v *labView) bearAt(veth string, ip netip.Addr, index int) (*brief, error) {
	b := &brief{cmd: exec.Command("cat"), ip: ip, ns: -1}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	in, err := b.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	b.in = in
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	if err := v.plugBrief(b, veth, index); err != nil {
		b.die()
		return nil, fmt.Errorf("plug %s in: %w", veth, err)
	}
	return b, nil
}

func (v *labView) plugBrief(b *brief, name string, index int) error {
	var err error
	if b.ns, err = netns.GetFromPath("/proc/" + strconv.Itoa(b.cmd.Process.Pid) + "/ns/net"); err != nil {
		return err
	}
	if b.nl, err = netlink.NewHandleAt(b.ns, unix.NETLINK_ROUTE); err != nil {
		return err
	}
	bridge, err := v.node.nl.LinkByName(v.bridge)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex, attrs.Flags = name, 1500, bridge.Attrs().Index, net.FlagUp
	attrs.Index = index
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = "eth0", 1500, netlink.NsFd(int(b.ns))
	if err := v.node.nl.LinkAdd(veth); err != nil {
		return err
	}
	eth0, err := b.nl.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := b.nl.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(b.ip, v.gateway.Bits()))}); err != nil {
		return err
	}
	if err := b.nl.LinkSetUp(eth0); err != nil {
		return err
	}
	return b.nl.RouteAdd(&netlink.Route{Gw: v.gateway.Addr().AsSlice()})
}

// die ends the process; the kernel takes the namespace and the pair apart.
func (b *brief) die() {
	if b.nl != nil {
		b.nl.Close()
	}
	if b.ns >= 0 {
		_ = b.ns.Close()
	}
	_ = b.in.Close()
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

// freeAddrs are addresses of the pods' range that nobody has.
func (s *scene) freeAddrs() []netip.Addr {
	taken := map[netip.Addr]bool{s.gateway.Addr(): true}
	for _, p := range apiserver.All[*corev1.Pod](s.api.Server) {
		if p.Status.PodIP != "" {
			taken[netip.MustParseAddr(p.Status.PodIP)] = true
		}
	}
	var out []netip.Addr
	for last := byte(2); last < 255; last++ {
		if a := s.free(last); !taken[a] {
			out = append(out, a)
		}
	}
	return out
}

// churn makes and removes pods until so many have been, on several workers. Every
// chosen one belongs to the workload that is traced, and asks something.
func (s *scene) churn(ctx context.Context, pods, workers, chosenEach int) (born, chosen int64) {
	s.t.Helper()
	var next, alive, picked atomic.Int64
	addrs := s.freeAddrs()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1)
				if n > int64(pods) {
					return
				}
				// Each worker has its own addresses, and uses them again and again.
				ip := addrs[(int(n)/workers%8)*workers+w]
				mine := chosenEach > 0 && n%int64(chosenEach) == 0
				if err := s.brief(int(n), ip, mine); err != nil {
					s.t.Errorf("pod %d: %v", n, err)
					return
				}
				alive.Add(1)
				if mine {
					picked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return alive.Load(), picked.Load()
}

func (s *scene) brief(n int, ip netip.Addr, chosen bool) error {
	pod := sibling(s.client, fmt.Sprintf("b%04d", n), ip)
	if !chosen {
		pod.Name, pod.OwnerReferences = fmt.Sprintf("other-%04d", n), nil
		pod.Labels = map[string]string{"app": "other"}
	}
	if err := s.api.Put(pod); err != nil {
		return err
	}
	defer func() { _ = s.api.Remove(pod) }()
	b, err := s.bear(fmt.Sprintf("vb%d", n), ip)
	if err != nil {
		return err
	}
	defer b.die()
	if chosen {
		p := &place{t: s.t, path: fmt.Sprintf("/proc/%d/ns/net", b.cmd.Process.Pid)}
		_ = p.ask("tcp", s.vip, 2*time.Second) // it may end before the answer: no fault of anybody
	}
	return nil
}

// footprint is what a process holds.
type footprint struct {
	fds, threads, rssKiB, links int
	entries                     map[string]int // of the maps whose size follows the node
}

func footprintOf(t *testing.T, pid int) footprint {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	h := kernelObjects(t, pid)
	f := footprint{fds: len(fds), links: len(h.links), entries: map[string]int{}}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + `:\s*(\d+)`).FindSubmatch(status)
		if m == nil {
			t.Fatalf("no %s in the process's status", name)
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	f.threads, f.rssKiB = field("Threads"), field("VmRSS")
	for _, id := range h.maps {
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := m.Info(); err == nil && (info.Name == "netns" || info.Name == "hosts") {
			f.entries[info.Name] = entries(m)
		}
		_ = m.Close()
	}
	return f
}

func entries(m *ebpf.Map) int {
	n := 0
	var k, v []byte
	for it := m.Iterate(); it.Next(&k, &v); {
		n++
	}
	return n
}

// goroutines makes the process print its goroutines, which ends it, and counts
// them.
func (p *program) goroutines(t *testing.T) int {
	t.Helper()
	p.signal(t, syscall.SIGQUIT)
	p.code(t)
	return len(regexp.MustCompile(`(?m)^goroutine \d+`).FindAllString(p.err.String(), -1))
}

// churnPods is how many pods come and go; PODPATH_CHURN sets another number.
func churnPods() int {
	if n, err := strconv.Atoi(os.Getenv("PODPATH_CHURN")); err == nil {
		return n
	}
	return 1000
}

// TestChurn: pods come and go by the hundreds while two others talk. What they
// say is judged rightly all the time, the selection follows, and nothing stays
// behind in podpath or in the kernel.
func TestChurn(t *testing.T) {
	t.Parallel()
	// By TCX three in ten: each attachment waits for the kernel (probe.Config).
	for hook, tenths := range map[string]int{"tcx": 3, "tracepoint": 10} {
		t.Run(hook, func(t *testing.T) { churned(t, hook, churnPods()*tenths/10) })
	}
}

func churned(t *testing.T, hook string, pods int) {
	s := newScene(t, 61)
	workload := s.client.Namespace + "/deploy/" + s.client.Labels["app"]
	start := func() *program {
		args := nodeArgs(s.lab, "--kubeconfig", s.config, "--from", workload, "--to", "any")
		p := launch(t, append([]string{"trace", "-o", "json", "--hook", hook}, args...)...)
		p.ready(t)
		return p
	}
	fresh := start().goroutines(t)
	p := start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	closed := net.JoinHostPort(s.ip(s.server).String(), "1")
	answered := s.from.askUntil(ctx, "tcp", s.vip, 50*time.Millisecond)
	refused := s.from.askUntil(ctx, "tcp", closed, 250*time.Millisecond)
	s.churn(t.Context(), 64, 8, 10) // so that what grows once has grown
	before := footprintOf(t, p.cmd.Process.Pid)
	began := time.Now()
	born, chosen := s.churn(t.Context(), pods, 8, 10)
	t.Logf("%d pods in %v", born, time.Since(began).Round(time.Millisecond))
	var after footprint
	eventually(t, "the footprint as before", func() bool {
		after = footprintOf(t, p.cmd.Process.Pid)
		return after.fds <= before.fds+4 && after.links <= before.links && after.entries["netns"] <= before.entries["netns"] && after.entries["hosts"] <= before.entries["hosts"]
	})
	s.follow(t, p)
	cancel()
	<-answered
	<-refused
	held := kernelObjects(t, p.cmd.Process.Pid)
	goroutines := p.goroutines(t)
	held.gone(t)
	t.Logf("before %+v; after %+v; %d goroutines", before, after, goroutines)
	if after.rssKiB > before.rssKiB+48<<10 {
		t.Errorf("resident memory grew from %d to %d KiB", before.rssKiB, after.rssKiB)
	}
	if goroutines > fresh+10 {
		t.Errorf("%d goroutines at the end, %d at the start", goroutines, fresh)
	}
	s.checkChurn(t, p, chosen)
}

// follow: the selection still takes in a pod that appears.
func (s *scene) follow(t *testing.T, p *program) {
	t.Helper()
	ip := s.freeAddrs()[100]
	pod := sibling(s.client, "stays", ip)
	b, err := s.bear("vstays", ip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.die)
	s.api.put(t, pod)
	at := &place{t: t, path: fmt.Sprintf("/proc/%d/ns/net", b.cmd.Process.Pid)}
	eventually(t, "a verdict about a pod that came after all", func() bool {
		_ = at.ask("tcp", s.vip, time.Second)
		for _, v := range objectsIn[render.Verdict](t, p.out.String(), "Verdict") {
			if v.Flow.Source.Name == pod.Name && v.Code == tracer.CodeOK {
				return true
			}
		}
		return false
	})
}

// checkChurn: the verdicts about the pods that stayed are right, and some of those
// that came were seen.
func (s *scene) checkChurn(t *testing.T, p *program, chosen int64) {
	t.Helper()
	count, seen := map[string]int{}, map[string]bool{}
	for _, v := range objectsIn[render.Verdict](t, p.out.String(), "Verdict") {
		if v.Flow.Source.IP != s.ip(s.client) {
			seen[v.Flow.Source.Name] = true
			continue
		}
		want := tracer.CodeOK
		if v.Flow.Destination.Port == 1 {
			want = "app-no-listener"
		}
		count[v.Code]++
		if v.Code != want {
			t.Errorf("a pod that stayed: %s, want %s: %s", v.Code, want, v.Summary)
		}
	}
	if count[tracer.CodeOK] == 0 || count["app-no-listener"] == 0 {
		t.Errorf("verdicts of the pods that stayed: %v", count)
	}
	if len(seen) == 0 {
		t.Errorf("none of %d brief pods of the workload was seen", chosen)
	}
	t.Logf("verdicts about what stayed: %v; %d of %d brief pods of the workload were seen", count, len(seen), chosen)
	for line := range strings.Lines(p.err.String()) {
		if strings.HasPrefix(line, "SIGQUIT") {
			break
		}
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "out of date") || strings.Contains(line, "warning") {
			t.Errorf("said: %s", line)
		}
	}
}
