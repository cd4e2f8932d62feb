package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podpath/podpath/testbed/apiserver"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// TestLiveAPI: faults are named rightly with the cluster's state from informers.
func TestLiveAPI(t *testing.T) {
	for _, fault := range []string{"healthy-service", "policy-ingress", "no-endpoints-nftables", "stale-endpoint", "wrong-target-port"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, lab.Options{Seed: 5})
			sc := breakLab(t, l, fault)
			api := serveAPI(t, clusterDump(t, l))
			tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", sc.From, "--to", sc.To, "--until-verdict")...)
			send(t, l)
			want := exitFault
			if sc.Code == "ok" {
				want = exitHealthy
			}
			if code := tr.wait(); code != want {
				t.Errorf("exit %d, want %d\n%s", code, want, &tr.err)
			}
			compare(t, sc, tr.verdicts())
			named(t, tr.verdicts())
			if api.Served("application/vnd.kubernetes.protobuf") == 0 {
				t.Error("protobuf was not asked for")
			}
		})
	}
}

// named: both ends have names.
func named(t *testing.T, vs []render.Verdict) {
	t.Helper()
	for _, v := range vs {
		if v.Flow.Source.Name == "" || v.Flow.Destination.Name == "" {
			t.Errorf("an end has no name: %+v", v.Flow)
		}
	}
}

// A new pod is followed within a second. A machine that runs other tests too is
// late now and then, so one of a few pods must be in time.
const (
	soon    = time.Second
	newPods = 4
)

// TestLivePodAppears: a pod that appears during the trace is followed soon after
// both it and its object exist, whichever came first: from its own device on.
func TestLivePodAppears(t *testing.T) {
	for _, c := range []struct{ name, order string }{
		{"object first", "object"}, {"object without an address first", "pending"}, {"veth first", "veth"}, {"address last", "address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, 11)
			tr := s.trace(s.client.Namespace+"/deploy/"+s.client.Labels["app"], s.service)
			var took time.Duration
			for n := range byte(newPods) {
				took = s.appear(tr, c.order, n)
				t.Logf("followed %v after both existed and it spoke", took.Round(time.Millisecond))
				if took <= soon {
					return
				}
			}
			t.Errorf("followed only %v after both existed and it spoke", took)
		})
	}
}

// appear adds a pod to the node and to the API in the given order, lets it send,
// and returns how long after that the first packet was seen at its own device. A
// pod that has not yet spoken (the bridge's port may take a second to open, and an
// address a second to resolve) cannot be seen.
func (s *scene) appear(tr *liveTrace, order string, n byte) time.Duration {
	s.t.Helper()
	p, ip, veth := newPlace(s.t), s.free(230+n), "vethfresh"+strconv.Itoa(int(n))
	pod := sibling(s.client, "fresh"+strconv.Itoa(int(n)), ip)
	switch order {
	case "object":
		s.api.put(s.t, pod)
		settle()
		s.plug(p, veth, ip)
	case "pending":
		pending := pod.DeepCopy()
		pending.Status = corev1.PodStatus{Phase: corev1.PodPending}
		s.api.put(s.t, pending)
		s.plug(p, veth, ip)
		settle()
		s.api.put(s.t, pod)
	case "veth":
		s.plug(p, veth, ip)
		settle()
		s.api.put(s.t, pod)
	case "address":
		s.plug(p, veth, s.free(240+n))
		s.api.put(s.t, pod)
		settle()
		s.readdress(p, s.free(240+n), ip)
	}
	both := time.Now()
	spoke := p.watchSent(s.t)
	ctx, cancel := context.WithCancel(s.t.Context())
	asked := p.askUntil(ctx, "tcp", s.vip, 20*time.Millisecond)
	defer func() { cancel(); <-asked }()
	first := tr.verdict("a verdict for the new pod", func(v *render.Verdict) bool { return v.Flow.Source.Name == pod.Name })
	if first.Code != tracer.CodeOK {
		s.t.Errorf("got %s: %s", first.Code, first.Summary)
	}
	var seen time.Time
	tr.await("a path that begins in the new pod", func() bool {
		seen = firstSeen(tr, pod.Name)
		return !seen.IsZero()
	})
	if at := spoke(); at.After(both) {
		both = at
	}
	return seen.Sub(both)
}

// readdress gives a pod another address.
func (s *scene) readdress(p *place, from, to netip.Addr) {
	s.t.Helper()
	eth0, err := p.nl.LinkByName("eth0")
	p.must(err)
	p.must(p.nl.AddrDel(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(from, s.gateway.Bits()))}))
	p.must(p.nl.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(to, s.gateway.Bits()))}))
	p.route(netip.Prefix{}, s.gateway.Addr())
}

// sibling is another pod of the same workload and node.
func sibling(old *corev1.Pod, name string, ip netip.Addr) *corev1.Pod {
	pod := old.DeepCopy()
	pod.Name, pod.UID, pod.CreationTimestamp = old.Name[:len(old.Name)-5]+name, types.UID(name), metav1.Now()
	pod.Status.PodIP, pod.Status.PodIPs = ip.String(), []corev1.PodIP{{IP: ip.String()}}
	return pod
}

// settle lets a change be noticed before the next one comes: the point of the
// test is that they come apart. Nothing fails if it is too short.
func settle() { time.Sleep(1500 * time.Millisecond) }

// firstSeen is when a pod's first packet was seen at its own device, zero if none
// was.
func firstSeen(tr *liveTrace, pod string) time.Time {
	tr.t.Helper()
	var first time.Time
	for _, f := range tr.flows() {
		for _, h := range f.Hops {
			own := strings.HasSuffix(h.Pod, pod) && h.Device == "eth0" && h.Direction == tracer.DirRequest
			if own && h.Time != nil && (first.IsZero() || h.Time.Before(first)) {
				first = *h.Time
			}
		}
	}
	return first
}

// watchSent notes when the namespace first sends a TCP packet over a device, as a
// capture sees it.
func (p *place) watchSent(t *testing.T) (first func() time.Time) {
	t.Helper()
	all := uint16(unix.ETH_P_ALL)
	fd := -1
	p.must(p.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all<<8|all>>8))
		return err
	}))
	socket := os.NewFile(uintptr(fd), "capture")
	t.Cleanup(func() { _ = socket.Close() })
	seen := make(chan time.Time, 1)
	go func() {
		b := make([]byte, 64)
		for {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			if n >= 20 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP {
				seen <- time.Now()
				return
			}
		}
	}()
	return func() time.Time {
		select {
		case at := <-seen:
			return at
		case <-time.After(patience):
			t.Fatal("the new pod sent nothing")
			return time.Time{}
		}
	}
}

// podOf is the pod that "NAMESPACE/pod/NAME" names.
func podOf(t *testing.T, api *testAPI, ref string) *corev1.Pod {
	t.Helper()
	ns, name, _ := strings.Cut(ref, "/pod/")
	return get[*corev1.Pod](t, api, ns, name)
}

// serviceAddr is the IPv4 address and port of "NAMESPACE/svc/NAME:PORT".
func serviceAddr(t *testing.T, api *testAPI, ref string) string {
	t.Helper()
	ns, rest, _ := strings.Cut(ref, "/svc/")
	name, port, _ := strings.Cut(rest, ":")
	return net.JoinHostPort(get[*corev1.Service](t, api, ns, name).Spec.ClusterIP, port)
}

// traffic is a series of questions, each known by the port it came from.
type traffic struct {
	mu    sync.Mutex
	ports map[uint16]string
}

// ask sends questions from a place until the context ends, and notes under
// which name.
func (x *traffic) ask(ctx context.Context, p *place, as, to string) (done <-chan struct{}) {
	ended := make(chan struct{})
	one := func() {
		c, err := p.dial("tcp", to, time.Second)
		if err != nil {
			return
		}
		defer c.Close()
		x.mu.Lock()
		x.ports[c.LocalAddr().(*net.TCPAddr).AddrPort().Port()] = as
		x.mu.Unlock()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			one()
			select {
			case <-ctx.Done():
			case <-time.After(30 * time.Millisecond):
			}
		}
	}()
	return ended
}

// TestLivePodDeleted: a pod that goes away during the trace is no error, the
// other pods of its workload are still followed, and so is the workload when its
// last pod is gone.
func TestLivePodDeleted(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 12})
	sc := breakLab(t, l, "healthy-service")
	api := serveAPI(t, clusterDump(t, l))
	old := podOf(t, api, sc.From)
	v := viewLab(t, l)
	p, ip := newPlace(t), v.free(240)
	pod := sibling(old, "brief", ip)
	v.plug(p, "vethbrief", ip)
	api.put(t, pod)
	dep := old.Namespace + "/deploy/" + old.Labels["app"]
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", dep, "--to", sc.To)...)
	to := serviceAddr(t, api, sc.To)
	ctx, cancel := context.WithCancel(t.Context())
	asked := p.askUntil(ctx, "tcp", to, 50*time.Millisecond)
	tr.verdict("the pod's traffic", func(v *render.Verdict) bool { return v.Flow.Source.Name == pod.Name && v.Code == tracer.CodeOK })
	cancel()
	<-asked
	p.stop()
	api.remove(t, pod)
	settle()
	first := v.at(netip.MustParseAddr(old.Status.PodIP))
	if err := first.ask("tcp", to, 5*time.Second); err != nil {
		t.Error(err)
	}
	tr.verdict("the other pod's traffic", func(v *render.Verdict) bool { return v.Flow.Source.Name == old.Name && v.Code == tracer.CodeOK })
	api.remove(t, old) // the object only: its deletion is not yet done on the node
	settle()
	if err := first.ask("tcp", to, 5*time.Second); err != nil {
		t.Error(err)
	}
	again := sibling(old, "again", v.free(242))
	q := newPlace(t)
	v.plug(q, "vethagain", v.free(242))
	api.put(t, again)
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	defer func(done <-chan struct{}) { cancel(); <-done }(q.askUntil(ctx, "tcp", to, 50*time.Millisecond))
	tr.verdict("the workload's next pod", func(v *render.Verdict) bool { return v.Flow.Source.Name == again.Name && v.Code == tracer.CodeOK })
	if code := tr.stop(); code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	for _, v := range tr.verdicts() {
		if v.Code != tracer.CodeOK {
			t.Errorf("a pod's end is called %s: %s", v.Code, v.Summary)
		}
	}
	if lost, found := tr.said("no pod of it exists"), tr.said("are found again"); lost != 1 || found != 1 {
		t.Errorf("said %d times that the workload has no pod, and %d times that it has again\n%s", lost, found, &tr.err)
	}
	if strings.Contains(tr.err.String(), "level=ERROR") || tr.said("out of date") > 0 {
		t.Errorf("a pod's end is an error:\n%s", &tr.err)
	}
}

// TestLiveAddressReused: each verdict names the pod that had the address then.
func TestLiveAddressReused(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 13})
	sc := breakLab(t, l, "healthy-service")
	api := serveAPI(t, clusterDump(t, l))
	old := podOf(t, api, sc.From)
	v := viewLab(t, l)
	ip := v.free(240)
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", ip.String(), "--to", sc.To)...)
	x := &traffic{ports: map[uint16]string{}}
	to := serviceAddr(t, api, sc.To)
	var names []string
	for i, name := range []string{"pod-a", "pod-b", "pod-c"} {
		p, pod := newPlace(t), sibling(old, name, ip)
		pending := pod.DeepCopy()
		pending.Status = corev1.PodStatus{Phase: corev1.PodPending}
		api.put(t, pending)
		v.plug(p, "vethreuse"+strconv.Itoa(i), ip)
		api.put(t, pod)
		settle() // the API tells of an address a little after it is in use
		ctx, cancel := context.WithCancel(t.Context())
		done := x.ask(ctx, p, pod.Name, to)
		tr.verdict("traffic of "+pod.Name, func(v *render.Verdict) bool { return v.Flow.Source.Name == pod.Name })
		cancel()
		<-done
		p.stop()
		api.remove(t, pod)
		names = append(names, pod.Name)
	}
	tr.stop()
	seen := map[string]int{}
	for _, v := range tr.verdicts() {
		who := x.ports[v.Flow.Source.Port]
		if who == "" {
			continue
		}
		seen[who]++
		if v.Flow.Source.Name != who {
			t.Errorf("%s is called %q at %s: %s", who, v.Flow.Source.Name, v.Time.Format(time.StampMicro), v.Summary)
		}
	}
	for _, n := range names {
		if seen[n] == 0 {
			t.Errorf("no verdict about %s", n)
		}
	}
}

// TestLiveAPILost: when the API server goes away the trace goes on with what is
// known and says so, once; verdicts carry it; and it is said when it is back.
func TestLiveAPILost(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 14})
	sc := breakLab(t, l, "policy-ingress")
	api := serveAPI(t, clusterDump(t, l))
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", sc.From, "--to", sc.To)...)
	sent := send(t, l)
	stale := func(v *render.Verdict) bool {
		return slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What, "cluster data") })
	}
	tr.verdict("before the loss", func(v *render.Verdict) bool { return v.Code == sc.Code && !stale(v) })
	api.Close()
	tr.await("the warning", func() bool { return tr.said("warning: the API server cannot be reached") == 1 })
	<-sent
	send(t, l)
	got := tr.verdict("a verdict that says that it rests on old data", stale)
	if got.Code != sc.Code || got.Flow.Source.Name == "" {
		t.Errorf("got %s about %+v: %s", got.Code, got.Flow.Source, got.Summary)
	}
	api.up(t)
	tr.await("the good news", func() bool { return tr.said("the API server is back") == 1 })
	if n := tr.said("warning: the API server"); n != 1 {
		t.Errorf("warned %d times:\n%s", n, &tr.err)
	}
	tr.stop()
}

// TestLiveEndpointsChange: a Service's new endpoint is followed.
func TestLiveEndpointsChange(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 15})
	sc := breakLab(t, l, "healthy-service")
	api := serveAPI(t, clusterDump(t, l))
	v := viewLab(t, l)
	client := v.at(netip.MustParseAddr(podOf(t, api, sc.From).Status.PodIP))
	tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", sc.From, "--to", sc.To)...)
	slice, old := sliceOf(t, api, sc.To)
	p, ip := newPlace(t), v.free(240)
	pod := sibling(old, "grown", ip)
	v.plug(p, "vethgrown", ip)
	port := uint16(*slice.Ports[0].Port)
	p.answer(port)
	slice.Endpoints = []discoveryv1.Endpoint{{
		Addresses: []string{ip.String()}, Conditions: slice.Endpoints[0].Conditions, NodeName: slice.Endpoints[0].NodeName,
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name},
	}}
	api.put(t, pod)
	api.put(t, slice)
	v.rewrite(netip.MustParseAddrPort(serviceAddr(t, api, sc.To)), netip.AddrPortFrom(ip, port))
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	asked := client.askUntil(ctx, "tcp", serviceAddr(t, api, sc.To), 20*time.Millisecond)
	defer func() { cancel(); <-asked }()
	got := tr.verdict("a path into the new endpoint", func(v *render.Verdict) bool {
		return slices.ContainsFunc(v.Hops, func(h render.HopLine) bool { return strings.HasSuffix(h.Pod, pod.Name) })
	})
	if got.Code != tracer.CodeOK || len(got.Flow.Translations) == 0 || !strings.HasSuffix(got.Flow.Translations[0].ToObject, pod.Name) {
		t.Errorf("got %s: %s; %+v", got.Code, got.Summary, got.Flow.Translations)
	}
	t.Logf("first path into the new endpoint: %v", got.Time.Sub(began).Round(time.Millisecond))
}

// sliceOf is the IPv4 EndpointSlice of a Service, and a pod in it.
func sliceOf(t *testing.T, api *testAPI, ref string) (*discoveryv1.EndpointSlice, *corev1.Pod) {
	t.Helper()
	ns, rest, _ := strings.Cut(ref, "/svc/")
	name, _, _ := strings.Cut(rest, ":")
	for _, slice := range apiserver.All[*discoveryv1.EndpointSlice](api.Server) {
		if slice.Namespace == ns && slice.Labels[discoveryv1.LabelServiceName] == name && slice.AddressType == discoveryv1.AddressTypeIPv4 {
			pod := slice.Endpoints[0].TargetRef
			return slice, get[*corev1.Pod](t, api, pod.Namespace, pod.Name)
		}
	}
	t.Fatalf("%s has no EndpointSlice", ref)
	return nil, nil
}
