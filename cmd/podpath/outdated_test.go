package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/node"
	"github.com/podpath/podpath/tracer/probe"
)

// A selection that cannot be renewed goes on as it was, and that is said with
// what follows, until it can.
func TestOutdatedSelectionIsSaid(t *testing.T) {
	l := &live{
		log: slog.New(slog.DiscardHandler), cluster: &clusterSource{}, analyser: newAnalyser("n", nil),
		onNode: onNode{probe: &probe.Probe{}, node: &node.Node{}},
		aim:    func(*kube.Snapshot) (*aim, error) { return nil, errors.New("no room") },
	}
	said := func(list []tracer.Blind) bool {
		return slices.ContainsFunc(list, func(b tracer.Blind) bool { return strings.HasSuffix(b.What, "not be brought up to date: no room") })
	}
	l.outlook()
	if said(l.hidden()) || said(l.analyser.blind) {
		t.Error("said of a selection that is new")
	}
	l.renew(t.Context())
	if !said(l.hidden()) || !said(l.analyser.blind) {
		t.Errorf("the summary says %v, verdicts %v", l.hidden(), l.analyser.blind)
	}
	l.outdated = nil
	l.outlook()
	if said(l.hidden()) || said(l.analyser.blind) {
		t.Error("said of a selection that is new again")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if l.renew(ended); l.outdated != nil {
		t.Error("the end of the trace is no reason")
	}
}
