package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/apiserver"
	"github.com/podpath/podpath/tracer"
)

// unconnectedAPI is a cluster with a pod that was given to its node so long ago, and
// has no address; flannel's pod there ends again and again.
func unconnectedAPI(t *testing.T, ago time.Duration) *testAPI {
	t.Helper()
	s := newAPI(t, []byte(`{"apiVersion":"v1","kind":"List","items":[]}`))
	at := metav1.NewTime(time.Now().Add(-ago))
	before := metav1.NewTime(time.Now().Add(-time.Hour))
	s.put(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24"}}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: before}},
	}})
	yes := true
	s.put(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: "kube-flannel-ds-x", CreationTimestamp: before,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "kube-flannel-ds", UID: "d", Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: "n1", HostNetwork: true},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: before}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: 9, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}},
	})
	s.put(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1", CreationTimestamp: at}, Spec: corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}},
	})
	return s
}

// replica adds a pod of a StatefulSet that waits as the other does.
func (s *testAPI) replica(t *testing.T, name string, ago time.Duration) {
	t.Helper()
	at, yes := metav1.NewTime(time.Now().Add(-ago)), true
	s.put(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: at,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "api", UID: "s", Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}},
	})
}

// What was read of the first pods counts, though the reading ended before the others;
// and those of which nothing was read are not taken for pods without Events.
func TestUnconnectedSomeEvents(t *testing.T) {
	const full = `Failed to create pod sandbox: plugin type="bridge" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.0.0.1-10.0.0.254`
	broken := apiserver.Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError, 0)
	of := func(f apiserver.Fault, pod string) apiserver.Fault {
		return apiserver.Only(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.Query().Get("fieldSelector"), "involvedObject.name="+pod) {
				f(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}, "events")
	}
	for _, c := range []struct {
		name   string
		reason string // of api-0's Event
		fault  apiserver.Fault
		said   []string // on standard output
		err    string
	}{
		{"the second's do not come", "FailedCreatePodSandBox", of(apiserver.Silent, "api-1"), []string{`"code":"cni-no-ip-exhausted"`}, "going on with those of 1 of 3 pods"},
		{"the second's cannot be read", "FailedCreatePodSandBox", of(broken, "api-1"), []string{`"code":"cni-no-ip-exhausted"`}, "going on with those of 1 of 3 pods"},
		{"the second may not be asked about", "FailedCreatePodSandBox", of(forbidden, "api-1"), []string{`"code":"cni-no-ip-exhausted"`}, "going on with those of 1 of 3 pods; "},
		{"the first pulls its image, and of the second nothing is known", "Pulling", of(broken, "api-1"),
			[]string{`"code":"cni-daemon-down"`, "pod shop/api-1 has no network", "the pod's Events were not read"}, "going on with those of 1 of 3 pods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := unconnectedAPI(t, 2*time.Minute)
			for _, name := range []string{"api-0", "api-1", "api-2"} {
				s.replica(t, name, 2*time.Minute)
			}
			now := time.Now()
			s.put(t, &corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api-0.1"}, Reason: c.reason, Message: full,
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "api-0"},
				FirstTimestamp: metav1.NewTime(now.Add(-time.Minute)), LastTimestamp: metav1.NewTime(now), Count: 4,
			})
			s.up(t)
			t.Cleanup(s.Close)
			s.Break(c.fault)
			config, file := writeKubeconfig(t, s.Kubeconfig(nil)), filepath.Join(t.TempDir(), "session")
			p := &program{cmd: podpath(t, "trace", "--kubeconfig", config, "--node", "n1", "--from", "shop/sts/api", "--to", "any", "-o", "json", "--write", file), ended: make(chan error, 1)}
			p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
			p.start(t)
			if code := p.code(t); code != exitFault {
				t.Fatalf("exit code %d\n%s%s", code, p.out.String(), p.err.String())
			}
			for _, want := range c.said {
				if !strings.Contains(p.out.String(), want) {
					t.Errorf("%q is not in %s", want, p.out.String())
				}
			}
			if !strings.Contains(p.err.String(), c.err) {
				t.Errorf("%q is not in %s", c.err, p.err.String())
			}
			if vs := replayFile(t, file); len(vs) != 1 || !strings.Contains(p.out.String(), fmt.Sprintf(`"summary":%q`, vs[0].Summary)) || vs[0].Confidence != tracer.Suspected {
				t.Errorf("the recording says %+v, and not\n%s", vs, p.out.String())
			}
		})
	}
}

func (s *testAPI) failed(t *testing.T, name, message string, first time.Duration) {
	t.Helper()
	now := time.Now()
	s.put(t, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Reason: "FailedCreatePodSandBox", Message: "Failed to create pod sandbox: " + message,
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: "u1"},
		FirstTimestamp: metav1.NewTime(now.Add(-first)), LastTimestamp: metav1.NewTime(now), Count: 4,
	})
}

// Events are read from the API server for a pod that has no address, and for it only.
func TestUnconnectedLive(t *testing.T) {
	const full = `plugin type="bridge" failed (add): failed to allocate for range 0: no IP addresses available in range set: 10.0.0.1-10.0.0.254`
	forbidden := apiserver.Only(apiserver.Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, 0), "events")
	for _, c := range []struct {
		name  string
		ago   time.Duration
		event string
		fault apiserver.Fault
		code  int
		said  string // on standard output
		err   string
	}{
		{"no address left", 2 * time.Minute, full, nil, exitFault, `"code":"cni-no-ip-exhausted","confidence":"suspected"`, "has no IP address"},
		{"the agent is down", 2 * time.Minute, `plugin type="flannel" failed (add): failed to load flannel 'subnet.env' file: open /run/flannel/subnet.env: no such file or directory`, nil,
			exitFault, `"object":{"kind":"Pod","namespace":"kube-flannel","name":"kube-flannel-ds-x"}`, ""},
		{"Events may not be read", 2 * time.Minute, full, forbidden, exitFault, `"code":"cni-daemon-down","confidence":"suspected"`, "verbs get, list on events"},
		{"Events may not be read, and it is young", 2 * time.Second, full, forbidden, exitUsage, "", "give it a moment"},
		{"no Event", 2 * time.Minute, "", nil, exitUsage, "", "kubectl -n shop describe pod web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := unconnectedAPI(t, c.ago)
			if c.event != "" {
				s.failed(t, "web.1", c.event, c.ago)
			}
			s.up(t)
			t.Cleanup(s.Close)
			if c.fault != nil {
				s.Break(c.fault)
			}
			config, file := writeKubeconfig(t, s.Kubeconfig(nil)), filepath.Join(t.TempDir(), "session")
			p := &program{cmd: podpath(t, "trace", "--kubeconfig", config, "--node", "n1", "--from", "shop/pod/web", "--to", "any", "-o", "json", "--write", file), ended: make(chan error, 1)}
			p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
			p.start(t)
			if code := p.code(t); code != c.code {
				t.Fatalf("exit code %d\n%s%s", code, p.out.String(), p.err.String())
			}
			if !strings.Contains(p.out.String(), c.said) || !strings.Contains(p.err.String(), c.err) || c.said == "" && p.out.String() != "" {
				t.Errorf("%s%s", p.out.String(), p.err.String())
			}
			if s.Asked("watch", "events") > 0 || s.Asked("list", "events") != 1 {
				t.Errorf("Events: %d lists, %d watches", s.Asked("list", "events"), s.Asked("watch", "events"))
			}
			if c.code != exitFault {
				return
			}
			vs := replayFile(t, file)
			if len(vs) != 1 || !strings.Contains(p.out.String(), fmt.Sprintf(`"summary":%q`, vs[0].Summary)) || vs[0].Outcome != tracer.OutcomeNotSent {
				t.Errorf("the recording says %+v, and not\n%s", vs, p.out.String())
			}
		})
	}
}
