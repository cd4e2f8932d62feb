package lab

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	ServeIfChild()
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
func traffic(t *testing.T, l *Lab, want []Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
}

// TestFaults shows for each fault that the client sees its symptom, and that
// the same traffic works once the fault is undone.
func TestFaults(t *testing.T) {
	for _, f := range Faults() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Options{})
			showFault(t, l, f)
		})
	}
}

func showFault(t *testing.T, l *Lab, f Fault) {
	t.Helper()
	s, err := l.Break(t.Context(), f.Name)
	if err != nil {
		t.Fatal(err)
	}
	traffic(t, l, s.Symptoms)
}
