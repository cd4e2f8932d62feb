package probe

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// script is a load that stays the same for a time.
type script struct {
	lasts time.Duration
	load  func(tracer.BudgetLevel) Load // of one second
}

const look = 500 * time.Millisecond

// play gives the governor the loads, and returns its steps as "12s per-flow".
func play(g *Governor, list []script) (steps []string, whys []string) {
	var now time.Duration
	for _, s := range list {
		for end := now + s.lasts; now < end; now += look {
			l := s.load(g.Level())
			level, why := g.Look(Load{
				Over: look, CPU: l.CPU / 2, Events: l.Events / 2, Refused: l.Refused / 2, Wanted: l.Wanted / 2, Lost: l.Lost / 2,
			})
			if why != "" {
				steps = append(steps, (now+look).String()+" "+string(level))
				whys = append(whys, why)
			}
		}
	}
	return steps, whys
}

func always(l Load) func(tracer.BudgetLevel) Load { return func(tracer.BudgetLevel) Load { return l } }

var (
	idle = always(Load{CPU: 10 * time.Millisecond, Events: 20, Wanted: 20})
	// busy is within the budget, but more than half of it.
	busy  = always(Load{CPU: 400 * time.Millisecond, Events: 700, Wanted: 700})
	hot   = always(Load{CPU: 900 * time.Millisecond, Events: 100, Wanted: 100})
	storm = always(Load{CPU: 100 * time.Millisecond, Events: 1000, Refused: 4000, Wanted: 5000})
)

func TestGovernor(t *testing.T) {
	limits := Limits{CPU: 0.5, Events: 1000}
	tests := []struct {
		name   string
		levels []tracer.BudgetLevel
		script []script
		want   []string
	}{
		{"idle", nil, []script{{5 * time.Minute, idle}}, nil},
		{"busy, but within the budget", nil, []script{{5 * time.Minute, busy}}, nil},
		{"a burst of CPU time", nil, []script{{time.Minute, idle}, {time.Second, always(Load{CPU: time.Second})}, {time.Minute, idle}}, nil},
		{"a burst of events", nil, []script{{time.Minute, idle}, {look, storm}, {time.Minute, idle}}, nil},
		{"too much CPU time, whatever is done", nil, []script{{time.Minute, hot}},
			[]string{"3s per-flow", "6s counting", "9s pods-only", "12s drops-only", "15s few-drops"}},
		{"tracepoints only", []tracer.BudgetLevel{tracer.BudgetFull, tracer.BudgetFlows, tracer.BudgetCounting, tracer.BudgetDrops, tracer.BudgetFewDrops},
			[]script{{time.Minute, hot}}, []string{"3s per-flow", "6s counting", "9s drops-only", "12s few-drops"}},
		{"drops only", []tracer.BudgetLevel{tracer.BudgetFull, tracer.BudgetFewDrops}, []script{{time.Minute, hot}}, []string{"3s few-drops"}},
		{"drops only, too many examples", []tracer.BudgetLevel{tracer.BudgetFull, tracer.BudgetFewDrops}, []script{{time.Minute, storm}}, nil},
		// The programs keep the number of events; counting is as far as that goes.
		{"too many events", nil, []script{{time.Minute, storm}}, []string{"1s per-flow", "2s counting"}},
		{"less CPU time once plain packets are counted", nil, []script{{time.Minute, func(l tracer.BudgetLevel) Load {
			if l == tracer.BudgetCounting {
				return Load{CPU: 300 * time.Millisecond, Wanted: 2000}
			}
			return Load{CPU: 900 * time.Millisecond, Wanted: 2000}
		}}}, []string{"3s per-flow", "6s counting"}},
		{"lost events", nil, []script{{look, always(Load{Lost: 2, Events: 10, Wanted: 10})}, {time.Minute, idle}}, []string{"500ms per-flow", "10.5s full"}},
		{"there and back", nil, []script{{7 * time.Second, hot}, {time.Minute, idle}}, []string{"3s per-flow", "6s counting", "17s per-flow", "27s full"}},
		// What is held back is still wanted, and comes again with a step back.
		{"held back, not gone", nil, []script{{2 * time.Second, storm}, {5 * time.Minute, always(Load{CPU: 10 * time.Millisecond, Wanted: 5000})}},
			[]string{"1s per-flow", "2s counting"}},
		{"nothing between half and all of the budget", nil, []script{{3 * time.Second, hot}, {10 * time.Minute, busy}}, []string{"3s per-flow"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			levels := tt.levels
			if levels == nil {
				levels = tracer.BudgetLevels()
			}
			steps, whys := play(NewGovernor(limits, levels), tt.script)
			if !slices.Equal(steps, tt.want) {
				t.Errorf("steps %q, want %q (%q)", steps, tt.want, whys)
			}
		})
	}
}

// A load that comes back each time a step is taken back is tried less and less
// often, but for ever; when it is gone for good, soon again.
func TestGovernorWithoutLimits(t *testing.T) {
	levels := []tracer.BudgetLevel{tracer.BudgetFull, tracer.BudgetFlows, tracer.BudgetCounting}
	steps, _ := play(NewGovernor(Limits{}, levels), []script{{time.Minute, hot}, {time.Minute, busy}})
	if len(steps) != 0 {
		t.Errorf("stepped: %v", steps)
	}
}

func TestGovernorDoesNotSwing(t *testing.T) {
	g := NewGovernor(Limits{CPU: 0.5, Events: 1000}, tracer.BudgetLevels())
	steps, _ := play(g, []script{{time.Hour, func(l tracer.BudgetLevel) Load {
		if l == tracer.BudgetFull {
			return Load{CPU: 900 * time.Millisecond}
		}
		return Load{CPU: 100 * time.Millisecond}
	}}})
	back := 0
	for _, s := range steps {
		if strings.HasSuffix(s, " full") {
			back++
		}
	}
	if back < 10 || back > 18 { // 10 s, 20 s, ... 5 min, and then each 5 min
		t.Errorf("%d steps back in an hour: %q", back, steps)
	}
	if steps, _ := play(g, []script{{20 * time.Minute, idle}}); g.Level() != tracer.BudgetFull {
		t.Errorf("still %s after %q", g.Level(), steps)
	}
	steps, _ = play(g, []script{{2 * time.Second, hot}, {time.Minute, idle}})
	if want := []string{"2s per-flow", "12s full"}; !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// Each step says what was too much, in numbers.
func TestGovernorSaysWhy(t *testing.T) {
	for want, s := range map[string]func(tracer.BudgetLevel) Load{
		"podpath used 0.90 CPUs for 3s; the budget is 0.50":       hot,
		"5000 events a second were due; the budget is 1000":       storm,
		"8 events were lost because they came faster than they w": always(Load{Lost: 16}),
	} {
		_, whys := play(NewGovernor(Limits{CPU: 0.5, Events: 1000}, tracer.BudgetLevels()), []script{{4 * time.Second, s}})
		if len(whys) == 0 || !strings.HasPrefix(whys[0], want) {
			t.Errorf("%q, want %q", whys, want)
		}
	}
}

// A look at no time at all changes nothing.
func TestGovernorWithoutTime(t *testing.T) {
	g := NewGovernor(Limits{CPU: 0.5, Events: 1000}, tracer.BudgetLevels())
	for range 100 {
		if level, why := g.Look(Load{CPU: time.Hour, Lost: 5, Refused: 5}); level != tracer.BudgetFull || why != "" {
			t.Fatalf("%s %q", level, why)
		}
	}
}

func TestLevelBudget(t *testing.T) {
	for level, want := range map[tracer.BudgetLevel]Budget{
		tracer.BudgetFull:     {Events: 1000, PlainEvents: 751},
		tracer.BudgetFlows:    {Events: 1000, PlainEvents: 751, FlowEvents: levelFlowEvents},
		tracer.BudgetCounting: {Events: 1000, PlainEvents: 751, FlowEvents: levelFlowEvents, Counting: true},
		tracer.BudgetPods:     {Events: 1000, PlainEvents: 751, FlowEvents: levelFlowEvents, Counting: true},
		tracer.BudgetFewDrops: {Events: 100, PlainEvents: 76, FlowEvents: levelFlowEvents, Counting: true},
	} {
		if got := levelBudget(level, 1000); got != want {
			t.Errorf("%s: %+v, want %+v", level, got, want)
		}
	}
	if b := levelBudget(tracer.BudgetFull, 1); b.Events != 1 || b.PlainEvents == 0 {
		t.Errorf("one event a second: %+v", b)
	}
	if b := levelBudget(tracer.BudgetFull, 0); b != (Budget{}) {
		t.Errorf("no limit: %+v", b)
	}
	if b := levelBudget(tracer.BudgetFewDrops, 0); b.Events == 0 {
		t.Errorf("few of no limit: %+v", b)
	}
}

// A step to the pods' devices needs programs on devices, for good: until the first
// devices have settled that, there is no such step.
func TestBudgetLevelsBeforeTheFirstDevices(t *testing.T) {
	for _, tt := range []struct {
		name  string
		probe *Probe
		pods  bool
	}{
		{"not settled", &Probe{tier: TierTCX}, false},
		{"settled, TCX", &Probe{tier: TierTCX, settled: true}, true},
		{"settled, tracepoints", &Probe{tier: TierTracepoint, settled: true}, false},
		{"TCX asked for", &Probe{tier: TierTCX, config: Config{Tier: TierTCX}}, true},
		{"drops only", &Probe{tier: TierTCX, settled: true, config: Config{DropsOnly: true}}, false},
	} {
		if levels := tt.probe.BudgetLevels(); slices.Contains(levels, tracer.BudgetPods) != tt.pods {
			t.Errorf("%s: %q", tt.name, levels)
		}
	}
}
