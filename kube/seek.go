package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// seeker finds the custom resources that there are, and has them followed. It
// asks for what the server has before it asks for objects: the answer to a list
// of what does not exist is "forbidden" for who has no right to it.
type seeker struct {
	feed *feed
	by   clients
	// followed are the streams by kind; one that ended is begun anew when the
	// resource is there again.
	followed map[kind]*stream
	// asked gives the answer to the question under way; nil if there is none.
	asked chan offer
}

// offer is what the server has.
type offer struct {
	found map[schema.GroupVersionResource]bool
	err   error
}

func newSeeker(f *feed, by clients) *seeker {
	return &seeker{feed: f, by: by, followed: make(map[kind]*stream)}
}

// run looks again and again. Errors are the heartbeat's to tell.
func (s *seeker) run(ctx context.Context, every time.Duration) {
	for sleep(ctx, every) {
		if err := s.look(ctx, min(every, 5*time.Second)); err != nil {
			s.feed.log.Debug("look for custom resources", "error", err)
		}
	}
}

// look asks once, and begins to follow what is new.
func (s *seeker) look(ctx context.Context, timeout time.Duration) error {
	s.ask(ctx, timeout)
	if s.asked == nil {
		return nil
	}
	return s.heed(ctx, <-s.asked)
}

// ask begins to ask what the server has.
func (s *seeker) ask(ctx context.Context, timeout time.Duration) {
	if s.by.custom == nil {
		return
	}
	asked := make(chan offer, 1)
	s.asked = asked
	go func() {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		found, err := s.discover(ctx)
		asked <- offer{found, err}
	}()
}

// waits tells whether a question is not answered yet. An answer is heeded.
func (s *seeker) waits(ctx context.Context) (bool, error) {
	if s.asked == nil {
		return false, nil
	}
	select {
	case o := <-s.asked:
		return false, s.heed(ctx, o)
	default:
		return true, nil
	}
}

func (s *seeker) heed(ctx context.Context, o offer) error {
	s.asked = nil
	if o.err != nil {
		return o.err
	}
	for _, c := range customs() {
		s.take(ctx, c, o.found)
	}
	return nil
}

// take handles one kind of one group.
func (s *seeker) take(ctx context.Context, c custom, found map[schema.GroupVersionResource]bool) {
	i := slices.IndexFunc(c.versions, func(v string) bool { return found[c.at(v)] })
	have := s.followed[c.kind]
	if i < 0 {
		if have == nil && c.group == policyGroup {
			// There are none. A CNI may keep its own elsewhere.
			s.feed.store.put(op{kind: c.kind, all: []object{}, at: time.Now()})
		}
		return
	}
	if have != nil && (!have.gone.Load() || have.refused()) {
		return
	}
	if tell := s.feed.onCustom; tell != nil && s.feed.loaded.Load() {
		tell(c.kind.String())
	}
	s.feed.log.Info("following a custom resource", "resource", c.resource, "group", c.group, "version", c.versions[i])
	s.followed[c.kind] = s.feed.start(ctx, s.resource(c, c.at(c.versions[i])), s.by.custom)
}

func (s *seeker) resource(c custom, gvr schema.GroupVersionResource) resource {
	example := &unstructured.Unstructured{}
	example.SetGroupVersionKind(gvr.GroupVersion().WithKind(c.name))
	r := follow(c.kind, c.resource, c.group, example, s.by.custom.Resource(gvr))
	r.optional, r.custom = true, true
	return r
}

// discover asks which groups there are, and which resources those have that
// could matter.
func (s *seeker) discover(ctx context.Context) (map[schema.GroupVersionResource]bool, error) {
	api := discovery.ToDiscoveryInterfaceWithContext(s.by.core.Discovery())
	groups, err := api.ServerGroupsWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the API groups: %w", err)
	}
	found := make(map[schema.GroupVersionResource]bool)
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			if !wanted(g.Name, v.Version) {
				continue
			}
			list, err := api.ServerResourcesForGroupVersionWithContext(ctx, v.GroupVersion)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list the resources of %s: %w", v.GroupVersion, err)
			}
			for i := range list.APIResources {
				found[schema.GroupVersionResource{Group: g.Name, Version: v.Version, Resource: list.APIResources[i].Name}] = true
			}
		}
	}
	return found, nil
}

func wanted(group, version string) bool {
	return slices.ContainsFunc(customs(), func(c custom) bool {
		return c.group == group && slices.Contains(c.versions, version)
	})
}

// customObject reduces a custom resource.
func customObject(o *unstructured.Unstructured) (object, error) {
	raw, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	h, err := readCustom(raw)
	if err != nil {
		return nil, err
	}
	out := reduceCustom(raw, &h)
	if out == nil {
		return nil, fmt.Errorf("reduce an object of unexpected kind %s %s", o.GetAPIVersion(), o.GetKind())
	}
	return out, nil
}
