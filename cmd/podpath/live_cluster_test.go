package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
			if api.asked["application/vnd.kubernetes.protobuf"] == 0 {
				t.Errorf("protobuf was not asked for: %v", api.asked)
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

// newPod is a pod of a Deployment on the lab's node.
func newPod(l *lab.Lab, namespace, app, name string, ip netip.Addr) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: app + "-7b9c-" + name, UID: types.UID(name), CreationTimestamp: metav1.Now(),
			Labels:          map[string]string{"app": app, "pod-template-hash": "7b9c"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-7b9c", Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: l.NodeName(), Containers: []corev1.Container{{Name: app}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip.String(), PodIPs: []corev1.PodIP{{IP: ip.String()}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

// withinSecond is what the kernel must know a new pod by.
const withinSecond = time.Second

// TestLivePodAppears: a pod that appears during the trace is followed within a
// second from when both it and its object exist, whichever came first.
func TestLivePodAppears(t *testing.T) {
	for _, c := range []struct{ name, order string }{
		{"object first", "object"}, {"object without an address first", "pending"}, {"veth first", "veth"}, {"address last", "address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, lab.Options{Seed: 11})
			sc := breakLab(t, l, "healthy-service")
			api := serveAPI(t, clusterDump(t, l))
			old := podOf(t, api, sc.From)
			dep := old.Namespace + "/deploy/" + old.Labels["app"]
			tr := startTrace(t, nodeArgs(l, "--kubeconfig", api.kubeconfig(t), "--from", dep, "--to", sc.To)...)
			v := viewLab(t, l)
			p, ip := newPlace(t), v.free(240)
			pod := old.DeepCopy()
			pod.Name, pod.UID, pod.CreationTimestamp = old.Name[:len(old.Name)-5]+"fresh", "fresh", metav1.Now()
			pod.Status.PodIP, pod.Status.PodIPs = ip.String(), []corev1.PodIP{{IP: ip.String()}}
			switch c.order {
			case "object":
				api.put(t, pod)
				settle()
				v.plug(p, "vethfresh", ip)
			case "pending":
				pending := pod.DeepCopy()
				pending.Status = corev1.PodStatus{Phase: corev1.PodPending}
				api.put(t, pending)
				v.plug(p, "vethfresh", ip)
				settle()
				api.put(t, pod)
			case "veth":
				v.plug(p, "vethfresh", ip)
				settle()
				api.put(t, pod)
			case "address":
				other := v.free(241)
				v.plug(p, "vethfresh", other)
				api.put(t, pod)
				settle()
				eth0, err := p.nl.LinkByName("eth0")
				p.must(err)
				p.must(p.nl.AddrDel(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(other, v.gateway.Bits()))}))
				p.must(p.nl.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(ip, v.gateway.Bits()))}))
				p.route(netip.Prefix{}, v.gateway.Addr())
			}
			both := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			asked := p.askUntil(ctx, "tcp", serviceAddr(t, api, sc.To), 20*time.Millisecond)
			defer func() { cancel(); <-asked }()
			first := tr.verdict("a verdict for the new pod", func(v *render.Verdict) bool { return v.Flow.Source.Name == pod.Name })
			if first.Code != tracer.CodeOK {
				t.Errorf("got %s: %s", first.Code, first.Summary)
			}
			took := firstSeen(tr, pod.Name).Sub(both)
			t.Logf("first event %v after both existed", took.Round(time.Millisecond))
			if took > withinSecond {
				t.Errorf("the first event is of %v after both existed", took)
			}
			// Inside the pod too, not only on the node's side.
			if !slices.ContainsFunc(first.Hops, func(h render.HopLine) bool { return h.Pod != "" }) {
				t.Errorf("no hop inside a pod: %+v", first.Hops)
			}
		})
	}
}

// settle lets a change be noticed before the next one comes: the point of the
// test is that they come apart. Nothing fails if it is too short.
func settle() { time.Sleep(1500 * time.Millisecond) }

// firstSeen is the time of the first hop of a pod's flows.
func firstSeen(tr *liveTrace, pod string) time.Time {
	tr.t.Helper()
	var first time.Time
	for _, f := range tr.flows() {
		if f.Flow.Source.Name == pod && (first.IsZero() || f.Time.Before(first)) {
			first = f.Time
		}
	}
	return first
}

// podOf is the pod that "NAMESPACE/pod/NAME" names.
func podOf(t *testing.T, api *apiServer, ref string) *corev1.Pod {
	t.Helper()
	ns, name, _ := strings.Cut(ref, "/pod/")
	return get[*corev1.Pod](t, api, "/api/v1/pods", ns+"/"+name)
}

// serviceAddr is the IPv4 address and port of "NAMESPACE/svc/NAME:PORT".
func serviceAddr(t *testing.T, api *apiServer, ref string) string {
	t.Helper()
	ns, rest, _ := strings.Cut(ref, "/svc/")
	name, port, _ := strings.Cut(rest, ":")
	return net.JoinHostPort(get[*corev1.Service](t, api, "/api/v1/services", ns+"/"+name).Spec.ClusterIP, port)
}
