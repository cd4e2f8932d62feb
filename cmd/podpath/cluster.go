package main

import (
	"context"
	"fmt"
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

// lost tells whether the API server is away now, and since when.
func (c *clusterSource) lost() (since time.Time, lost bool) {
	if c.store == nil {
		return time.Time{}, false
	}
	st := c.store.Status()
	return st.Since, !st.Connected
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

// openCluster finds cluster data: a dump, else the API server. Without either
// it is an error only if an object has to be looked up: addresses can be traced
// all the same, for a lesser verdict.
func (a *app) openCluster(ctx context.Context, needed bool) (*clusterSource, error) {
	if a.dump != "" {
		s, report, err := kube.LoadDump(a.dump)
		if err != nil {
			return nil, err
		}
		for _, w := range report.Warnings {
			a.say("warning: %s", w)
		}
		return &clusterSource{store: kube.NewStore(s)}, nil
	}
	config, err := a.kube.ToRESTConfig()
	if err != nil {
		err = &hinted{fmt.Errorf("no cluster data: %w", err), "give --kubeconfig, or --cluster-dump FILE; write one with: " + kube.DumpCommand + " > dump.json"}
	} else {
		var store *kube.Store
		store, err = kube.Watch(ctx, config, kube.WatchOptions{Logger: a.logger(), OnStatus: a.sayStatus})
		if err == nil {
			return &clusterSource{store: store, staleness: store.Staleness}, nil
		}
	}
	if needed || ctx.Err() != nil {
		return nil, err
	}
	a.say("warning: %v: going on without cluster data, so Services, pods and policies have no names", err)
	return &clusterSource{}, nil
}

// sayStatus tells when the API server goes away, and when it is back.
func (a *app) sayStatus(s kube.Status) {
	if s.Connected {
		a.say("the API server is back")
		return
	}
	a.say("warning: the API server cannot be reached since %s (%v): going on with what is known", s.Since.Format(time.TimeOnly), s.Err)
}
