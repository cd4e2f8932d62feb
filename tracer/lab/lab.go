package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// ErrPrivilege is New's answer where this process may not make namespaces.
var ErrPrivilege = errors.New("the lab needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")

// Options choose a variant of the lab.
type Options struct {
	// Seed varies every name, subnet, port and order. 0 is the readable default
	// that demonstrations use.
	Seed uint64
	// IPv6 sends the traffic over IPv6. The lab itself is always dual-stack.
	IPv6 bool
	// Protocol is "tcp" (default) or "udp", for faults that both can show.
	Protocol string
	// OwnMachine: nobody else uses this machine, and faults may change what all of its
	// namespaces share.
	OwnMachine bool
	// Log gets what the lab does, at debug level; nil for none.
	Log *slog.Logger
}

// Lab is a running cluster of namespaces. Its methods may be called from one
// goroutine at a time, except Close.
type Lab struct {
	opts Options
	p    *plan
	c    *cluster
	log  *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	spawn           *spawner
	ext, node, peer *space
	fromPeer        bool // what is traced is the second node
	rules           ruleState
	dns             listenArgs  // how the cluster's DNS answers
	resolvers       []uint64    // outside, where a fault wants one
	links           []link.Link // attached BPF programs
	many            bool        // several hosts outside serve
	scene           *scene      // what Traffic sends
	broken          bool        // between Break and Undo
	undo            []func() error

	mu      sync.Mutex // guards spaces, restore and closed
	spaces  []*space
	restore []func() error // what was changed outside of the namespaces
	closed  bool
}

// New builds a healthy cluster. The caller must Close it; if the process ends
// without, the kernel does. The program must call ServeIfChild first thing.
func New(ctx context.Context, o Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, ErrPrivilege
	}
	switch o.Protocol {
	case "":
		o.Protocol = "tcp"
	case "tcp", "udp":
	default:
		return nil, fmt.Errorf("unknown protocol %q, want tcp or udp", o.Protocol)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Lab{opts: o, p: newPlan(o.Seed), log: o.Log, spawn: newSpawner()}
	l.c = newCluster(l.p)
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	if err := l.inhabit(ctx); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%w: %w", ErrPrivilege, err)
		}
		return err
	}
	for _, step := range []func(context.Context) error{l.buildOutside, l.buildNode, l.buildPeer, l.buildPods, l.startServers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return errors.Join(l.syncProxy(), l.syncMasquerade(), l.syncPolicies(), l.addBystander())
}

// inhabit starts the children, all at once.
func (l *Lab) inhabit(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	start := func(name string, into **space) {
		g.Go(func() error {
			s, err := newSpace(ctx, l.spawn, name)
			if err != nil {
				return err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.spaces = append(l.spaces, s)
			*into = s
			return nil
		})
	}
	start("node "+l.p.node, &l.node)
	start("node "+l.p.peer, &l.peer)
	start("outside", &l.ext)
	for _, x := range l.localPods() {
		start("pod "+x.ns+"/"+x.name, &x.space)
	}
	return g.Wait()
}

func (l *Lab) buildPods(ctx context.Context) error {
	for _, x := range l.localPods() {
		if err := l.plugPod(ctx, x); err != nil {
			return fmt.Errorf("pod %s/%s: %w", x.ns, x.name, err)
		}
	}
	return nil
}

// localPods are the pods of the node that have a namespace of their own.
func (l *Lab) localPods() []*pod {
	var out []*pod
	for _, x := range l.c.pods {
		if x.node == l.p.node && !x.hostNetwork {
			out = append(out, x)
		}
	}
	return out
}

func (l *Lab) client() *pod         { return l.c.pod(l.p.clientNS, l.p.client, 0) }
func (l *Lab) server(i int) *pod    { return l.c.pod(l.p.serverNS, l.p.server, i) }
func (l *Lab) far() *pod            { return l.c.pod(l.p.serverNS, l.p.far, 0) }
func (l *Lab) api() *service        { return l.c.service(l.p.serverNS, l.p.server) }
func (l *Lab) dnsService() *service { return l.c.service(systemNS, dnsApp) }

func (l *Lab) dnsPod() *pod {
	for _, x := range l.c.pods {
		if x.labels["k8s-app"] == dnsApp {
			return x
		}
	}
	return nil
}

// startServers starts what listens in the healthy cluster.
func (l *Lab) startServers(ctx context.Context) error {
	p := l.p
	for _, i := range []int{0, 1} {
		if err := l.serveApp(ctx, l.server(i).space, p.podPort, netip.IPv4Unspecified(), netip.IPv6Unspecified()); err != nil {
			return err
		}
	}
	far := l.far()
	if err := l.serveApp(ctx, l.peer, p.farPort, far.ip4, far.ip6); err != nil {
		return err
	}
	// By address: a UDP socket of all addresses would answer with the router's.
	if err := l.serveApp(ctx, l.ext, p.hostPort, p.host4, p.host6, p.quiet4, p.quiet6); err != nil {
		return err
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if _, err := l.dnsPod().space.listen(ctx, listenArgs{Kind: serveRude, Addr: netip.AddrPortFrom(a, rudePort)}); err != nil {
			return err
		}
	}
	return l.serveDNS(ctx)
}

// serveDNS starts the cluster's DNS.
func (l *Lab) serveDNS(ctx context.Context) error {
	s := l.dnsPod().space
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		how := l.dns
		how.Kind, how.Addr, how.Zone = serveDNS, netip.AddrPortFrom(a, 53), l.c.zone()
		if how.Forward.IsValid() { // that is to be asked for what is outside
			delete(how.Zone, l.p.hostName)
		}
		h, err := s.listen(ctx, how)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, h)
	}
	return nil
}

// closeAll stops the application of a pod.
func (s *space) closeAll(ctx context.Context) error {
	for _, h := range s.listeners {
		if _, err := s.call(ctx, request{Close: h}); err != nil {
			return err
		}
	}
	s.listeners = nil
	return nil
}

// serveApp listens on TCP and UDP and remembers the handles, so that a fault
// can stop the application.
func (l *Lab) serveApp(ctx context.Context, s *space, port uint16, at ...netip.Addr) error {
	for _, a := range at {
		for _, kind := range []serverKind{serveHTTP, serveEcho} {
			h, err := s.listen(ctx, listenArgs{Kind: kind, Addr: netip.AddrPortFrom(a, port)})
			if err != nil {
				return err
			}
			s.listeners = append(s.listeners, h)
		}
	}
	return nil
}

// NodeNetNS is a path that opens the traced node's namespace until Close. Some
// faults are traced on the second node.
func (l *Lab) NodeNetNS() string {
	if l.fromPeer {
		return l.peer.path()
	}
	return l.node.path()
}

// NodeName is the traced node's name in the cluster.
func (l *Lab) NodeName() string {
	if l.fromPeer {
		return l.p.peer
	}
	return l.p.node
}

// Close removes everything. It may be called more than once, and at any time.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	spaces, restore := l.spaces, l.restore
	l.mu.Unlock()

	l.cancel()
	var errs []error
	for _, f := range slices.Backward(restore) {
		errs = append(errs, f())
	}
	for _, x := range l.links {
		errs = append(errs, x.Close())
	}
	var wg sync.WaitGroup
	for _, s := range spaces {
		wg.Go(s.stop)
	}
	wg.Wait()
	l.spawn.stop()
	return errors.Join(errs...)
}
