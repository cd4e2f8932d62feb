package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
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

// moment is of when the newest snapshot speaks: a dump's own, or now.
func (c *clusterSource) moment() time.Time {
	if c.store != nil && c.staleness == nil {
		return c.store.Current().Taken()
	}
	return time.Now()
}

func (c *clusterSource) stale() time.Duration {
	if c.staleness == nil {
		return 0
	}
	return c.staleness()
}

// blind is what cannot be known of the cluster now: what may not be read, and
// what changed since the API server was heard.
func (c *clusterSource) blind() []tracer.Blind {
	if c.store == nil {
		return nil
	}
	var out []tracer.Blind
	for _, kind := range c.store.Current().Unread() {
		out = append(out, tracer.Blind{What: "the credentials do not allow to read any " + kind, Effect: kube.UnreadEffect(kind)})
	}
	if st := c.store.Status(); !st.Connected {
		out = append(out, tracer.Blind{
			What:   "the cluster data is of " + st.Since.Format(time.TimeOnly) + ": the API server " + unheard(st),
			Effect: "pods, Services and policies that changed since then are not known",
		})
	}
	return out
}

// unheard says why the API server tells nothing.
func unheard(s kube.Status) string {
	if s.Lost() {
		return "cannot be reached"
	}
	return "refuses"
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
	defer sparingly()()
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
	config, err := a.restConfig()
	if err != nil {
		err = &hinted{fmt.Errorf("no cluster data: %w", err), "give --kubeconfig, or --cluster-dump FILE; write one with: " + kube.DumpCommand + " > dump.json"}
	} else {
		var c *clusterSource
		if c, err = a.watchCluster(ctx, config); err == nil {
			return c, nil
		}
	}
	if ctx.Err() != nil {
		return nil, &exitError{exitInterrupted}
	}
	if needed {
		return nil, err
	}
	a.say("warning: %v: going on without cluster data, so Services, pods and policies have no names", err)
	return &clusterSource{}, nil
}

// sparingly lets the garbage of loading a cluster pile up less, for a little more
// CPU, and gives the memory back at the end: what stays is a fraction of what
// passes through.
func sparingly() (done func()) {
	const percent = 50
	before := debug.SetGCPercent(percent)
	if before >= 0 && before < percent {
		debug.SetGCPercent(before)
	}
	return func() {
		debug.SetGCPercent(before)
		debug.FreeOSMemory()
	}
}

// restConfig is how the API server is reached. Where nothing names one, client-go
// takes http://localhost:8080, which is nobody's nowadays.
func (a *app) restConfig() (*rest.Config, error) {
	config, err := a.kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	raw, err := a.kube.ToRawKubeConfigLoader().RawConfig()
	if err == nil && len(raw.Clusters) == 0 && strings.HasSuffix(config.Host, "localhost:8080") && *a.kube.APIServer == "" {
		return nil, errors.New("no kubeconfig names a cluster, and this is no pod with a service account")
	}
	return config, nil
}

// watchCluster follows the cluster through its API server.
func (a *app) watchCluster(ctx context.Context, config *rest.Config) (*clusterSource, error) {
	log := a.logger()
	kube.LogClient(log)
	store, err := kube.Watch(ctx, config, kube.WatchOptions{
		Logger: log, OnStatus: a.sayStatus,
		OnCustom: func(kind string) {
			a.say("the cluster has got the kind %s, which is followed now", kind)
		},
		OnSlow: func(missing []string) {
			a.say("still loading from the API server: %s", strings.Join(missing, ", "))
		},
	})
	if err != nil {
		return nil, err
	}
	for _, refused := range store.Refused() {
		a.say("warning: %v: going on without; %s", refused, refused.Hint())
	}
	return &clusterSource{store: store, staleness: store.Staleness}, nil
}

// sayStatus tells when the API server goes away, and when it is back.
func (a *app) sayStatus(s kube.Status) {
	if s.Connected {
		a.say("the API server is back")
		return
	}
	a.say("warning: the API server %s since %s (%v): going on with what is known", unheard(s), s.Since.Format(time.TimeOnly), s.Err)
}
