package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The offset of CLOCK_MONOTONIC is read once: what the wall clock does later
// changes no event's time.
func TestClock(t *testing.T) {
	began := time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)
	c := clock{began: began, mono: 1_000}
	for mono, want := range map[uint64]time.Time{
		1_000:         began,
		1_500:         began.Add(500),
		400:           began.Add(-600), // an event from before
		3_600_000_001: began.Add(3_599_999_001),
	} {
		if got := c.wall(mono); !got.Equal(want) {
			t.Errorf("at %d: %s, want %s", mono, got, want)
		}
	}
}

// Event times compare with times of this process by the monotonic clock.
func TestClockNow(t *testing.T) {
	c := newClock()
	mono := uint64(read(unix.CLOCK_MONOTONIC))
	event, now := c.wall(mono), c.now()
	if d := now.Sub(event).Abs(); d > time.Second {
		t.Errorf("an event of now is %s away", d)
	}
	if event.Round(0) == event {
		t.Error("an event's time has no monotonic reading: it would compare by the wall clock")
	}
	if d := time.Since(now).Abs(); d > time.Second {
		t.Errorf("the clock is %s off", d)
	}
}

func TestNamespaceOffset(t *testing.T) {
	for text, want := range map[string]int64{
		"monotonic           0         0\nboottime            0         0\n": 0,
		"monotonic       86400       500\nboottime        7         0\n":     86_400e9 + 500,
		"boottime        7         0\nmonotonic      -10         0\n":        -10e9,
		"1 5 0\n7 9 0\n": 5e9, // as it is written
		"nonsense":       0,
		"":               0,
	} {
		file := filepath.Join(t.TempDir(), "timens_offsets")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := namespaceOffset(file); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := namespaceOffset("/nonexistent"); got != 0 {
		t.Errorf("a kernel without time namespaces: %d", got)
	}
}
