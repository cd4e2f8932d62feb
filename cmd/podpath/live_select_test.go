package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// scene is a lab with what a test needs to act in it.
type scene struct {
	*labView
	t        *testing.T
	api      *testAPI
	config   string
	client   *corev1.Pod // a pod on the node, and another behind the Service
	server   *corev1.Pod
	from, to *place // their namespaces
	service  string // NAMESPACE/svc/NAME:PORT
	vip      string // its address and port
	port     uint16 // of the server
}

func newScene(t *testing.T, seed uint64) *scene {
	t.Helper()
	l := newLab(t, lab.Options{Seed: seed})
	sc := breakLab(t, l, "healthy-service")
	s := &scene{labView: viewLab(t, l), t: t, api: serveAPI(t, clusterDump(t, l)), service: sc.To}
	s.config = s.api.kubeconfig(t)
	s.client = podOf(t, s.api, sc.From)
	slice, server := sliceOf(t, s.api, sc.To)
	s.server, s.port, s.vip = server, uint16(*slice.Ports[0].Port), serviceAddr(t, s.api, sc.To)
	s.from, s.to = s.at(s.ip(s.client)), s.at(s.ip(s.server))
	return s
}

func (s *scene) ip(p *corev1.Pod) netip.Addr { return netip.MustParseAddr(p.Status.PodIP) }

func (s *scene) serverAddr() string { return netip.AddrPortFrom(s.ip(s.server), s.port).String() }

func ref(p *corev1.Pod) string { return p.Namespace + "/pod/" + p.Name }

// trace starts a trace on the node of the scene.
func (s *scene) trace(from, to string, more ...string) *liveTrace {
	s.t.Helper()
	args := nodeArgs(s.lab, "--kubeconfig", s.config, "--from", from, "--to", to)
	return startTrace(s.t, append(args, more...)...)
}

// selection is one way of naming the ends, and traffic that must be seen.
type selection struct {
	name     string
	from, to string
	send     func() error
	code     string
	fits     func(v *render.Verdict) bool // more to be true of the verdict
}

func (s *scene) show(t *testing.T, c selection) {
	t.Helper()
	s.t = t
	tr := s.trace(c.from, c.to)
	tr.t = t
	if err := c.send(); (err == nil) != (c.code == tracer.CodeOK) {
		t.Errorf("the traffic itself: %v", err)
	}
	v := tr.verdict("a verdict", func(v *render.Verdict) bool { return c.fits == nil || c.fits(v) })
	tr.stop()
	if v.Code != c.code {
		t.Errorf("got %s (%s), want %s: %s", v.Code, v.Component, c.code, v.Summary)
	}
	t.Logf("%s %s", v.Code, v.Summary)
	for _, h := range v.Hops {
		t.Logf("   %-8s %-8s %-45s %-14s %s %s", h.Mark, h.Direction, h.Where, h.What, h.Tuple, h.Before)
	}
}

// TestLiveSelections: every way of naming the ends, with traffic that arrives
// and traffic that does not.
func TestLiveSelections(t *testing.T) {
	t.Parallel()
	s := newScene(t, 21)
	closed := netip.AddrPortFrom(s.ip(s.server), 9).String()
	node := "node/" + s.lab.NodeName()
	pods := s.gateway.Masked().String()
	out := s.outside()
	out.answer(8053)
	outer := netip.AddrPortFrom(s.router, 8053).String()
	outerClosed := netip.AddrPortFrom(s.router, 9).String()
	tcp := func(p *place, to string) func() error {
		return func() error { return p.ask("tcp", to, 2*time.Second) }
	}
	hostPod := s.hostNetworkPod("host-app")
	src := func(name string) func(*render.Verdict) bool {
		return func(v *render.Verdict) bool { return v.Flow.Source.Name == name }
	}
	inside := func(v *render.Verdict) bool { // seen in the pod that answers
		return slices.ContainsFunc(v.Hops, func(h render.HopLine) bool {
			return h.Direction == tracer.DirReply && h.NetNS != 0 && h.Pod != "" && h.Pod != s.client.Namespace+"/"+s.client.Name
		})
	}
	for _, c := range []selection{
		{"CIDR to any", pods, "any", tcp(s.from, s.vip), "ok", src(s.client.Name)},
		{"CIDR to any, refused", pods, "any", tcp(s.from, closed), "app-no-listener", src(s.client.Name)},
		{"CIDR to any with a port", pods, fmt.Sprintf("any:%d", netip.MustParseAddrPort(s.vip).Port()), tcp(s.from, s.vip), "ok", src(s.client.Name)},
		{"any to Service", "any", s.service, tcp(s.from, s.vip), "ok", src(s.client.Name)},
		{"any to pod, refused", "any", ref(s.server), tcp(s.from, closed), "app-no-listener", src(s.client.Name)},
		{"namespace to Service", "ns/" + s.client.Namespace, s.service, tcp(s.from, s.vip), "ok", src(s.client.Name)},
		{"pod to any, refused", ref(s.client), "any", tcp(s.from, closed), "app-no-listener", nil},
		{"pod to a range, refused", ref(s.client), pods, tcp(s.from, closed), "app-no-listener", nil},
		{"pod to a ClusterIP by its address", ref(s.client), s.vip, tcp(s.from, s.vip), "ok", inside},
		{"pod to any Service", ref(s.client), "any", tcp(s.from, s.vip), "ok", inside},
		{"pod to internet", ref(s.client), "internet", tcp(s.from, s.internet()), "ok", src(s.client.Name)},
		{"pod to a host of the node's network", ref(s.client), outer, tcp(s.from, outer), "ok", src(s.client.Name)},
		{"pod to such a host, refused", ref(s.client), "any", tcp(s.from, outerClosed), "egr-remote-refused", src(s.client.Name)},
		{"node to pod", node, ref(s.server), tcp(s.node, s.serverAddr()), "ok", nil},
		{"node to pod, refused", node, ref(s.server), tcp(s.node, closed), "app-no-listener", nil},
		{"node to outside", node, "any", tcp(s.node, outer), "ok", nil},
		{"node to outside, refused", node, "any", tcp(s.node, outerClosed), "egr-remote-refused", nil},
		{"host network pod to pod", ref(hostPod), ref(s.server), tcp(s.node, s.serverAddr()), "ok", nil},
		{"host network pod to outside", ref(hostPod), outer, tcp(s.node, outer), "ok", nil},
		{"pod to node", ref(s.client), node, tcp(s.from, netip.AddrPortFrom(s.uplink.Addr(), 9).String()), "app-no-listener", nil},
	} {
		t.Run(c.name, func(t *testing.T) { s.show(t, c) })
	}
}

// internet is a host outside the cluster that answers.
func (s *scene) internet() string {
	addrs, err := s.outside().nl.AddrList(nil, 2)
	s.node.must(err)
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && !ip.IsLoopback() && !ip.IsPrivate() {
			s.outside().answer(7443)
			return netip.AddrPortFrom(ip, 7443).String()
		}
	}
	s.t.Fatal("the outside has no host")
	return ""
}

// hostNetworkPod adds a pod that uses the node's namespace.
func (s *scene) hostNetworkPod(name string) *corev1.Pod {
	ip := s.uplink.Addr().String()
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.client.Namespace, Name: name, UID: "host", CreationTimestamp: metav1.Now()},
		Spec:       corev1.PodSpec{NodeName: s.lab.NodeName(), HostNetwork: true, Containers: []corev1.Container{{Name: "c"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
	s.api.put(s.t, p)
	return p
}

// TestLiveNodePort: a NodePort from a pod of the node and from outside.
func TestLiveNodePort(t *testing.T) {
	t.Parallel()
	s := newScene(t, 22)
	const good, wrong, none = 30080, 30081, 30082
	ns, svcName, _ := cut3(s.service)
	svc := get[*corev1.Service](t, s.api, ns, svcName)
	svc.Spec.Type = corev1.ServiceTypeNodePort
	svc.Spec.Ports[0].NodePort = good
	extra := svc.Spec.Ports[0]
	extra.Name, extra.Port, extra.NodePort = "wrong", extra.Port+1, wrong
	extra.TargetPort.IntVal = 9
	last := svc.Spec.Ports[0]
	last.Name, last.Port, last.NodePort = "none", last.Port+2, none
	svc.Spec.Ports = append(svc.Spec.Ports, extra, last)
	s.api.put(t, svc)
	slice, _ := sliceOf(t, s.api, s.service)
	bad, nine := slice.Ports[0], int32(9)
	name := "wrong"
	bad.Name, bad.Port = &name, &nine
	missing, lastName := slice.Ports[0], "none"
	missing.Name = &lastName
	slice.Ports = append(slice.Ports, bad, missing)
	s.api.put(t, slice)
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.uplink.Addr(), port) }
	s.rewrite(at(good), netip.AddrPortFrom(s.ip(s.server), s.port))
	s.rewrite(at(wrong), netip.AddrPortFrom(s.ip(s.server), 9))
	out := s.outside()
	tcp := func(p *place, port uint16) func() error {
		return func() error { return p.ask("tcp", at(port).String(), 2*time.Second) }
	}
	to := func(port uint16) string { return at(port).String() }
	for _, c := range []selection{
		{"from a pod", ref(s.client), to(good), tcp(s.from, good), "ok", nil},
		{"from a pod, by the Service's name", ref(s.client), s.serviceRef(), tcp(s.from, good), "ok", nil},
		{"from outside", s.router.String(), s.serviceRef(), tcp(out, good), "ok", nil},
		{"from any", "any", s.serviceRef(), tcp(out, good), "ok", nil},
		{"from internet, by the node", "any", "node/" + s.lab.NodeName(), tcp(out, good), "ok", nil},
		{"from a pod, nobody listens", ref(s.client), to(wrong), tcp(s.from, wrong), "svc-wrong-targetport", nil},
		{"from outside, nobody listens", s.router.String(), to(wrong), tcp(out, wrong), "svc-wrong-targetport", nil},
		{"from a pod, no rule", ref(s.client), to(none), tcp(s.from, none), "svc-kubeproxy-no-rules", nil},
		{"from outside, no rule", s.router.String(), to(none), tcp(out, none), "svc-kubeproxy-no-rules", nil},
	} {
		t.Run(c.name, func(t *testing.T) { s.show(t, c) })
	}
}

// serviceRef is the Service without a port.
func (s *scene) serviceRef() string {
	ns, name, _ := cut3(s.service)
	return ns + "/svc/" + name
}

// TestLiveProtocols: echo, UDP and SCTP, with an answer and without.
func TestLiveProtocols(t *testing.T) {
	t.Parallel()
	s := newScene(t, 23)
	ping := func(to netip.Addr) func() error {
		return func() error {
			if n := s.from.ping(to, 3, time.Second); n == 0 {
				return fmt.Errorf("no answer from %s", to)
			}
			return nil
		}
	}
	udp := func(to string) func() error {
		return func() error {
			var err error
			for range 2 {
				err = s.from.ask("udp", to, 700*time.Millisecond)
			}
			return err
		}
	}
	quiet := netip.AddrPortFrom(s.ip(s.server), 7999)
	s.to.swallow(quiet.Port())
	for _, c := range []selection{
		{"ping a pod", ref(s.client), ref(s.server), ping(s.ip(s.server)), "ok", nil},
		{"ping outside", ref(s.client), s.router.String(), ping(s.router), "ok", nil},
		{"UDP to a pod", ref(s.client), ref(s.server), udp(s.serverAddr()), "ok", nil},
		{"UDP to nobody", ref(s.client), ref(s.server), udp(netip.AddrPortFrom(s.ip(s.server), 4599).String()), "app-no-listener", nil},
		{"UDP without a reply", ref(s.client), ref(s.server), udp(quiet.String()), "unknown", nil},
	} {
		t.Run(c.name, func(t *testing.T) { s.show(t, c) })
	}
	t.Run("SCTP", func(t *testing.T) { s.sctpTo(t, s.to) })
}

// sctpTo opens an association, and another to a port without a listener.
func (s *scene) sctpTo(t *testing.T, p *place) {
	s.from.t, p.t = t, t
	l, c, d := p.sctp(), s.from.sctp(), s.from.sctp()
	addr := &unix.SockaddrInet4{Port: 7777, Addr: s.ip(s.server).As4()}
	p.must(unix.Bind(l, &unix.SockaddrInet4{Port: 7777}))
	p.must(unix.Listen(l, 4))
	s.show(t, selection{"", ref(s.client), ref(s.server), func() error { return unix.Connect(c, addr) }, "ok", nil})
	closed := &unix.SockaddrInet4{Port: 7778, Addr: s.ip(s.server).As4()}
	s.show(t, selection{"", ref(s.client), ref(s.server), func() error { return unix.Connect(d, closed) }, "app-no-listener", nil})
}

// swallow takes datagrams and answers none.
func (p *place) swallow(port uint16) {
	p.t.Helper()
	p.must(p.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { _ = unix.Close(fd) })
		return unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)})
	}))
}

// cut3 splits "NAMESPACE/svc/NAME:PORT".
func cut3(s string) (ns, name, port string) {
	e, err := parseEndpoints(s, s, "", "", "")
	if err != nil {
		return "", "", ""
	}
	return e.from.Namespace, e.from.Name, strconv.Itoa(int(e.from.Port))
}
