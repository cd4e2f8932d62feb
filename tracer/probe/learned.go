package probe

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/bpf"
)

const (
	// learnedCheck is how often the filter of learned tuples is looked at.
	learnedCheck = 10 * time.Second
	// firstGeneration: a slot never written (0) must be older than the one
	// before the present (is_learned in bpf/include/select.h).
	firstGeneration = 2
)

// refreshLearned begins a new generation of the filter in front of the learned
// tuples when half of its slots are taken and it spares few look-ups any more.
func (p *Probe) refreshLearned() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || time.Since(p.learnedChecked) < learnedCheck {
		return
	}
	p.learnedChecked = time.Now()
	if err := p.refreshLearnedLocked(); err != nil {
		p.log.Warn("learned tuples not tidied, their cost grows", "error", err)
	}
}

func (p *Probe) refreshLearnedLocked() error {
	slots := make([]uint8, p.coll.Variables[bpf.TraceVarLearnedSlots].Size())
	if err := p.coll.Variables[bpf.TraceVarLearnedSlots].Get(slots); err != nil {
		return fmt.Errorf("read learned slots: %w", err)
	}
	taken := 0
	for _, s := range slots {
		if p.selected.generation-s <= 1 {
			taken++
		}
	}
	if taken < len(slots)/2 {
		return nil
	}
	return p.nextGenerationLocked()
}

func (p *Probe) nextGenerationLocked() error {
	p.selected.generation++
	if err := p.coll.Variables[bpf.TraceVarSelection].Set(p.selected.filter()); err != nil {
		return fmt.Errorf("begin generation: %w", err)
	}
	return p.nextEpochLocked()
}
