package verdict

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// Rule looks at one flow and either names a fault or is silent.
type Rule struct {
	Name string
	Eval func(*Input) *Finding
	// Silence: the rule rests on no answer having come, so that it needs its
	// time, and lost events take from what it may claim.
	Silence bool
	// Unseen: the rule can say why no packet was seen.
	Unseen bool
}

// Finding is what a rule found.
type Finding struct {
	Code       string
	Confidence tracer.Confidence
	// Summary is one sentence without the component in front.
	Summary  string
	Object   *tracer.Ref
	Rule     *tracer.RuleFact
	Evidence []tracer.Evidence
	// Blind is what kept the finding from being surer.
	Blind []tracer.Blind
	// Remedy stands in for the catalogue's, where the object is of another kind.
	Remedy []string
}

// Engine is the catalogue and the rules, in order.
type Engine struct {
	catalogue Catalogue
	rules     []Rule
}

// NewEngine returns the engine with every rule.
func NewEngine() *Engine { return &Engine{catalogue: NewCatalogue(), rules: Rules()} }

// Catalogue returns the engine's catalogue.
func (e *Engine) Catalogue() Catalogue { return e.catalogue }

// Decide gives the verdict for one flow.
func (e *Engine) Decide(in *Input) *tracer.Verdict {
	if in.Node == nil {
		in.Node = &tracer.NodeFacts{}
	}
	if in.Cluster == nil {
		in.Cluster = &tracer.ClusterFacts{}
	}
	if in.Inventory == nil {
		in.Inventory = &tracer.Inventory{}
	}
	if in.delivered() {
		return e.verdict(in, healthy(in), nil)
	}
	if f := lookupAnswered(in); f != nil {
		in.lossy(f, false)
		return e.verdict(in, f, nil)
	}
	var found, held []*Finding
	early := in.early()
	for _, r := range e.rules {
		f := r.Eval(in)
		switch {
		case f == nil:
		case in.unseen() && (!r.Unseen || in.partial()), early == tooEarly, early == tooEarlyForSilence && r.Silence,
			in.partial() && r.Silence:
			held = append(held, f)
		default:
			in.lossy(f, r.Silence)
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		f := undecided(in)
		f.Blind = append(f.Blind, in.unshown()...)
		found = append(found, f)
	}
	found = append(found, held...)
	found = surestFirst(found, len(found)-len(held))
	return e.verdict(in, found[0], found[1:])
}

// surestFirst keeps the order of the rules, but does not let what only the state
// suggests stand before what the packets and the state prove.
func surestFirst(found []*Finding, n int) []*Finding {
	if found[0].Confidence != tracer.Suspected {
		return found
	}
	i := slices.IndexFunc(found[:n], func(f *Finding) bool { return f.Confidence == tracer.Confirmed })
	if i <= 0 {
		return found
	}
	return slices.Concat(found[i:i+1], found[:i], found[i+1:])
}

// partial: packets of this flow may have passed without being shown, so that
// silence is none.
func (in *Input) partial() bool { return in.Held > 0 || in.unwatched() }

// unwatched: packets may have passed devices at which nothing looked.
func (in *Input) unwatched() bool { return in.DevicesOff || in.Unwatched }

// unshown says what the tracer did not show of what passed the hooks.
func (in *Input) unshown() []tracer.Blind {
	var list []tracer.Blind
	note := func(format string, args ...any) {
		list = append(list, tracer.Blind{What: fmt.Sprintf(format, args...), Effect: "that something was not seen proves nothing"})
	}
	if in.Lost > 0 {
		note("%d events were lost", in.Lost)
	}
	if in.Held > 0 {
		note("%d events were held back to keep within the budget (--max-cpu, --max-events)", in.Held)
	}
	if in.DevicesOff {
		note("devices were not watched for a time, to keep within the budget (--max-cpu)")
	}
	if in.Unwatched {
		note("devices were not watched, because no program could be attached to them")
	}
	return list
}

// lossy takes back what lost events, and those held back, leave unproven.
func (in *Input) lossy(f *Finding, silence bool) {
	unshown := in.unshown()
	if len(unshown) == 0 {
		return
	}
	f.Blind = append(f.Blind, unshown...)
	switch {
	case silence && f.Confidence == tracer.Probable:
		f.Confidence = tracer.Suspected
	case (silence || len(in.Journey.Drops) == 0) && f.Confidence == tracer.Confirmed:
		f.Confidence = tracer.Probable
	}
}

func (e *Engine) verdict(in *Input, f *Finding, rest []*Finding) *tracer.Verdict {
	entry := e.catalogue.Get(f.Code)
	v := &tracer.Verdict{
		Time: in.Now, Node: in.NodeName, Component: entry.Component, Code: f.Code,
		Confidence: f.Confidence, Summary: f.Summary, Outcome: in.Outcome,
		Journey: in.Journey, Cluster: in.Cluster, Object: f.Object, Rule: f.Rule,
		Evidence: f.Evidence, LostEvents: in.Lost,
		Remedy: entry.remedy(in, f),
		Blind:  append(append(append([]tracer.Blind{}, in.Blind...), in.Node.Blind...), f.Blind...),
	}
	seen := map[string]bool{f.Code: true}
	for _, r := range rest {
		if seen[r.Code] {
			continue
		}
		seen[r.Code] = true
		v.AlsoSeen = append(v.AlsoSeen, tracer.AlsoSeen{
			Component: e.catalogue.Get(r.Code).Component, Code: r.Code, Why: r.Summary,
		})
	}
	return v
}
