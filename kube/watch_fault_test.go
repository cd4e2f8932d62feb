package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/testbed/apiserver"
)

// followed is a Store that follows a server of the test.
type followed struct {
	*Store
	t    *testing.T
	api  *apiserver.Server
	said statuses
	log  strings.Builder
}

// following starts to follow a server.
func following(t *testing.T, api *apiserver.Server) *followed {
	t.Helper()
	f := &followed{t: t, api: api, said: make(statuses, 64)}
	st, err := Watch(t.Context(), &rest.Config{Host: api.URL()}, WatchOptions{
		Debounce: time.Millisecond, Heartbeat: 500 * time.Millisecond, OnStatus: f.said.take,
		Logger: slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Store = st
	return f
}

// owns waits until an address belongs to a pod, or to none.
func (f *followed) owns(ip, pod string) {
	f.t.Helper()
	until(f.t, fmt.Sprintf("%s belongs to %q", ip, pod), func() bool {
		p, ok := f.Current().PodByIP(netip.MustParseAddr(ip))
		return ok && p.Name == pod || !ok && pod == ""
	})
}

func (f *followed) do(errs ...error) {
	f.t.Helper()
	for _, err := range errs {
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// quiet: nothing was said or logged.
func (f *followed) quiet() {
	f.t.Helper()
	select {
	case s := <-f.said:
		f.t.Errorf("said: %+v", s)
	default:
	}
	if f.log.Len() > 0 {
		f.t.Errorf("logged:\n%s", &f.log)
	}
}

// TestWatchForgottenHistory: after a gap that the server cannot fill, what went
// meanwhile is gone and what came is there, without a word: nothing was lost.
func TestWatchForgottenHistory(t *testing.T) {
	for name, streaming := range map[string]bool{"lists as streams": true, "lists in pages": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := serve(t, fakePod("a", "10.0.0.1"), fakePod("b", "10.0.0.2"))
			if !streaming {
				api.Close()
				api.NoStreaming = true
				if err := api.Listen(); err != nil {
					t.Fatal(err)
				}
			}
			f := following(t, api)
			f.do(api.Remove(fakePod("a", "")), api.Put(fakePod("c", "10.0.0.3")))
			api.Forget()
			f.owns("10.0.0.3", "c")
			f.owns("10.0.0.1", "")
			f.do(api.Remove(fakePod("b", "")))
			api.Forget()
			f.do(api.Put(fakePod("d", "10.0.0.4")))
			f.owns("10.0.0.2", "")
			f.owns("10.0.0.4", "d")
			f.quiet()
		})
	}
}

// TestWatchesThatEnd: a server that ends every watch after a second is followed
// all the same, and is not called lost.
func TestWatchesThatEnd(t *testing.T) {
	t.Parallel()
	api := serve(t, fakePod("a", "10.0.0.1"))
	api.Break(apiserver.Brief(time.Second))
	f := following(t, api)
	for i := range 4 {
		before := api.Asked("watch", "pods")
		until(t, "another watch", func() bool { return api.Asked("watch", "pods") > before })
		ip := fmt.Sprintf("10.0.1.%d", i)
		f.do(api.Put(fakePod(fmt.Sprint("p", i), ip)))
		f.owns(ip, fmt.Sprint("p", i))
	}
	f.quiet()
}

// TestWatchOddEvents: changes that come twice or too late, and kinds that nobody
// asked for, do no lasting harm, and the former are no news.
func TestWatchOddEvents(t *testing.T) {
	t.Parallel()
	old := fakePod("a", "10.0.0.1")
	api := serve(t, old)
	f := following(t, api)
	young := fakePod("a", "10.0.0.2")
	f.do(api.Put(young))
	f.owns("10.0.0.2", "a")
	stored, _ := apiserver.Get[*corev1.Pod](api, "shop", "a")
	before := f.Current()
	for range 50 {
		f.do(api.Tell(apiwatch.Modified, stored), api.Tell(apiwatch.Added, stored))
	}
	f.do(api.Tell(apiwatch.Deleted, fakePod("never-seen", "10.9.9.9")), api.Put(fakePod("b", "10.0.0.3")))
	f.owns("10.0.0.3", "b")
	if n := len(f.history); n > 4 { // nothing yet, the pod, its change, pod b
		t.Errorf("repetitions made %d snapshots", n)
	}
	if _, ok := before.PodByIP(netip.MustParseAddr("10.0.0.3")); ok {
		t.Error("an old snapshot changed")
	}
	late := fakePod("a", "10.0.0.1")
	late.ResourceVersion = "1"
	f.do(api.Tell(apiwatch.Modified, late), api.Put(fakePod("a", "10.0.0.4")))
	f.owns("10.0.0.4", "a")
	f.owns("10.0.0.1", "")
	f.quiet()
}

// TestWatchRefusedLater: credentials that end in the middle, and a server that
// has too much to do, are told once, with the reason, and what was known stays.
func TestWatchRefusedLater(t *testing.T) {
	for name, c := range map[string]struct {
		code   int
		reason metav1.StatusReason
		lost   bool
	}{
		"token expired":   {http.StatusUnauthorized, metav1.StatusReasonUnauthorized, false},
		"right withdrawn": {http.StatusForbidden, metav1.StatusReasonForbidden, false},
		"no leader":       {http.StatusInternalServerError, metav1.StatusReasonInternalError, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := serve(t, fakePod("a", "10.0.0.1"))
			f := following(t, api)
			api.Break(apiserver.Except(apiserver.Refuse(c.code, c.reason, 0), "version"))
			api.Drop()
			s := f.said.next(t, "the refusal")
			if s.Connected || s.Lost() != c.lost || !strings.Contains(s.Err.Error(), string(c.reason)) {
				t.Errorf("got %+v", s)
			}
			f.do(api.Put(fakePod("b", "10.0.0.2")), api.Remove(fakePod("a", "")))
			f.owns("10.0.0.1", "a")
			if f.Staleness() == 0 {
				t.Error("what cannot be followed is stale")
			}
			api.Break(nil)
			if s := f.said.next(t, "the end of it"); !s.Connected {
				t.Errorf("got %+v", s)
			}
			f.owns("10.0.0.2", "b")
			f.owns("10.0.0.1", "")
			until(t, "all is well", func() bool { return f.Status().Connected })
			if f.log.Len() > 0 {
				t.Errorf("logged:\n%s", &f.log)
			}
		})
	}
}

// TestWatchBusyServer: 429 with a time to wait is no loss.
func TestWatchBusyServer(t *testing.T) {
	t.Parallel()
	api := serve(t, fakePod("a", "10.0.0.1"))
	f := following(t, api)
	api.Break(apiserver.Except(apiserver.Refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 1), "version"))
	api.Drop()
	before := api.Asked("watch", "pods")
	until(t, "the watch again", func() bool { return api.Asked("watch", "pods") > before })
	api.Break(nil)
	f.do(api.Put(fakePod("b", "10.0.0.2")))
	f.owns("10.0.0.2", "b")
	if f.log.Len() > 0 {
		t.Errorf("logged:\n%s", &f.log)
	}
}

// TestWatchHugeObject: an object of megabytes takes no more than a small one.
func TestWatchHugeObject(t *testing.T) {
	t.Parallel()
	p := fakePod("a", "10.0.0.1")
	p.Annotations = map[string]string{"big": strings.Repeat("x", 16<<20)}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "R", Message: strings.Repeat("y", 1<<20)}}
	f := following(t, serve(t, p))
	f.owns("10.0.0.1", "a")
	got, _ := f.Current().Pod("shop", "a")
	if len(got.Waiting) > 300 || len(dumpText(t, f.Current())) > 10_000 {
		t.Errorf("keeps %d bytes of a message", len(got.Waiting))
	}
}

// TestWatchLeavesNothing: when its context ends, every goroutine does, whatever
// the server was doing.
func TestWatchLeavesNothing(t *testing.T) {
	for name, fault := range map[string]apiserver.Fault{
		"healthy": nil, "silent": apiserver.Silent, "dripping": apiserver.Drip(1, 10*time.Millisecond),
		"resetting": apiserver.Reset, "refusing": apiserver.Refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 60),
	} {
		t.Run(name, func(t *testing.T) {
			before := ours()
			api := serve(t, fakePod("a", "10.0.0.1"))
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := Watch(ctx, &rest.Config{Host: api.URL()}, WatchOptions{Heartbeat: 20 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			api.Break(fault)
			if fault != nil {
				api.Drop()
				asked := api.Asked("watch", "pods")
				until(t, "a question", func() bool { return api.Asked("watch", "pods") > asked || name == "silent" })
			}
			cancel()
			until(t, "the end of all goroutines", func() bool { return ours() <= before })
		})
	}
}

// ours counts the goroutines of this package and of client-go.
func ours() int {
	buf := make([]byte, 1<<20)
	n := 0
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "podpath/kube.") && !strings.Contains(g, "testing.tRunner") || strings.Contains(g, "client-go/tools/cache") {
			n++
		}
	}
	return n
}
