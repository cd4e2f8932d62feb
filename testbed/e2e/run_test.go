package main

import (
	"slices"
	"testing"

	"github.com/podpath/podpath/testbed/scenario"
)

func TestLongestFirst(t *testing.T) {
	plan := func(n int) []scenario.Scenario { return make([]scenario.Scenario, n) }
	for name, c := range map[string]struct {
		plans [][]scenario.Scenario
		want  []int
	}{
		"longest first":   {[][]scenario.Scenario{plan(2), plan(1), plan(3)}, []int{2, 0, 1}},
		"equals as given": {[][]scenario.Scenario{plan(2), plan(3), plan(2)}, []int{1, 0, 2}},
		"nothing to run":  {[][]scenario.Scenario{nil, plan(1)}, []int{1}},
		"none at all":     {nil, nil},
	} {
		if got := longestFirst(c.plans); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// Calico has the most scenarios, wherever it stands in the list.
func TestCalicoBegins(t *testing.T) {
	var f runFlags
	var plans [][]scenario.Scenario
	flavours := []string{"flannel", "flannel-hostgw", "calico"}
	for _, name := range flavours {
		plan, err := f.plan(name)
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, plan)
	}
	if first := flavours[longestFirst(plans)[0]]; first != "calico" {
		t.Errorf("%s begins", first)
	}
}
