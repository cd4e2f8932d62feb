package kube

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podpath/podpath/tracer"
)

// What kubelets of several runtimes and CNIs write, as reports in the open have it.
func TestSaidBy(t *testing.T) {
	const sandbox = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"3f0c\": "
	const before = "Failed create pod sandbox: rpc error: code = Unknown desc = [failed to set up sandbox container \"c5a0\" network for pod \"web-1\": networkPlugin cni failed to set up pod \"web-1_shop\" network: "
	no, agent, conf, other := tracer.FailureNoAddress, tracer.FailureNoAgent, tracer.FailureNotConfigured, tracer.FailureOther
	for _, tt := range []struct {
		message string
		says    tracer.StartFailure
		plugin  string
		text    string // the begin of what is shown
	}{
		{sandbox + `plugin type="bridge" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.244.1.1-10.244.1.254`, no, "bridge", `plugin type="bridge" failed (add): failed to allocate`},
		{sandbox + `plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`, no, "aws-cni", `plugin type="aws-cni"`},
		{before + `add cmd: failed to assign an IP address to container`, no, "aws-cni", "add cmd: failed to assign"},
		{sandbox + `plugin type="calico" failed (add): failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled`, no, "calico", "plugin"},
		{sandbox + `plugin type="cilium-cni" failed (add): unable to allocate IP via local cilium agent: [POST /ipam][502] postIpamFailure  range is full`, no, "cilium-cni", "plugin"},
		{"(combined from similar events): " + sandbox + `plugin type="cilium-cni" failed (add): unable to allocate IP via local cilium agent: [POST /ipam][502] postIpamFailure "all CIDR ranges are exhausted"`, no, "cilium-cni", "plugin"},
		{before + `add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing dial tcp 127.0.0.1:50051: connect: connection refused"`, agent, "aws-cni", "add cmd: Error received"},
		{sandbox + `plugin type="calico" failed (add): stat /var/lib/calico/nodename: no such file or directory: check that the calico/node container is running and has mounted /var/lib/calico/`, agent, "calico", "plugin"},
		{sandbox + `plugin type="cilium-cni" failed (add): unable to connect to Cilium agent: failed to create cilium agent client after 30.000000 seconds timeout: Get "http:///var/run/cilium/cilium.sock/v1/config": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory`, agent, "cilium-cni", "plugin"},
		{sandbox + `plugin type="flannel" failed (add): failed to load flannel 'subnet.env' file: open /run/flannel/subnet.env: no such file or directory. Check the flannel pod log for this node.`, conf, "flannel", "plugin"},
		{sandbox + `plugin type="loopback" failed (add): failed to find plugin "loopback" in path [/opt/cni/bin]`, conf, "loopback", "plugin"},
		{"network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized", conf, "", "network is not ready"},
		{"container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: No CNI configuration file in /etc/cni/net.d/. Has your network provider started?", conf, "", ""},
		{"[FATAL] plugin/loop: Loop (127.0.0.1:55953 -> :1053) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting.", tracer.FailureDNSLoop, "", "[FATAL]"},
		{`error killing pod: failed to "KillPodSandbox" for "4f" with KillPodSandboxError: "rpc error: code = Unknown desc = failed to destroy network for sandbox \"3f\": plugin type=\"flannel\" failed (delete): failed to find plugin \"flannel\" in path [/usr/lib/cni]"`, conf, "flannel", "error killing pod"},
		{sandbox + `plugin type="multus" name="multus-cni-network" failed (add): [shop/web:aws-cni]: error adding container to network "aws-cni": plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`, no, "aws-cni", "plugin"},
		{sandbox + `plugin type="multus-shim" name="multus-cni-network" failed (add): CmdAdd (shim): CNI request failed: Post "http://dummy/cni": dial unix /run/multus/multus.sock: connect: connection refused`, agent, "multus-shim", "plugin"},
		// It is kube-proxy or the API server that does not answer.
		{sandbox + `plugin type="calico" failed (add): error getting ClusterInformation: Get "https://10.96.0.1:443/apis/crd.projectcalico.org/v1/clusterinformations/default": dial tcp 10.96.0.1:443: i/o timeout`, tracer.FailureNoAPI, "calico", "plugin"},
		{sandbox + `plugin type="multus" name="multus-cni-network" failed (add): Multus: [shop/web]: error getting pod: Get "https://[fd00::1]:443/api/v1/namespaces/shop/pods/web?timeout=1m0s": net/http: TLS handshake timeout`, tracer.FailureNoAPI, "multus", "plugin"},
		// Look-alikes.
		{"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: unable to apply cgroup configuration: no such file or directory", other, "", "failed to create containerd task"},
		{sandbox + `plugin type="calico" failed (add): error getting ClusterInformation: connection is unauthorized: Unauthorized`, other, "calico", "plugin"},
		{sandbox + `plugin type="bridge" failed (add): failed to set bridge addr: "cni0" already has an IP address different from 10.244.1.1/24`, other, "bridge", "plugin"},
		{before + `something that nobody knows`, other, "cni", "something"},
		{"Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = context deadline exceeded", other, "", "context deadline exceeded"},
		{"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image \"registry.k8s.io/pause:3.9\": failed to pull image: dial tcp 127.0.0.1:5000: connect: connection refused", other, "", "failed to get sandbox image"},
		{"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox image \"127.0.0.1:50051/pause:3.9\": failed to pull image: dial tcp 127.0.0.1:50051: connect: connection refused", other, "", "failed to get sandbox image"},
		{"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to start sandbox \"3f\": failed to get sandbox image \"localhost:6784/pause\": failed to do request: Head \"https://mirror.example/api/v1/pause\": dial tcp 127.0.0.1:6784: i/o timeout", other, "", "failed to start sandbox"},
		{"Failed to create pod sandbox: rpc error: code = Unknown desc = error creating pod sandbox with name \"k8s_web\": initializing source docker://registry.example/apis/pause:3.9: pinging container registry: Get \"https://registry.example/v2/apis/\": EOF", other, "", "error creating pod sandbox"},
		{"Failed to create pod sandbox: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial unix /run/containerd/containerd.sock: connect: connection refused\"", other, "", "connection error"},
		{"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to create shim task: the id range is full: no space left on device", other, "", "failed to create shim task"},
		{sandbox + `plugin type="acme" failed (add): Post "https://ipam.example/apiv2/lease": EOF`, other, "acme", "plugin"},
		{sandbox + `plugin type="acme" failed (add): the id range is full`, other, "acme", "plugin"},
		{sandbox + `plugin type="multus" name="multus-cni-network" failed (add): Multus: [shop/web]: error loading k8s delegates: cannot find a network-attachment-definition (lan) in namespace (shop)`, other, "multus", "plugin"},
		{`network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: plugin type="cilium-cni" failed (status): the agent starts`, other, "cilium-cni", "network is not ready"},
		{"[INFO] plugin/reload: Running configuration", other, "", "[INFO]"},
	} {
		if got := saidBy(tt.message); got != tt.says {
			t.Errorf("%s: %s, want %s", tt.message, got, tt.says)
		}
		if got := pluginIn(tt.message); got != tt.plugin {
			t.Errorf("%s: plugin %q", tt.message, got)
		}
		got := shortened(tt.message)
		if !strings.HasPrefix(got, tt.text) || len(got) > 300 || shortened(got) != got {
			t.Errorf("%s: shown as %q", tt.message, got)
		}
	}
	for _, f := range failureTexts() {
		if f.source == "" || len(f.all) == 0 || !f.says.Known() {
			t.Errorf("%+v", f)
		}
		for _, s := range f.all {
			if s != strings.ToLower(s) || strings.Join(strings.Fields(s), " ") != strings.TrimSpace(s) {
				t.Errorf("%q is not as texts are compared", s)
			}
		}
	}
	if got := shortened(strings.Repeat("ä", 400)); len(got) > 300 || !strings.HasSuffix(got, "...") || shortened(got) != got {
		t.Errorf("%d bytes", len(got))
	}
}

// noNetworkDump is a pod that has no network, with what there is to be said of it.
func noNetworkDump(t *testing.T) *Snapshot {
	t.Helper()
	b, err := os.ReadFile("testdata/no-network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := ReadDump(strings.NewReader(string(b)), "no-network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func clock(of string) time.Time {
	out, err := time.Parse(time.RFC3339, "2026-11-22T"+of+"Z")
	if err != nil {
		panic(err)
	}
	return out
}

func TestPodNetwork(t *testing.T) {
	s := noNetworkDump(t)
	want := &tracer.PodNetwork{
		Scheduled: clock("10:00:00"), Ready: "False", Waiting: "ContainerCreating", EventsKnown: true,
		Failures: []tracer.StartAttempt{
			{Reason: "FailedCreatePodSandBox", Says: tracer.FailureNoAddress, Plugin: "bridge", Text: `plugin type="bridge" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.244.1.1-10.244.1.6`, First: clock("10:00:02"), Last: clock("10:01:10"), Count: 5},
			{Reason: "NetworkNotReady", Says: tracer.FailureNotConfigured, Text: "network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized", First: clock("10:00:01"), Last: clock("10:00:01"), Count: 1},
		},
		Node: &tracer.NodeNetwork{
			Name: "n1", Ready: "False", Since: clock("09:59:00"), Says: tracer.FailureNotConfigured, Unavailable: true, UnavailableText: "NoRouteCreated: RouteController failed to create a route",
			Text:     "KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/29")}, RangesElsewhere: true, Addresses: 1, MaxPods: 110,
		},
		Agents: []tracer.Agent{
			{Namespace: "kube-flannel", Name: "kube-flannel-ds", Elsewhere: 1, Pod: "kube-flannel-ds-a", Phase: "Running", Since: clock("09:58:00"), Waiting: "CrashLoopBackOff: back-off 40s restarting failed container", Restarts: 4, Created: clock("09:00:00")},
			{Namespace: "logs", Name: "shipper", Elsewhere: 1},
		},
	}
	for _, s := range []*Snapshot{s, rewritten(t, s), rewritten(t, rewritten(t, s))} {
		p, ok := s.Pod("shop", "web-1")
		if !ok {
			t.Fatal("no pod")
		}
		if d := cmp.Diff(want, s.PodFacts(p).Network, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Error(d)
		}
		for _, name := range []string{"web-2", "done", "agent"} {
			if p, ok := s.Pod("shop", name); !ok || s.PodFacts(p).Network != nil {
				t.Errorf("%s: %t, and has no network", name, ok)
			}
		}
		p, _ = s.Pod("kube-system", "coredns-a")
		if p.Exit == nil || p.Exit.Says != tracer.FailureDNSLoop || !strings.HasPrefix(p.Exit.Text, "[FATAL] plugin/loop: Loop (127.0.0.1:55953") || strings.Contains(p.Exit.Text, "[INFO]") || !p.Exit.At.Equal(clock("10:00:30")) {
			t.Errorf("%+v", p.Exit)
		}
		svc, _ := s.Service("kube-system", "kube-dns")
		if list := s.Exits(svc); len(list) != 1 || list[0].Name != "coredns-a" || list[0].Restarts != 3 {
			t.Errorf("%+v", list)
		}
	}
}

// Agents that are not ready are found on their node, unless another pod of theirs there
// is ready, or they are on their way out.
func TestAgentsDown(t *testing.T) {
	s := noNetworkDump(t)
	for _, s := range []*Snapshot{s, rewritten(t, s)} {
		got := s.AgentsDown("n1")
		want := []tracer.Agent{{Namespace: "kube-flannel", Name: "kube-flannel-ds", Pod: "kube-flannel-ds-a", Phase: "Running", Since: clock("09:58:00"), Waiting: "CrashLoopBackOff: back-off 40s restarting failed container", Restarts: 4, Created: clock("09:00:00")}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if got := s.AgentsDown("n3"); got != nil {
			t.Errorf("%+v", got)
		}
	}
	st := newStore(s, 0)
	old, _ := s.Pod("kube-flannel", "kube-flannel-ds-a")
	change := func(name string, of func(*Pod)) {
		p := *old
		p.Name = name
		of(&p)
		st.take(op{kind: kindPod, key: p.Key(), obj: &p, at: time.Now()})
	}
	change("kube-flannel-ds-new", func(p *Pod) { p.Ready, p.Created = true, old.Created.Add(-time.Hour) })
	if got := st.Current().AgentsDown("n1"); got != nil {
		t.Errorf("one of its pods is ready: %+v", got)
	}
	change("kube-flannel-ds-new", func(p *Pod) { p.Created, p.Restarts = old.Created.Add(time.Hour), 1 })
	if got := st.Current().AgentsDown("n1"); len(got) != 1 || got[0].Pod != "kube-flannel-ds-new" {
		t.Errorf("the newer of two: %+v", got)
	}
	change("kube-flannel-ds-new", func(p *Pod) { p.Deleting = time.Now() })
	change("kube-flannel-ds-a", func(p *Pod) { p.Deleting = time.Now() })
	if got := st.Current().AgentsDown("n1"); got != nil {
		t.Errorf("both are going: %+v", got)
	}
}

// A dump without Events does not say that there are none.
func TestEventsNotAskedFor(t *testing.T) {
	s := shop(t)
	p, _ := s.Pod("shop", "slow-0")
	if n := s.PodFacts(p).Network; n == nil || n.EventsKnown || n.Failures != nil {
		t.Errorf("%+v", n)
	}
	// One that says nothing of a pod's start tells that they were asked for, in its namespace.
	s, _, err := ReadDump(strings.NewReader(strings.Replace(shopDump, `{"apiVersion":"v1","kind":"ConfigMap",`, `{"apiVersion":"v1","kind":"Event","reason":"Pulled","involvedObject":{"kind":"Pod","name":"x","namespace":"shop"},`, 1)), "fixture")
	if err != nil {
		t.Fatal(err)
	}
	p, _ = s.Pod("shop", "slow-0")
	for _, s := range []*Snapshot{s, rewritten(t, s)} {
		if n := s.PodFacts(p).Network; n == nil || !n.EventsKnown || n.Failures != nil {
			t.Errorf("%+v", n)
		}
	}
}

// What a container ended of counts while it is about to be started again, or was.
func TestExitOfAnotherLife(t *testing.T) {
	const end = `{"terminated":{"exitCode":1,"finishedAt":"2026-06-01T00:00:00Z","message":"[FATAL] plugin/loop: Loop (127.0.0.1:1 -> :53) detected"}}`
	for _, tt := range []struct {
		name, state string
		counts      bool
		again       string
	}{
		{"it runs since", `"lastState":` + end + `,"state":{"running":{"startedAt":"2026-06-01T00:00:30Z"}}`, true, "2026-06-01T00:00:30Z"},
		{"its image is not there any more", `"lastState":` + end + `,"state":{"waiting":{"reason":"ImagePullBackOff"}}`, false, ""},
		{"nothing is said of now", `"lastState":` + end, false, ""},
		{"it waits to be started again", `"lastState":` + end + `,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s"}}`, true, ""},
		{"it has ended just now", `"state":` + end, true, ""},
	} {
		s, _, err := ReadDump(strings.NewReader(`{"apiVersion":"v1","kind":"List","items":[
			{"apiVersion":"v1","kind":"Service","metadata":{"name":"kube-dns","namespace":"kube-system"},"spec":{"clusterIP":"10.96.0.10","selector":{"k8s-app":"kube-dns"},"ports":[{"port":53,"protocol":"UDP"}]}},
			{"apiVersion":"v1","kind":"Pod","metadata":{"name":"other","namespace":"shop","labels":{"k8s-app":"kube-dns"}},"status":{"containerStatuses":[{"name":"c","state":`+end+`}]}},
			{"apiVersion":"v1","kind":"Pod","metadata":{"name":"coredns-a","namespace":"kube-system","labels":{"k8s-app":"kube-dns"}},"spec":{"nodeName":"n9"},"status":{"phase":"Running","podIP":"10.1.9.2","containerStatuses":[{"name":"c","restartCount":6,`+tt.state+`}]}}]}`), "dump")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Snapshot{s, rewritten(t, s), rewritten(t, rewritten(t, s))} {
			svc, _ := s.Service("kube-system", "kube-dns")
			got := s.Exits(svc)
			if (len(got) == 1) != tt.counts || len(got) > 1 {
				t.Errorf("%s: %+v", tt.name, got)
			}
			for _, e := range got {
				if again, _ := time.Parse(time.RFC3339, tt.again); !e.Again.Equal(again) {
					t.Errorf("%s: started again %s", tt.name, e.Again)
				}
			}
		}
	}
}

// A pod that pulls its image has its network, which only Events tell: of these, those
// of the same pod, and no more than when.
func TestPodProgress(t *testing.T) {
	event := func(name, reason, uid, at string) string {
		return `{"apiVersion":"v1","kind":"Event","metadata":{"name":"` + name + `","namespace":"shop"},"involvedObject":{"kind":"Pod","namespace":"shop","name":"web","uid":"` + uid + `"},"reason":"` + reason + `","message":"Pulling image \"registry.example/secret:1\"","lastTimestamp":"2026-11-22T` + at + `Z"}`
	}
	s, _, err := ReadDump(strings.NewReader(`{"apiVersion":"v1","kind":"List","items":[
		{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","uid":"u1"},"spec":{"nodeName":"n1"},"status":{"phase":"Pending"}},`+
		event("1", "FailedCreatePodSandBox", "u1", "10:00:10")+","+event("2", "Pulling", "u1", "10:00:20")+","+event("3", "Pulling", "u1", "10:00:15")+","+
		event("4", "Started", "u0", "10:00:50")+","+event("5", "Killing", "u1", "10:00:55")+`]}`), "dump")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Snapshot{s, rewritten(t, s)} {
		p, _ := s.Pod("shop", "web")
		if n := s.PodFacts(p).Network; len(n.Failures) != 1 || n.Failures[0].Reason != "FailedCreatePodSandBox" || !n.Progress.Equal(clock("10:00:20")) {
			t.Errorf("%+v", n)
		}
		var b strings.Builder
		if err := s.WriteDump(&b); err != nil || strings.Count(b.String(), "secret:1") != 1 {
			t.Errorf("%v, or the image is kept: %s", err, b.String())
		}
	}
}

// A plugin that is missing fails once, and of the tries after it the kubelet says no
// more than that it begins anew. What was made in between is no failure any more, and
// a volume is no matter of the sandbox.
func TestPodBegunAnew(t *testing.T) {
	event := func(reason, at string) string {
		return `{"apiVersion":"v1","kind":"Event","metadata":{"name":"` + reason + `","namespace":"shop"},"involvedObject":{"kind":"Pod","namespace":"shop","name":"web","uid":"u1"},"reason":"` + reason + `","message":"Pod sandbox changed, it will be killed and re-created.","lastTimestamp":"2026-11-22T` + at + `Z"}`
	}
	for _, c := range []struct {
		name   string
		events []string
		last   string
	}{
		{"it goes on", []string{event("FailedCreatePodSandBox", "10:00:10"), event("SandboxChanged", "10:05:00")}, "10:05:00"},
		{"the failure is newer", []string{event("SandboxChanged", "10:00:05"), event("FailedCreatePodSandBox", "10:00:10")}, "10:00:10"},
		{"it was made in between", []string{event("FailedCreatePodSandBox", "10:00:10"), event("Started", "10:01:00"), event("SandboxChanged", "10:05:00")}, "10:00:10"},
		{"it was made after", []string{event("FailedCreatePodSandBox", "10:00:10"), event("SandboxChanged", "10:05:00"), event("Pulled", "10:05:05")}, "10:00:10"},
		{"a volume", []string{event("FailedMount", "10:00:10"), event("SandboxChanged", "10:05:00")}, "10:00:10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := ReadDump(strings.NewReader(`{"apiVersion":"v1","kind":"List","items":[
				{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","uid":"u1"},"spec":{"nodeName":"n1"},"status":{"phase":"Pending"}},`+
				strings.Join(c.events, ",")+`]}`), "dump")
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []*Snapshot{s, rewritten(t, s)} {
				p, _ := s.Pod("shop", "web")
				if n := s.PodFacts(p).Network; len(n.Failures) != 1 || !n.Failures[0].Last.Equal(clock(c.last)) {
					t.Errorf("%+v", n)
				}
			}
		})
	}
}

// Events are asked for when they are needed, of one pod, and not before.
func TestReadEvents(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "u1"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1.1"}, Reason: "FailedCreatePodSandBox", Message: "no IP addresses available in range set: x",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web-1", UID: "u1"}, EventTime: metav1.NewMicroTime(clock("10:00:00")),
		Series: &corev1.EventSeries{Count: 4, LastObservedTime: metav1.NewMicroTime(clock("10:01:00"))},
	}
	client := fake.NewClientset(pod, event)
	var asked []string
	client.PrependReactor("list", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
		asked = append(asked, a.GetNamespace()+" "+a.(clienttesting.ListAction).GetListRestrictions().Fields.String())
		return false, nil, nil
	})
	st, err := watch(ctx, clients{core: client}, "test", WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := st.Current().Pod("shop", "web-1")
	if n := st.Current().PodFacts(p).Network; n.EventsKnown || len(asked) != 0 {
		t.Errorf("before: %+v, asked %v", n, asked)
	}
	if err := st.ReadEvents(ctx, []*Pod{p}); err != nil {
		t.Fatal(err)
	}
	n := st.Current().PodFacts(p).Network
	if !n.EventsKnown || len(n.Failures) != 1 || n.Failures[0].Count != 4 || !n.Failures[0].First.Equal(clock("10:00:00")) || !n.Failures[0].Last.Equal(clock("10:01:00")) {
		t.Errorf("%+v", n)
	}
	if len(asked) != 1 || !strings.HasPrefix(asked[0], "shop ") || !strings.Contains(asked[0], "involvedObject.name=web-1") || !strings.Contains(asked[0], "involvedObject.uid=u1") {
		t.Errorf("asked %q", asked)
	}
	// That there is none any more is known, too.
	if err := client.CoreV1().Events("shop").Delete(ctx, "web-1.1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := st.ReadEvents(ctx, []*Pod{p}); err != nil {
		t.Fatal(err)
	}
	if n := st.Current().PodFacts(p).Network; !n.EventsKnown || n.Failures != nil {
		t.Errorf("%+v", n)
	}
}

// Of the pods that were asked for the Events are known, of no other, nor of another
// pod that has got the name of one: also in what is written of it.
func TestReadEventsOfEach(t *testing.T) {
	pod := func(name, uid string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid)}, Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1.1"}, Reason: "FailedCreatePodSandBox", Message: "no IP addresses available in range set: x",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web-1", UID: "u1"}, LastTimestamp: metav1.NewTime(clock("10:00:00")),
	}
	for _, tt := range []struct {
		name  string
		fail  error // for web-3
		known []string
	}{
		{"all are read", nil, []string{"web-1", "web-2", "web-3"}},
		{"the time is over", context.DeadlineExceeded, []string{"web-1", "web-2"}},
		{"the third may not be read", apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", errors.New("no")), []string{"web-1", "web-2"}},
	} {
		client := fake.NewClientset(pod("web-1", "u1"), pod("web-2", "u2"), pod("web-3", "u3"), pod("web-4", "u4"), event)
		client.PrependReactor("list", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if strings.Contains(a.(clienttesting.ListAction).GetListRestrictions().Fields.String(), "name=web-3") && tt.fail != nil {
				return true, nil, tt.fail
			}
			// The client of tests does not select by fields.
			list := &corev1.EventList{}
			if strings.Contains(a.(clienttesting.ListAction).GetListRestrictions().Fields.String(), "name=web-1") {
				list.Items = append(list.Items, *event)
			}
			return true, list, nil
		})
		st, err := watch(t.Context(), clients{core: client}, "test", WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var ask []*Pod
		for _, name := range []string{"web-1", "web-2", "web-3"} {
			p, _ := st.Current().Pod("shop", name)
			ask = append(ask, p)
		}
		if err := st.ReadEvents(t.Context(), ask); (err != nil) != (tt.fail != nil) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := st.Current().Unread(); len(got) != 0 {
			t.Errorf("%s: unread %v", tt.name, got)
		}
		redacted := newPseudonyms(t)
		for i, s := range []*Snapshot{st.Current(), rewritten(t, st.Current()), redacted.snapshot(st.Current())} {
			for _, name := range []string{"web-1", "web-2", "web-3", "web-4"} {
				p, ok := s.Pod("shop", name)
				if i == 2 {
					p, ok = s.Pod(redacted.name("shop"), redacted.name(name))
				}
				if !ok {
					t.Fatalf("%s: %s is lost", tt.name, name)
				}
				n := s.PodFacts(p).Network
				if n.EventsKnown != slices.Contains(tt.known, name) || len(n.Failures) != map[string]int{"web-1": 1}[name] {
					t.Errorf("%s, %d: %s: known %t, failures %+v", tt.name, i, name, n.EventsKnown, n.Failures)
				}
			}
		}
		// A StatefulSet's pod, made anew.
		anew := reducePod(pod("web-1", "u9"))
		st.take(op{kind: kindPod, key: anew.Key(), obj: anew, at: time.Now()})
		p, _ := st.Current().Pod("shop", "web-1")
		if n := st.Current().PodFacts(p).Network; p.UID != "u9" || n.EventsKnown || n.Failures != nil {
			t.Errorf("%s: made anew: %+v", tt.name, n)
		}
	}
}

// A dump has the Events of the namespaces that were asked for. One of a node, which
// stands in default, says nothing of that.
func TestEventsOfNamespaces(t *testing.T) {
	pod := func(ns string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"` + ns + `","uid":"u-` + ns + `"},"spec":{"nodeName":"n1"},"status":{"phase":"Pending"}},`
	}
	s, _, err := ReadDump(strings.NewReader(`{"apiVersion":"v1","kind":"List","items":[`+pod("shop")+pod("pay")+pod("default")+`
		{"apiVersion":"v1","kind":"Event","metadata":{"name":"a","namespace":"default"},"reason":"Starting","involvedObject":{"kind":"Node","name":"n1"}},
		{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"b","namespace":"pay"},"reason":"FailedCreatePodSandBox","note":"x","regarding":{"kind":"Pod","name":"web","namespace":"pay"}},
		{"apiVersion":"v1","kind":"Event","metadata":{"name":"c","namespace":"shop"},"reason":"ScalingReplicaSet","involvedObject":{"kind":"Deployment","name":"api","namespace":"shop"}}]}`), "dump")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []*Snapshot{s, rewritten(t, s), rewritten(t, rewritten(t, s))} {
		for ns, known := range map[string]bool{"shop": true, "pay": false, "default": false} {
			p, _ := s.Pod(ns, "web")
			if n := s.PodFacts(p).Network; n.EventsKnown != known {
				t.Errorf("%d: %s: known %t", i, ns, n.EventsKnown)
			}
		}
	}
}

func TestReadEventsRefused(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}}
	client := fake.NewClientset(pod)
	var fail error = apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", errors.New("no"))
	client.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, fail })
	st, err := watch(t.Context(), clients{core: client}, "test", WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := st.Current().Pod("shop", "web-1")
	var access *AccessError
	if err := st.ReadEvents(t.Context(), []*Pod{p}); !errors.As(err, &access) || access.Resource != "events" {
		t.Errorf("%v", err)
	}
	s := st.Current()
	if got := s.Unread(); len(got) != 1 || got[0] != "Event" || UnreadEffect("Event") == "" || s.PodFacts(p).Network.EventsKnown {
		t.Errorf("unread %v", got)
	}
	fail = errors.New("away")
	if err := st.ReadEvents(t.Context(), []*Pod{p}); err == nil || errors.As(err, &access) {
		t.Errorf("%v", err)
	}
}

// A pod that has no address has none on its own node either.
func TestResolveWithoutAddress(t *testing.T) {
	s := noNetworkDump(t)
	for _, tt := range []struct {
		spec EndpointSpec
		node string
		pods int
	}{
		{EndpointSpec{Kind: SpecPod, Namespace: "shop", Name: "web-1"}, "n1", 1},
		{EndpointSpec{Kind: SpecPod, Namespace: "shop", Name: "web-1"}, "n2", 1},
	} {
		_, err := s.Resolve(t.Context(), tt.spec, ResolveOptions{Source: true, Node: tt.node})
		var none *NoIPError
		if !errors.As(err, &none) || len(none.Pods) != tt.pods || none.Pods[0].Name != "web-1" {
			t.Errorf("%v on %s: %v", tt.spec, tt.node, err)
		}
	}
	_, err := s.Resolve(t.Context(), EndpointSpec{Kind: SpecPod, Namespace: "shop", Name: "web-2"}, ResolveOptions{Source: true, Node: "n1"})
	var wrong *WrongNodeError
	if !errors.As(err, &wrong) {
		t.Errorf("a pod with an address, on another node: %v", err)
	}
}
