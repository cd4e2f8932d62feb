package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The shortest run there is: every part once, with the real binary. What is
// tested is that all counts add up, not how fast anything was.
func TestRun(t *testing.T) {
	missing := ""
	switch {
	case os.Geteuid() != 0:
		missing = "root"
	case !have("tcpdump"):
		missing = "tcpdump"
	case !have("nft"):
		missing = "nft"
	}
	if missing != "" {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("this needs %s", missing)
		}
		t.Skipf("this needs %s", missing)
	}
	binary := filepath.Join(t.TempDir(), "podpath")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/podpath").CombinedOutput(); err != nil {
		t.Fatalf("build podpath: %v\n%s", err, out)
	}
	var out strings.Builder
	args := []string{"-podpath", binary, "-rounds", "1", "-time", "20ms", "-pods", "3", "-only", "compare,cost,attach"}
	if err := run(context.Background(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"podpath drops, whole node", "idle_tcx", "a node with 3 pods", "### Targets"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, out.String())
		}
	}
}

func have(program string) bool {
	_, err := find(program)
	return err == nil
}
