package probe

import (
	"fmt"

	"github.com/podpath/podpath/bpf"
)

// Budget limits what the programs hand over. Zero limits nothing. Urgent events
// are drops, resets, ICMP errors and retransmissions, the others plain. Whatever
// is held back is counted, in its flow and under the names held_* of Stats.Hooks.
type Budget struct {
	// Events is the most of all events in a second, of all CPUs together. Two
	// CPUs that begin a second at the same moment may exceed it by a few.
	Events uint32
	// PlainEvents is where plain events stop in a second, among all: what is left
	// to Events is kept for urgent ones. 0 means Events.
	PlainEvents uint32
	// FlowEvents is the most plain events a second of one flow, at each device
	// and hook.
	FlowEvents uint32
	// Counting hands over no plain event at all: packets are only counted.
	Counting bool
}

// SetBudget replaces the budget; it holds from the next packet on, and until
// SetBudgetLevel sets another.
func (p *Probe) SetBudget(b Budget) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	return p.setBudgetLocked(b)
}

func (p *Probe) setBudgetLocked(b Budget) error {
	k := bpf.TraceBudget{FlowEvents: b.FlowEvents, PlainUntil: b.PlainEvents, AllEvents: b.Events}
	if k.PlainUntil == 0 {
		k.PlainUntil = k.AllEvents
	}
	if b.Counting {
		k.Counting = 1
	}
	if err := p.coll.Variables[bpf.TraceVarBudget].Set(k); err != nil {
		return fmt.Errorf("set budget: %w", err)
	}
	return nil
}
