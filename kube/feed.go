package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// resource is one kind that is followed.
type resource struct {
	kind        kind
	name, group string
	// optional resources may be forbidden or absent: what they say has a
	// substitute. Of the others only pods are a must; without the rest more is
	// unknown (see unreadEffect).
	optional bool
	// custom resources are optional too, but what cannot be read of them is told.
	custom  bool
	example runtime.Object
	list    func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch   func(context.Context, metav1.ListOptions) (apiwatch.Interface, error)
}

// api is what the typed clients have in common.
type api[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (apiwatch.Interface, error)
}

func follow[L runtime.Object](k kind, name, group string, example runtime.Object, c api[L]) resource {
	return resource{
		kind: k, name: name, group: group, example: example, watch: c.Watch,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return c.List(ctx, o) },
	}
}

// resources lists what is followed. ReplicaSets only name their owners, so
// their metadata is enough; without them Deployments are derived from names.
// ServiceCIDR objects exist since Kubernetes 1.33.
func resources(c kubernetes.Interface, md metadata.Interface) []resource {
	const discovery, networking = "discovery.k8s.io", "networking.k8s.io"
	out := []resource{
		follow(kindPod, "pods", "", &corev1.Pod{}, c.CoreV1().Pods("")),
		follow(kindService, "services", "", &corev1.Service{}, c.CoreV1().Services("")),
		follow(kindSlice, "endpointslices", discovery, &discoveryv1.EndpointSlice{}, c.DiscoveryV1().EndpointSlices("")),
		follow(kindNode, "nodes", "", &corev1.Node{}, c.CoreV1().Nodes()),
		follow(kindNamespace, "namespaces", "", &corev1.Namespace{}, c.CoreV1().Namespaces()),
		follow(kindPolicy, "networkpolicies", networking, &networkingv1.NetworkPolicy{}, c.NetworkingV1().NetworkPolicies("")),
	}
	cidrs := follow(kindServiceCIDR, "servicecidrs", networking, &networkingv1.ServiceCIDR{}, c.NetworkingV1().ServiceCIDRs())
	cidrs.optional = true
	out = append(out, cidrs)
	if md != nil {
		gvr := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
		sets := follow(kindReplicaSet, gvr.Resource, gvr.Group, &metav1.PartialObjectMetadata{}, md.Resource(gvr))
		sets.optional = true
		out = append(out, sets)
	}
	return out
}

// feed carries objects from the API server into a Store.
type feed struct {
	store  *Store
	log    *slog.Logger
	shared *shared
	loaded atomic.Bool
	all    []*stream
	// onCustom is told of custom resources that the server has got meanwhile; may
	// be nil.
	onCustom func(kind string)
}

func (f *feed) start(ctx context.Context, r resource, client any) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{resource: r, feed: f, cancel: cancel}
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			if o.ResourceVersion == "0" {
				// From its cache the server would send everything at once, whatever
				// the limit; in pages only one is in memory in full.
				o.ResourceVersion = ""
			}
			page, err := r.list(ctx, o)
			f.heard(ctx, s, "list", err)
			if err != nil {
				return page, err
			}
			return s.page(page)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			out, err := r.watch(ctx, o)
			f.heard(ctx, s, "watch", err)
			return out, err
		},
	}, client)
	f.all = append(f.all, s)
	follower := cache.NewReflectorWithOptions(lw, r.example, s, cache.ReflectorOptions{Name: r.name, TypeDescription: r.name})
	go follower.RunWithContext(ctx)
	return s
}

// heard notes what a request to the API server gave. client-go retries by
// itself and keeps some errors to itself, so requests are looked at here.
func (f *feed) heard(ctx context.Context, s *stream, verb string, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case err == nil || reachable(err):
		f.store.link.ok(s.part(), time.Now())
		return
	}
	if refusal(err) {
		err = &AccessError{Verb: verb, Resource: s.name, Group: s.group, Err: err}
	}
	s.lastErr.Store(&err)
	switch {
	case s.optional && (refusal(err) || apierrors.IsNotFound(err)):
		f.log.Info("optional resource is not readable", "resource", s.name, "error", err)
		s.giveUp()
		if s.custom {
			// Its objects are gone with the resource, or may be others now.
			f.store.put(op{kind: s.kind, all: []object{}, at: time.Now()})
			if refusal(err) {
				f.store.put(op{kind: s.kind, unread: true, at: time.Now()})
			}
		}
	case s.optional:
	case f.loaded.Load():
		f.store.link.fail(s.part(), err)
		f.log.Debug("api request", "verb", verb, "resource", s.name, "error", err)
	case s.kind != kindPod && apierrors.IsForbidden(err):
		s.giveUp()
	}
}

// slowAfter is when a load that takes longer is told of.
const slowAfter = 3 * time.Second

// sync waits until everything is loaded, and tells once, if that is wanted, what
// it waits for when that takes long. The context is that of what it begins.
func (f *feed) sync(ctx context.Context, seek *seeker, host string, opt WatchOptions) error {
	deadline, patience := time.Now().Add(opt.SyncTimeout), time.Now().Add(slowAfter)
	slow := opt.OnSlow
	for {
		seeking, err := seek.waits(ctx)
		if err != nil {
			f.log.Info("which custom resources there are is not known", "error", err)
		}
		missing, err := f.missing()
		switch {
		case refusal(err):
			return err
		case len(missing) == 0 && !seeking:
			return nil
		case time.Now().After(deadline):
			if f.onlyOptional(missing) {
				return nil
			}
			return &SyncError{Host: host, Timeout: opt.SyncTimeout, Missing: missing, Err: err}
		}
		if slow != nil && time.Now().After(patience) {
			if seeking {
				missing = append(missing, "the list of custom resources")
			}
			slow(missing)
			slow = nil
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("load the cluster's state: %w", ctx.Err())
		}
	}
}

// refused takes note of what cannot be read, for the first snapshot.
func (f *feed) refused() {
	for _, s := range f.all {
		var access *AccessError
		if e := s.lastErr.Load(); s.gone.Load() && (!s.optional || s.custom) && e != nil && errors.As(*e, &access) {
			f.store.refused = append(f.store.refused, access)
			f.store.put(op{kind: s.kind, unread: true, at: time.Now()})
		}
	}
}

// missing lists what is not loaded, with the last error of a required resource.
func (f *feed) missing() (names []string, err error) {
	for _, s := range f.all {
		if s.gone.Load() || s.synced.Load() {
			continue
		}
		names = append(names, s.name)
		if e := s.lastErr.Load(); e != nil && !s.optional {
			err = *e
			if refusal(err) {
				return names, err
			}
		}
	}
	return names, err
}

func (f *feed) onlyOptional(names []string) bool {
	for _, s := range f.all {
		for _, n := range names {
			if s.name == n && !s.optional {
				return false
			}
		}
	}
	return true
}

func serverVersion(ctx context.Context, client kubernetes.Interface) (*version.Info, error) {
	if d, ok := client.Discovery().(interface {
		ServerVersionWithContext(context.Context) (*version.Info, error)
	}); ok {
		return d.ServerVersionWithContext(ctx)
	}
	return client.Discovery().ServerVersion()
}
