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
	const none = "0000000000000000"
	for _, tc := range []struct {
		names []string
		user  int
		mask  string
	}{
		{nil, 0, none},
		{[]string{"BPF", "CAP_PERFMON"}, 0, "000000c000000000"},
		{[]string{"NET_ADMIN"}, 0, "0000000000001000"},
		{nil, 65534, none},
		{[]string{"BPF", "CAP_PERFMON"}, 65534, "000000c000000000"},
	} {
		var out bytes.Buffer
		cmd := exec.Command("cat", "/proc/self/status")
		cmd.Stdout = &out
		if err := (Limits{Capabilities: tc.names, User: tc.user}).Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		sets := map[string]string{"CapPrm": tc.mask, "CapEff": tc.mask, "CapBnd": tc.mask, "CapInh": none, "CapAmb": none}
		if tc.user != 0 {
			sets["CapInh"], sets["CapAmb"] = tc.mask, tc.mask
		}
		for set, mask := range sets {
			if !strings.Contains(out.String(), set+":\t"+mask+"\n") {
				t.Errorf("%v: %s is not %s in\n%s", tc, set, mask, out.String())
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
