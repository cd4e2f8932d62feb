package caps

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func TestStartKeepsOnlyWhatIsNamed(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		names []string
		mask  string
	}{
		{nil, "0000000000000000"},
		{[]string{"BPF", "CAP_PERFMON"}, "000000c000000000"},
		{[]string{"NET_ADMIN"}, "0000000000001000"},
	} {
		var out bytes.Buffer
		cmd := exec.Command("cat", "/proc/self/status")
		cmd.Stdout = &out
		if err := (Limits{Capabilities: tc.names}).Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			if !strings.Contains(out.String(), set+":\t"+tc.mask+"\n") {
				t.Errorf("%v: %s is not %s in\n%s", tc.names, set, tc.mask, out.String())
			}
		}
	}
	// The test itself has lost nothing.
	if b, err := os.ReadFile("/proc/thread-self/status"); err != nil || bytes.Contains(b, []byte("CapBnd:\t0000000000000000")) {
		t.Errorf("the test lost its capabilities: %v", err)
	}
}

func TestUnknownCapability(t *testing.T) {
	if err := (Limits{Capabilities: []string{"CAP_EVERYTHING"}}).Start(exec.Command("true")); err == nil {
		t.Error("started")
	}
}
