package probe

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clock tells the time of one run: the wall clock as it was at the start, carried
// on by the CLOCK_MONOTONIC of the kernel, which stamps the events. A step of the
// wall clock (NTP, an administrator) neither ages a flow nor makes it young, and
// the times of a recording never go back. The times have Go's monotonic reading
// too, so that they compare rightly with others of this process.
type clock struct {
	began time.Time
	mono  int64 // the kernel's CLOCK_MONOTONIC at that moment, nanoseconds
	slept int64 // CLOCK_BOOTTIME less CLOCK_MONOTONIC at that moment
}

// newClock reads both clocks as closely together as a busy machine allows.
func newClock() clock {
	var c clock
	shortest := int64(math.MaxInt64)
	for range 5 {
		before, now, after := read(unix.CLOCK_MONOTONIC), time.Now(), read(unix.CLOCK_MONOTONIC)
		if took := after - before; took < shortest {
			shortest, c.began, c.mono = took, now, before+took/2
		}
	}
	c.mono -= namespaceOffset("/proc/self/timens_offsets")
	c.slept = asleep()
	return c
}

func read(id int32) int64 {
	var t unix.Timespec
	// Cannot fail: these clocks exist on every kernel.
	_ = unix.ClockGettime(id, &t)
	return t.Nano()
}

// asleep is how long the machine was suspended since it booted, and what a time
// namespace adds.
func asleep() int64 { return read(unix.CLOCK_BOOTTIME) - read(unix.CLOCK_MONOTONIC) }

// namespaceOffset is what this process's CLOCK_MONOTONIC is ahead of the kernel's,
// in nanoseconds: not zero only in a time namespace (time_namespaces(7), 5.6).
func namespaceOffset(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0 // no time namespaces
	}
	for line := range strings.Lines(string(b)) {
		var name string
		var seconds, nanoseconds int64
		if n, _ := fmt.Sscan(line, &name, &seconds, &nanoseconds); n == 3 && (name == "monotonic" || name == "1") {
			return seconds*1e9 + nanoseconds
		}
	}
	return 0
}

// wall is when the kernel's CLOCK_MONOTONIC showed mono nanoseconds.
func (c *clock) wall(mono uint64) time.Time { return c.began.Add(time.Duration(int64(mono) - c.mono)) }

func (c *clock) now() time.Time { return c.began.Add(time.Since(c.began)) }

// Now is the time on the clock that stamps the events: the wall clock, but for
// steps that it made since Open.
func (p *Probe) Now() time.Time { return p.clock.now() }

// ClockStep is how far the wall clock was set forward since Open (negative: back),
// and how long the machine was suspended meanwhile, which is part of it. Events
// keep the time that they would have without.
func (p *Probe) ClockStep() (step, suspended time.Duration) {
	// Round takes the monotonic reading away, so that Sub compares wall clocks.
	return time.Now().Round(0).Sub(p.clock.now().Round(0)), time.Duration(asleep() - p.clock.slept)
}
