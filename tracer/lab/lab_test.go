package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	ServeIfChild()
	if run := os.Getenv(victimEnv); run != "" {
		victim(run)
	}
	os.Exit(m.Run())
}

// newLab builds a lab, or skips where that cannot be.
func newLab(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := New(t.Context(), o)
	if errors.Is(err, ErrPrivilege) && os.Getenv("PODPATH_REQUIRE_PRIVILEGED") != "1" {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// traffic runs the scene's traffic and checks that every attempt ended as said.
func traffic(t *testing.T, l *Lab, want ...Outcome) []Attempt {
	t.Helper()
	limit := 30 * time.Second
	if l.scene != nil {
		limit += l.scene.dial.Pause
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	got, err := l.Traffic(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		t.Fatal("no attempt was made")
	}
	for _, a := range got {
		if !slices.Contains(want, a.Outcome) {
			t.Errorf("%s %s > %s ended in %q (%s) after %v, want one of %q", a.Proto, a.Local, a.Remote, a.Outcome, a.Error, a.Took, want)
		}
	}
	return got
}

// labsAtOnce is how many labs the tests run side by side: they mostly wait for
// the kernel's timers.
const labsAtOnce = 16

type variant struct {
	f Fault
	o Options
}

func (v variant) String() string {
	family := "v4"
	if v.o.IPv6 {
		family = "v6"
	}
	return fmt.Sprintf("%s/%s-%s-seed%d", v.f.Name, v.o.Protocol, family, v.o.Seed)
}

// variants crosses the faults with what changes their traffic, each with a seed
// of its own, so that no test rests on a name or an address.
func variants(faults []Fault, short bool) []variant {
	var out []variant
	for i, f := range faults {
		for p, proto := range f.Protocols {
			for n, six := range []bool{false, true} {
				if (six && f.IPv4Only) || (short && p+n > 0) {
					continue
				}
				seed := uint64(0)
				if p+n > 0 {
					seed = uint64(i*10 + 2*p + n)
				}
				out = append(out, variant{f, Options{Seed: seed, IPv6: six, Protocol: proto}})
			}
		}
	}
	return out
}

// TestFaults shows for each fault that the client sees its symptom, and that the
// same traffic works once the fault is undone.
func TestFaults(t *testing.T) {
	todo := make(chan variant)
	var wg sync.WaitGroup
	for range labsAtOnce {
		wg.Go(func() {
			for v := range todo {
				t.Run(v.String(), func(t *testing.T) { showFault(t, v) })
			}
		})
	}
	together := slices.DeleteFunc(Faults(), Fault.Apart)
	for _, v := range variants(together, testing.Short()) {
		todo <- v
	}
	close(todo)
	wg.Wait()
}

// TestFaultsApart is the same for the faults that need a machine of their own, one
// after the other.
func TestFaultsApart(t *testing.T) {
	apart := slices.DeleteFunc(Faults(), func(f Fault) bool { return !f.Apart() })
	if os.Getenv("PODPATH_OWN_MACHINE") == "" {
		t.Skipf("changes the whole machine, or takes minutes: %d faults run only in a machine of its own (make test-kernels)", len(apart))
	}
	for _, v := range variants(apart, true) { // one each: such machines are slow
		v.o.OwnMachine = true
		t.Run(v.String(), func(t *testing.T) { showFault(t, v) })
	}
}

func showFault(t *testing.T, v variant) {
	t.Helper()
	l := newLab(t, v.o)
	s, err := l.Break(t.Context(), v.f.Name)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	got := traffic(t, l, s.Symptoms...)
	if answered := func(a Attempt) bool { return a.Outcome == OK }; s.Part && !slices.ContainsFunc(got, answered) {
		t.Error("not a part of the connections failed, but all")
	}
	if failed := func(a Attempt) bool { return a.Outcome != OK }; s.Part && !slices.ContainsFunc(got, failed) {
		t.Error("none of the connections failed")
	}
	if took := time.Since(start); took > s.Visible+5*time.Second {
		t.Errorf("the symptom took %v, and the fault promises %v", took, s.Visible)
	}
	if v.f.Healthy {
		return
	}
	if err := l.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	traffic(t, l, OK)
}

// What is said to be hidden is of faults that there are.
func TestHidden(t *testing.T) {
	for name, why := range hidden() {
		if f, ok := FindFault(name); !ok || f.Confidence != probable || why == "" {
			t.Errorf("%s is hidden (%q): %v %+v", name, why, ok, f)
		}
	}
	for name, why := range doubted() {
		if f, ok := FindFault(name); !ok || f.Confidence != suspected || why == "" {
			t.Errorf("%s is doubted (%q): %v %+v", name, why, ok, f)
		}
	}
}

func TestBreakErrors(t *testing.T) {
	l := newLab(t, Options{IPv6: true})
	if _, err := l.Traffic(t.Context()); !errors.Is(err, ErrNoScene) {
		t.Errorf("traffic before break: %v, want %v", err, ErrNoScene)
	}
	if _, err := l.Break(t.Context(), "no-such"); !errors.Is(err, ErrUnknownFault) {
		t.Errorf("break of an unknown fault: %v, want %v", err, ErrUnknownFault)
	}
	if _, err := l.Break(t.Context(), "rp-filter"); err == nil {
		t.Error("rp-filter over IPv6 was accepted")
	}
	if _, err := l.Break(t.Context(), "healthy-external"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Break(t.Context(), "tc-drop"); err == nil {
		t.Error("a second fault was accepted")
	}
}

func TestUnknownProtocol(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("PODPATH_REQUIRE_PRIVILEGED") != "1" {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
	}
	if _, err := New(t.Context(), Options{Protocol: "sctp"}); err == nil {
		t.Error("an unknown protocol was accepted")
	}
}

// BenchmarkNew says what a lab costs to build and remove.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		l, err := New(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
