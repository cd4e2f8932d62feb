package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/podpath/podpath/tracer/render"
)

// found is what a tracer said at its end.
type found struct {
	summary *render.Summary // podpath's
	// byReason adds up podpath's drop lines.
	byReason map[string]uint64
	// captured and dropped are another tool's own numbers.
	captured, dropped uint64
}

// parsePodpath reads the objects that podpath printed.
func parsePodpath(in io.Reader) (*found, error) {
	f := &found{byReason: map[string]uint64{}}
	dec := json.NewDecoder(in)
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read podpath's output: %w", err)
		}
		if err := f.add(raw); err != nil {
			return nil, fmt.Errorf("read podpath's output: %w", err)
		}
	}
	if f.summary == nil {
		return nil, errors.New("read podpath's output: no summary")
	}
	return f, nil
}

func (f *found) add(raw json.RawMessage) error {
	var kind render.TypeMeta
	if err := json.Unmarshal(raw, &kind); err != nil {
		return err
	}
	switch kind.Kind {
	case "Summary":
		f.summary = new(render.Summary)
		return json.Unmarshal(raw, f.summary)
	case "Drop":
		var d render.Drop
		if err := json.Unmarshal(raw, &d); err != nil {
			return err
		}
		f.byReason[d.Reason] += d.Count
	}
	return nil
}

// steppedBack reports whether podpath did less, to stay within its budget.
func (f *found) steppedBack() bool { return f.summary.Budget != nil && len(f.summary.Budget.Steps) > 0 }

// unwatched reports whether podpath left devices unwatched for a time.
func (f *found) unwatched() bool {
	if !f.steppedBack() {
		return false
	}
	for _, s := range f.summary.Budget.Steps {
		if s.Level.DevicesOff() {
			return true
		}
	}
	return false
}

// counter is podpath's counter of one hook, "rx.selected".
func (f *found) counter(name string) uint64 { return f.summary.Counters[name] }

// passedOver adds up the packets of a hook that were not selected, or not this
// node's.
func (f *found) passedOver(hook string) uint64 {
	return f.sum(hook, "miss", "other_netns", "loopback", "no_netns")
}

// seenAt are all packets of a hook, selected or not.
func (f *found) seenAt(hook string) uint64 { return f.accounted(hook) + f.passedOver(hook) }

// accounted adds up what became of the selected packets at a hook: reported,
// only counted, held back, and lost.
func (f *found) accounted(hook string) uint64 {
	return f.sum(hook, "events", "aggregated", "rate_limited", "ring_full") + f.held(hook)
}

// held adds up the events of a hook that the budget made mere counts.
func (f *found) held(hook string) uint64 {
	return f.sum(hook, "held_flow", "held_plain", "held_counting", "held_urgent")
}

func (f *found) sum(hook string, counters ...string) uint64 {
	var sum uint64
	for _, c := range counters {
		sum += f.counter(hook + "." + c)
	}
	return sum
}
