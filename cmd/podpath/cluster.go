package main

import (
	"context"
	"time"

	"github.com/podpath/podpath/kube"
)

// clusterSource is where cluster data comes from: the API server, a dump, or
// nowhere.
type clusterSource struct {
	store *kube.Store // nil: no cluster data
	// staleness is how long the API server has been away; nil for a dump.
	staleness func() time.Duration
}

// current is the newest snapshot; without cluster data an empty one, so that
// addresses still resolve.
func (c *clusterSource) current() *kube.Snapshot {
	if c.store == nil {
		return &kube.Snapshot{}
	}
	return c.store.Current()
}

// at is the cluster at a moment, nil if nothing is known of it.
func (c *clusterSource) at(t time.Time) *kube.Snapshot {
	if c.store == nil {
		return nil
	}
	return c.store.At(t)
}

func (c *clusterSource) stale() time.Duration {
	if c.staleness == nil {
		return 0
	}
	return c.staleness()
}

// watch pokes when something changed that the selection may depend on.
func (c *clusterSource) watch(ctx context.Context, poke func()) error {
	if c.store == nil {
		return nil
	}
	changes, stop := c.store.Subscribe()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ch := <-changes:
			if ch.Pods || ch.Services || ch.Endpoints || ch.Nodes || ch.Namespaces {
				poke()
			}
		}
	}
}

// openCluster finds cluster data: a dump, else the API server.
func (a *app) openCluster(_ context.Context, needed bool) (*clusterSource, error) {
	if a.dump != "" {
		s, report, err := kube.LoadDump(a.dump)
		if err != nil {
			return nil, err
		}
		a.sayDump(report)
		return &clusterSource{store: kube.NewStore(s)}, nil
	}
	_ = needed
	return &clusterSource{}, nil
}
