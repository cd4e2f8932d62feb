package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/kube/policy"
	"github.com/podpath/podpath/testbed/apiserver"
	"github.com/podpath/podpath/testbed/cluster"
)

const (
	clusterTries = 3
	restTime     = 3 * time.Second // until the memory is read at rest
	stormTime    = 10 * time.Second
	stormRate    = 1000 // changes of pods per second
)

// clusterRow is how podpath dealt with one source of a large cluster's data.
type clusterRow struct {
	what          string
	synced, ready []float64 // seconds from the start; synced is 0 for a dump
	peak, rest    []float64 // MiB
	cpu           []float64 // seconds of CPU until it was ready
}

// clusterReport is what a large cluster costs.
type clusterReport struct {
	size     cluster.Size
	dumpMiB  float64
	rows     []*clusterRow
	storm    stormRow
	policies []float64 // µs of one decision, sorted
}

// stormRow is what a storm of changes costs.
type stormRow struct {
	sent       int
	took       time.Duration
	cpu        float64 // share of one CPU
	before     float64 // MiB at rest
	after      float64 // MiB at the end
	podsWanted int
}

// cluster measures how podpath starts in a large cluster, on a full node, and
// what following it costs.
func (b *bench) cluster(ctx context.Context) (*clusterReport, error) {
	if b.opts.pods < 2 {
		return nil, nil
	}
	b.progress("building a node with %d pods in a large cluster", b.opts.pods)
	full := &bench{opts: b.opts, spawn: b.spawn, out: b.out, begun: b.begun}
	var err error
	if full.top, err = newTopology(ctx, b.spawn, b.opts.pods); err != nil {
		return nil, fmt.Errorf("build a node with %d pods: %w", b.opts.pods, err)
	}
	defer full.top.close()
	dir, err := os.MkdirTemp("", "podpath-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c := &inCluster{bench: full, dir: dir}
	r, err := c.measure(ctx)
	return r, errors.Join(err, c.close())
}

// inCluster is a full node in a large cluster.
type inCluster struct {
	*bench
	dir    string
	size   cluster.Size
	state  *cluster.Cluster
	server *apiserver.Server
}

func (c *inCluster) close() error {
	if c.server != nil {
		c.server.Close()
	}
	return nil
}

func (c *inCluster) measure(ctx context.Context) (*clusterReport, error) {
	c.size = cluster.Large()
	c.size.Local, c.size.LocalNode, c.size.LocalNodeIP = c.opts.pods, nodeName, nodeIP
	for _, p := range c.top.pods {
		c.size.LocalIPs = append(c.size.LocalIPs, p.ip)
	}
	c.state = cluster.Generate(c.size)
	r := &clusterReport{size: c.size}
	dump := filepath.Join(c.dir, "dump.json")
	if err := writeFile(dump, c.state.WriteDump); err != nil {
		return nil, err
	}
	info, err := os.Stat(dump)
	if err != nil {
		return nil, fmt.Errorf("look at the dump: %w", err)
	}
	r.dumpMiB = float64(info.Size()) / (1 << 20)
	for _, s := range []struct {
		what      string
		streaming bool
		fromDump  bool
	}{
		{what: "API server, lists as streams (Kubernetes 1.34 on)", streaming: true},
		{what: "API server, lists in pages (before)"},
		{what: fmt.Sprintf("file of %.0f MiB", r.dumpMiB), fromDump: true},
	} {
		source := []string{"--cluster-dump", dump}
		if !s.fromDump {
			if source, err = c.serve(s.streaming); err != nil {
				return nil, err
			}
		}
		row := &clusterRow{what: s.what}
		for range clusterTries {
			if err := c.start(ctx, row, source); err != nil {
				return nil, fmt.Errorf("%s: %w", s.what, err)
			}
		}
		r.rows = append(r.rows, row)
	}
	if source, err := c.serve(true); err != nil {
		return nil, err
	} else if r.storm, err = c.stormOf(ctx, source); err != nil {
		return nil, fmt.Errorf("storm: %w", err)
	}
	r.policies, err = c.decide()
	return r, err
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(write(f), f.Close())
}

// serve starts an API server on the node's loopback and returns the flags that
// lead to it.
func (c *inCluster) serve(streaming bool) ([]string, error) {
	if c.server != nil {
		c.server.Close()
	}
	var err error
	if c.server, err = apiserver.New(); err != nil {
		return nil, err
	}
	c.server.NoStreaming = !streaming
	if err := c.server.Put(c.state.Objects()...); err != nil {
		return nil, err
	}
	c.server.Forget() // what was there before is no change
	err = c.top.node.inside(func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listen on the node: %w", err)
		}
		return c.server.Serve(l)
	})
	if err != nil {
		return nil, err
	}
	config := filepath.Join(c.dir, "kubeconfig")
	if err := os.WriteFile(config, c.server.Kubeconfig(nil), 0o600); err != nil {
		return nil, fmt.Errorf("write a kubeconfig: %w", err)
	}
	return []string{"--kubeconfig", config}, nil
}

// client is a pod of the node with an address of its own.
func (c *inCluster) client() *corev1.Pod {
	for _, p := range c.state.LocalPods() {
		if p.Status.PodIP == c.top.pods[0].ip.String() {
			return p
		}
	}
	return nil
}

func (c *inCluster) command(source []string) *command {
	p := c.client()
	argv := []string{c.opts.podpath, "trace", "-v", "-o", "json", "--node", nodeName, "--from", p.Namespace + "/pod/" + p.Name, "--to", "any"}
	return &command{
		argv:  append(argv, source...),
		ready: func(line string) bool { return strings.HasPrefix(line, "ready") },
	}
}

// start starts and ends podpath once.
func (c *inCluster) start(ctx context.Context, row *clusterRow, source []string) error {
	begun := time.Now()
	t, err := startTool(ctx, c.spawn, c.top.node, *c.command(source))
	if err != nil {
		return err
	}
	defer t.close()
	cpu, err := t.cpu()
	if err != nil {
		t.kill()
		return err
	}
	synced := 0.0
	if at, ok := loggedAt(t.lines(), "cluster state is loaded"); ok {
		synced = at.Sub(begun).Seconds()
	}
	if err := rest(ctx, restTime); err != nil {
		t.kill()
		return err
	}
	peak, now, err := t.memory()
	if err != nil {
		t.kill()
		return err
	}
	row.synced, row.ready = append(row.synced, synced), append(row.ready, t.attach.Seconds())
	row.cpu, row.peak, row.rest = append(row.cpu, cpu.Seconds()), append(row.peak, peak), append(row.rest, now)
	return t.stop()
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// loggedAt is when a line with a message was logged.
func loggedAt(lines []string, message string) (time.Time, bool) {
	for _, line := range lines {
		if !strings.Contains(line, message) {
			continue
		}
		stamp, ok := strings.CutPrefix(strings.Fields(line)[0], "time=")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		return at, ok && err == nil
	}
	return time.Time{}, false
}

// stormOf lets pods be created, get their address and go, at a steady rate.
func (c *inCluster) stormOf(ctx context.Context, source []string) (stormRow, error) {
	t, err := startTool(ctx, c.spawn, c.top.node, *c.command(source))
	if err != nil {
		return stormRow{}, err
	}
	defer t.close()
	if err := rest(ctx, restTime); err != nil {
		t.kill()
		return stormRow{}, err
	}
	r, err := c.blow(ctx, t)
	if err != nil {
		t.kill()
		return r, err
	}
	return r, t.stop()
}

func (c *inCluster) blow(ctx context.Context, t *tool) (stormRow, error) {
	r := stormRow{podsWanted: stormRate}
	var err error
	if _, r.before, err = t.memory(); err != nil {
		return r, err
	}
	cpu, err := t.cpu()
	if err != nil {
		return r, err
	}
	begun := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; time.Since(begun) < stormTime; {
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-tick.C:
		}
		for due := int(time.Since(begun).Seconds() * stormRate); n < due; n++ {
			if err := c.change(n); err != nil {
				return r, err
			}
		}
		r.sent = n
	}
	r.took = time.Since(begun)
	after, err := t.cpu()
	if err != nil {
		return r, err
	}
	r.cpu = (after - cpu).Seconds() / r.took.Seconds()
	_, r.after, err = t.memory()
	return r, err
}

// change is one step in the lives of pods: one appears, it gets an address, and
// one goes, each a few hundred changes after the step before.
func (c *inCluster) change(n int) error {
	const life = 300
	pod := func(i int, running bool) *corev1.Pod {
		p := c.state.Pods[(i*7919)%len(c.state.Pods)].DeepCopy()
		p.Name, p.UID, p.CreationTimestamp = fmt.Sprintf("%s-storm-%d", p.Name, i), types.UID(fmt.Sprint("storm-", i)), metav1.Now()
		p.Spec.NodeName, p.Spec.HostNetwork = c.state.Nodes[1+i%(len(c.state.Nodes)-1)].Name, false
		p.Status = corev1.PodStatus{Phase: corev1.PodPending}
		if running {
			ip := netip.AddrFrom4([4]byte{10, 60, byte(i >> 8), byte(i)}).String()
			p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}
		}
		return p
	}
	i := n / 3
	switch {
	case n%3 == 0:
		return c.server.Put(pod(i, false))
	case n%3 == 1 && i >= life/2:
		return c.server.Put(pod(i-life/2, true))
	case n%3 == 2 && i >= life:
		return c.server.Remove(pod(i-life, true))
	}
	return nil
}

// decide evaluates the policies for flows between pods chosen at random, from
// the same data as podpath has it.
func (c *inCluster) decide() ([]float64, error) {
	var dump bytes.Buffer
	if err := c.state.WriteDump(&dump); err != nil {
		return nil, err
	}
	view, _, err := kube.ReadDump(&dump, "the cluster")
	if err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	rnd := rand.New(rand.NewPCG(c.size.Seed, 1))
	pods := c.state.Pods
	var took []float64
	for range 10_000 {
		src, dst := pods[rnd.IntN(len(pods))], pods[rnd.IntN(len(pods))]
		f := policy.Flow{
			Src: netip.MustParseAddr(src.Status.PodIP), Dst: netip.MustParseAddr(dst.Status.PodIP), Port: 8080, Proto: unix.IPPROTO_TCP,
		}
		begun := time.Now()
		policy.Decide(view, f)
		took = append(took, float64(time.Since(begun).Nanoseconds())/1000)
	}
	slices.Sort(took)
	return took, nil
}
