package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplaceResults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.md")
	doc := "# Title\n" + beginMark + "old\n" + endMark + "text\n"
	for _, text := range []string{"new\n", "newer\n"} {
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := replaceResults(path, text); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		doc = string(got)
		if want := "# Title\n" + beginMark + "\n" + text + "\n" + endMark + "text\n"; doc != want {
			t.Errorf("got %q, want %q", doc, want)
		}
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceResults(path, "new"); err == nil || !strings.Contains(err.Error(), "marks") {
		t.Errorf("a document without marks: %v", err)
	}
}

func TestTargets(t *testing.T) {
	for what, tc := range map[string]struct {
		ratios []float64
		want   string
	}{
		"reached":   {[]float64{0.99, 1, 1.01}, "yes"},
		"scattered": {[]float64{0.9, 0.95, 1.1, 1.2, 0.8}, "within the error"},
		"missed":    {[]float64{0.9, 0.91, 0.92}, "no"},
	} {
		if got := withinError(tc.ratios, 0.99); got != tc.want {
			t.Errorf("%s: %q, want %q", what, got, tc.want)
		}
	}
	r := &report{limits: []*limit{
		{flows: 1, steps: []limitStep{{offered: 4e5}, {offered: 5e5, lost: 1}}},
		{flows: 2, steps: []limitStep{{offered: 2e5}}},
		{flows: 3, steps: []limitStep{{offered: 2e5}, {offered: 3e5, lost: 1}}},
	}, costs: []cost{
		{what: idle, program: "idle_kfree_skb", best: 50},
		{what: idle, program: "idle_tcx", best: 60},
		{what: dropNotSelected, program: "kfree_skb", best: 95},
		{what: notSelected, program: "tcx_egress", best: 105},
	}}
	var got []string
	for _, x := range append(r.eventTargets(), r.costTargets()...) {
		got = append(got, x.reached)
	}
	if want := "yes,not shown,no,no,yes"; strings.Join(got, ",") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ","), want)
	}
}
