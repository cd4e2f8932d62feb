package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// TestDropsReport: a firewall of nobody's drops what goes to the server; the
// report has the row, with the workload, and counts what the client sent.
func TestDropsReport(t *testing.T) {
	privileged(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	l, err := lab.New(ctx, lab.Options{Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	sc, err := l.Break(ctx, "foreign-drop")
	if err != nil {
		t.Fatal(err)
	}
	dump, err := l.ClusterDump()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cluster.json")
	if err := os.WriteFile(file, dump, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"whole node": nil,
		"selected":   {"--from", sc.From},
	} {
		t.Run(name, func(t *testing.T) {
			drops, sum := report(ctx, t, l, append([]string{"--cluster-dump", file}, args...))
			var row *render.Drop
			for i := range drops {
				d := &drops[i]
				if d.Noise != "" {
					t.Errorf("noise among the rows: %+v", d)
				}
				if d.Reason == "NETFILTER_DROP" && d.Stage == "forward" && d.Direction == "ingress" {
					row = d
				}
			}
			if row == nil {
				t.Fatalf("no row for the firewall's drops: %+v", drops)
			}
			if row.Engine != "nftables" || row.Count < 2 || row.Workload == "" || !strings.HasPrefix(row.Owner, "Deployment/") || row.Example == "" || row.Device == "" {
				t.Errorf("row %+v", row)
			}
			var total uint64
			for i := range drops {
				total += drops[i].Count
			}
			if sum.Drops == nil || sum.Drops.Total != total+sum.Drops.Unlisted {
				t.Errorf("rows add up to %d, totals %+v", total, sum.Drops)
			}
			if name == "whole node" && len(sum.Drops.Noise) == 0 {
				t.Error("the lab is full of harmless frees, none was counted")
			}
		})
	}
}

// report runs drops while the lab's traffic flows.
func report(ctx context.Context, t *testing.T, l *lab.Lab, args []string) ([]render.Drop, render.Summary) {
	t.Helper()
	ready := &readyWriter{ready: make(chan struct{})}
	var out bytes.Buffer
	done := make(chan int, 1)
	args = append([]string{"drops", "-o", "json", "--duration", "4s", "--node", l.NodeName(), "--host-netns", l.NodeNetNS()}, args...)
	go func() { done <- run(ctx, args, stdio{out: &out, err: ready}) }()
	select {
	case <-ready.ready:
	case code := <-done:
		t.Fatalf("exit %d: %s", code, ready.text())
	}
	if _, err := l.Traffic(ctx); err != nil {
		t.Fatal(err)
	}
	if code := <-done; code != exitFault {
		t.Errorf("exit %d, want %d: %s", code, exitFault, ready.text())
	}
	var drops []render.Drop
	var sum render.Summary
	for line := range bytes.Lines(out.Bytes()) {
		var d render.Drop
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if d.Kind == "Drop" {
			drops = append(drops, d)
			continue
		}
		if err := json.Unmarshal(line, &sum); err != nil {
			t.Fatal(err)
		}
	}
	return drops, sum
}
