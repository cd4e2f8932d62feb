package verdict

import (
	"github.com/podpath/podpath/tracer"
)

// Rule looks at one flow and either names a fault or is silent.
type Rule struct {
	Name string
	Eval func(*Input) *Finding
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
	if in.delivered() {
		return e.verdict(in, healthy(in), nil)
	}
	var found []*Finding
	for _, r := range e.rules {
		if f := r.Eval(in); f != nil {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		found = append(found, undecided(in))
	}
	return e.verdict(in, found[0], found[1:])
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
	if in.Lost > 0 && v.Confidence == tracer.Confirmed && f.Code != tracer.CodeOK && len(in.Journey.Drops) == 0 {
		v.Confidence = tracer.Probable // it rests on something not having been seen
	}
	return v
}
