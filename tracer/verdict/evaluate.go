package verdict

import (
	"fmt"

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
	// Also is what else was found out on the way.
	Also []tracer.AlsoSeen
	// Remedy stands in for the catalogue's, where the object is of another kind.
	Remedy []string
	// First stands before the catalogue's remedy.
	First []string
	// NotSent: no packet was seen because the client could not send one.
	NotSent bool
}

// Engine is the catalogue, the rules in order, what follows from what, and the
// networks that can be told.
type Engine struct {
	catalogue Catalogue
	rules     []Rule
	effects   []effect
	reaches   []reach
	networks  []network
}

// NewEngine returns the engine with every rule.
func NewEngine() *Engine {
	return &Engine{catalogue: NewCatalogue(), rules: Rules(), effects: effects(), reaches: reaches(), networks: networks()}
}

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
	in.networks = e.networks
	if in.delivered() {
		f := healthy(in)
		f.Evidence = append(f.Evidence, in.astray()...)
		return e.verdict(in, []*Finding{f}, nil)
	}
	if f := lookupAnswered(in); f != nil {
		f.Evidence = append(in.seenLookup(), f.Evidence...)
		in.lossy(f, false)
		in.nothingTried(f)
		return e.verdict(in, []*Finding{f}, nil)
	}
	in.reported = in.reportedDrop()
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
	e.weigh(in, found)
	ranked := e.rank(in, found)
	in.mayFollow(ranked[0])
	in.agentsDown(ranked[0])
	ranked[0].Evidence = append(ranked[0].Evidence, in.seenLookup()...)
	ranked[0].Evidence = append(ranked[0].Evidence, in.astray()...)
	ranked[0].Evidence = append(ranked[0].Evidence, in.affinity()...)
	in.nothingTried(ranked[0])
	return e.verdict(in, ranked, held)
}

// partial: packets of this flow may have passed without being shown, so that
// silence is none.
func (in *Input) partial() bool { return in.Held > 0 || in.unwatched() }

// unwatched: packets may have passed devices at which nothing looked.
func (in *Input) unwatched() bool { return in.DevicesOff || in.Unwatched || in.Unheard }

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
	if in.Unheard {
		note("what an end of the flow receives passes no tracepoint (macvlan, ipvlan)")
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

// verdict is the first of the ranked findings. The others, and those held back
// because the time or what was shown did not suffice for them, stand beside it.
func (e *Engine) verdict(in *Input, ranked, held []*Finding) *tracer.Verdict {
	f := ranked[0]
	entry := e.catalogue.Get(f.Code)
	v := &tracer.Verdict{
		Time: in.Now, Node: in.NodeName, Component: entry.Component, Code: f.Code,
		Confidence: f.Confidence, Summary: f.Summary, Outcome: in.Outcome,
		Journey: in.Journey, Cluster: in.Cluster, CNI: networkNames(in.networksHere()), Proxies: in.proxies(), Object: f.Object, Rule: f.Rule,
		Evidence: append(f.Evidence, in.resent(f)...), LostEvents: in.Lost, AlsoSeen: f.Also,
		Remedy: entry.remedy(in, f),
		Blind:  append(append(append([]tracer.Blind{}, in.Blind...), in.Node.Blind...), f.Blind...),
	}
	seen := map[string]bool{f.Code: true}
	also := func(r *Finding, why string) {
		if !seen[r.Code] {
			seen[r.Code] = true
			v.AlsoSeen = append(v.AlsoSeen, tracer.AlsoSeen{Component: e.catalogue.Get(r.Code).Component, Code: r.Code, Why: why})
		}
	}
	for i, r := range ranked[1:] {
		also(r, e.why(in, ranked, i+1))
	}
	for _, r := range held {
		also(r, in.unsettled(f)+": "+r.Summary)
	}
	if f.NotSent && in.unseen() {
		v.Outcome = tracer.OutcomeNotSent
	}
	in.apportioned(v)
	in.waited(v)
	return v
}

// unsettled says why a finding that was held back does not count beside another.
func (in *Input) unsettled(first *Finding) string {
	could := "may be as well"
	if first.Code == tracer.CodeUnknown {
		could = "would explain it"
	}
	switch {
	case in.unseen():
		return could + ", but no packet met it"
	case in.partial():
		return could + ", but not every packet was shown"
	}
	return could + ", but it is too early to say"
}
