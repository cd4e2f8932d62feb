package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Without capabilities the error says what is missing.
func TestNoPrivilege(t *testing.T) {
	var err error
	onThread(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&hdr, &none[0]); err != nil {
			return
		}
		var p *Probe
		if p, err = Open(Config{}); err == nil {
			_ = p.Close()
		}
	})
	if !errors.Is(err, ErrNoPrivilege) {
		t.Fatalf("got %v", err)
	}
}

// openAs is the tier that a child asks for, and the capabilities that it keeps,
// as numbers, with commas between.
const openAs = "PODPATH_TEST_OPEN_AS"

// as opens a probe in a process with no other capabilities: programs are loaded
// by several threads, of which each has its own.
func as(t *testing.T, tier Tier, capabilities ...uint) error {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestOpenAsChild$")
	words := []string{string(tier)}
	for _, c := range capabilities {
		words = append(words, fmt.Sprint(c))
	}
	cmd.Env = append(os.Environ(), openAs+"="+strings.Join(words, ","))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	switch said, _, _ := strings.Cut(string(out), "\n"); {
	case said == "opened":
		return nil
	case strings.HasPrefix(said, "no privilege: "):
		return fmt.Errorf("%w: %s", ErrNoPrivilege, said)
	default:
		return errors.New(said)
	}
}

func TestOpenAsChild(t *testing.T) {
	asked, child := os.LookupEnv(openAs)
	if !child {
		t.Skip("only as a child")
	}
	words := strings.Split(asked, ",")
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had, now [2]unix.CapUserData
	if err := unix.Capget(&hdr, &had[0]); err != nil {
		t.Fatal(err)
	}
	for _, word := range words[1:] {
		c, err := strconv.ParseUint(word, 10, 6)
		if err != nil {
			t.Fatal(err)
		}
		now[c/32].Permitted |= had[c/32].Permitted & (1 << (c % 32))
		now[c/32].Effective = now[c/32].Permitted
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&now[0])), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	p, err := Open(Config{Tier: Tier(words[0])})
	switch {
	case err == nil:
		fmt.Println("opened")
		err = p.Close()
	case errors.Is(err, ErrNoPrivilege):
		fmt.Println("no privilege:", err)
		err = nil
	default:
		fmt.Println(err)
		err = nil
	}
	if err != nil {
		t.Error(err)
	}
}

// Loading needs neither root nor CAP_SYS_ADMIN, on any kernel, and types of the
// kernel's modules are read all the same.
func TestOpenWithTheLeast(t *testing.T) {
	needPrivilege(t)
	// Before 5.11 the limit on locked memory is raised, which is not the least.
	least := []uint{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_RESOURCE}
	if err := as(t, TierTracepoint, least...); err != nil {
		t.Errorf("tracepoints: %v", err)
	}
	if err := as(t, TierAuto, append(least, unix.CAP_NET_ADMIN)...); err != nil {
		t.Errorf("any: %v", err)
	}
	for name, missing := range map[string]uint{"CAP_BPF is missing": unix.CAP_BPF, "CAP_PERFMON is missing": unix.CAP_PERFMON} {
		some := slices.DeleteFunc(slices.Clone(least), func(c uint) bool { return c == missing })
		if err := as(t, TierTracepoint, some...); !errors.Is(err, ErrNoPrivilege) || !strings.Contains(err.Error(), name) {
			t.Errorf("without it: %v", err)
		}
	}
}

func TestProgramsFor(t *testing.T) {
	for name, c := range map[string]struct {
		tier  Tier
		drops bool
		want  int
	}{
		"tcx": {TierTCX, false, 3}, "tracepoint": {TierTracepoint, false, 3}, "drops": {TierTCX, true, 1},
	} {
		if got := len(programsFor(c.tier, c.drops)); got != c.want {
			t.Errorf("%s: %d programs", name, got)
		}
	}
}

func TestRingSize(t *testing.T) {
	for in, want := range map[int]uint32{0: 8 << 20, 1: 4096, 4096: 4096, 4097: 8192, 5 << 20: 8 << 20} {
		if got := ringSize(in); got != want && got != uint32(unix.Getpagesize()) {
			t.Errorf("%d: got %d, want %d", in, got, want)
		}
	}
}
