package scenario

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/testbed/replays"
)

// tested are the flavours that .ci/run has scenarios run in.
func tested(t *testing.T) []string {
	t.Helper()
	run, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`e2e FLAVOURS=([a-z,-]+)`).FindSubmatch(run)
	if found == nil {
		t.Fatal(".ci/run does not run make e2e with FLAVOURS")
	}
	return strings.Split(string(found[1]), ",")
}

// unrecorded are the scenarios of the tested flavours that have no recording, and why.
func unrecorded() map[string]string {
	return map[string]string{}
}

// Every scenario that gives verdicts has a recording of the first of the tested
// flavours that shows it, and no recording is of a scenario that is not there: make
// e2e-recordings ONLY=SCENARIO FLAVOURS=FLAVOUR. TestReplays judges them again.
func TestScenariosAreRecorded(t *testing.T) {
	kept := map[string]map[string]bool{}
	for _, flavour := range tested(t) {
		cases, err := replays.NewFolder("../replays/" + flavour).Cases()
		if err != nil {
			t.Fatal(err)
		}
		kept[flavour] = map[string]bool{}
		for _, c := range cases {
			kept[flavour][c.Name] = true
		}
	}
	without := unrecorded()
	for _, s := range All() {
		i := slices.IndexFunc(tested(t), s.Shown)
		if s.Build == nil || i < 0 {
			continue // a check has no verdict; a flavour that is not tested, nobody to notice
		}
		first := tested(t)[i]
		switch reason, excused := without[s.Name]; {
		case !excused && !kept[first][s.Name]:
			t.Errorf("%s has no recording of %s: make e2e-recordings ONLY='^%s$' FLAVOURS=%s", s.Name, first, s.Name, first)
		case excused && kept[first][s.Name]:
			t.Errorf("%s has a recording of %s, though %s", s.Name, first, reason)
		}
		delete(without, s.Name)
		for flavour := range kept {
			if s.Shown(flavour) {
				delete(kept[flavour], s.Name)
			}
		}
	}
	for name := range without {
		t.Errorf("%s is excused, and is no scenario", name)
	}
	for flavour, names := range kept {
		for name := range names {
			t.Errorf("%s shows no %s, of which there is a recording", flavour, name)
		}
	}
}
