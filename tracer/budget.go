package tracer

import "time"

// BudgetLevel is how far the tracer has stepped back to stay within its budget.
// Each level also does what those before it do.
type BudgetLevel string

const (
	// BudgetFull: nothing is held back but what exceeds the budget.
	BudgetFull BudgetLevel = "full"
	// BudgetFlows: of each flow, device and hook only a few plain packets a
	// second are events. Plain is what is neither a drop nor a reset, an ICMP
	// error or a retransmission.
	BudgetFlows BudgetLevel = "per-flow"
	// BudgetCounting: plain packets are only counted.
	BudgetCounting BudgetLevel = "counting"
	// BudgetPods: only the pods' own devices are watched.
	BudgetPods BudgetLevel = "pods-only"
	// BudgetDrops: no device is watched; drops still are.
	BudgetDrops BudgetLevel = "drops-only"
	// BudgetFewDrops: of drops, too, fewer are events.
	BudgetFewDrops BudgetLevel = "few-drops"
)

// BudgetLevels lists them from the first to the last.
func BudgetLevels() []BudgetLevel {
	return []BudgetLevel{BudgetFull, BudgetFlows, BudgetCounting, BudgetPods, BudgetDrops, BudgetFewDrops}
}

// DevicesOff reports whether devices that were to be watched are not, so that a
// packet not seen at one of them may have passed there.
func (l BudgetLevel) DevicesOff() bool {
	return l == BudgetPods || l == BudgetDrops || l == BudgetFewDrops
}

// BudgetStep is one change of the level.
type BudgetStep struct {
	Time  time.Time   `json:"time"`
	Level BudgetLevel `json:"level"`
	// Why is what was too much, or that it has become less.
	Why string `json:"why"`
}
