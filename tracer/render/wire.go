package render

import (
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// APIVersion stands in every object.
const APIVersion = "podpath.dev/v1alpha1"

// TypeMeta is what every object begins with.
type TypeMeta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Verdict is the published form of tracer.Verdict.
type Verdict struct {
	TypeMeta
	Time       time.Time         `json:"time"`
	Node       string            `json:"node"`
	Component  tracer.Component  `json:"component"`
	Code       string            `json:"code"`
	Confidence tracer.Confidence `json:"confidence"`
	Summary    string            `json:"summary"`
	Outcome    tracer.Outcome    `json:"outcome"`
	Flow       FlowRef           `json:"flow"`
	// CNI are the networks that connect the node's pods ("flannel", "calico"), as
	// far as they show on the node; Proxies is what translates Services there
	// ("kube-proxy-nftables", "ipvs"), if the node was asked.
	CNI        []string          `json:"cni,omitempty"`
	Proxies    []string          `json:"service_proxies,omitempty"`
	Object     *tracer.Ref       `json:"object,omitempty"`
	Rule       *Rule             `json:"rule,omitempty"`
	Evidence   []tracer.Evidence `json:"evidence"`
	AlsoSeen   []tracer.AlsoSeen `json:"also_seen"`
	Remedy     []string          `json:"remedy"`
	Blind      []tracer.Blind    `json:"blind"`
	LostEvents uint64            `json:"lost_events"`
	// Lookup is set if DNS was asked.
	Lookup *Lookup `json:"lookup,omitempty"`
	// Hops is the path as a person reads it.
	Hops []HopLine `json:"hops"`
}

// FlowRef names a flow by its ends and translations.
type FlowRef struct {
	Protocol     string          `json:"protocol"`
	Source       tracer.Endpoint `json:"source"`
	Destination  tracer.Endpoint `json:"destination"`
	Translations []Translation   `json:"translations"`
}

// Translation is one address translation.
type Translation struct {
	Kind     string `json:"kind"`
	From     string `json:"from"`
	To       string `json:"to"`
	ToObject string `json:"to_object,omitempty"`
	Where    string `json:"where"`
}

// Rule is the rule that a packet met.
type Rule struct {
	Engine string `json:"engine"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Text   string `json:"text"`
	How    string `json:"how"`
	Owner  string `json:"owner,omitempty"`
}

// HopLine is one step of the path.
type HopLine struct {
	// Mark is "ok", "drop", "missing" or "answer".
	Mark      string           `json:"mark"`
	Direction tracer.Direction `json:"direction"`
	// Where is "n1 cali12ab" or "shop/checkout eth0".
	Where   string `json:"where"`
	Node    string `json:"node"`
	NetNS   uint32 `json:"netns,omitempty"`
	IfIndex uint32 `json:"ifindex,omitempty"`
	Device  string `json:"device,omitempty"`
	Pod     string `json:"pod,omitempty"`
	// Owner is the pod's workload ("Deployment/api"), if it has one.
	Owner string `json:"owner,omitempty"`
	// What happened, in a word or two; Detail is why, or what changed.
	What    string     `json:"what"`
	Detail  string     `json:"detail,omitempty"`
	Tuple   string     `json:"tuple,omitempty"`
	Before  string     `json:"before,omitempty"`
	Packets uint64     `json:"packets,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
	Event   uint64     `json:"event,omitempty"`
	// told: Detail says what Tuple says.
	told bool
}

// Flow is one path, without a judgement.
type Flow struct {
	TypeMeta
	Time    time.Time      `json:"time"`
	Node    string         `json:"node"`
	ID      uint64         `json:"id"`
	Flow    FlowRef        `json:"flow"`
	Outcome tracer.Outcome `json:"outcome"`
	Hops    []HopLine      `json:"hops"`
}

// Drop is one line of the drop report, or one dropped packet.
type Drop struct {
	TypeMeta
	Time      time.Time    `json:"time"`
	Node      string       `json:"node"`
	Reason    string       `json:"reason"`
	Location  string       `json:"location"`
	Stage     tracer.Stage `json:"stage"`
	Engine    string       `json:"engine"`
	Noise     string       `json:"noise,omitempty"`
	Device    string       `json:"device"`
	NetNS     uint32       `json:"netns"`
	Workload  string       `json:"workload"`
	Owner     string       `json:"owner"`
	Direction string       `json:"direction"`
	Rule      *Rule        `json:"rule,omitempty"`
	Example   string       `json:"example"`
	Count     uint64       `json:"count"`
	Bytes     uint64       `json:"bytes"`
	// PerSecond is Count over the time of the report.
	PerSecond float64   `json:"per_second"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// Summary is the last line of a run.
type Summary struct {
	TypeMeta
	Time     time.Time         `json:"time"`
	Node     string            `json:"node"`
	Duration string            `json:"duration"`
	Flows    int               `json:"flows"`
	Verdicts map[string]int    `json:"verdicts"`
	Events   uint64            `json:"events"`
	Lost     uint64            `json:"lost"`
	Counters map[string]uint64 `json:"counters"`
	// Tier is how packets were seen: "tcx" or "tracepoint".
	Tier  string         `json:"tier"`
	Blind []tracer.Blind `json:"blind"`
	Cost  *Cost          `json:"cost,omitempty"`
	// Budget is what podpath did to stay within it.
	Budget *Budget `json:"budget,omitempty"`
	// Drops, in the drop report: exact totals.
	Drops *DropTotals `json:"drops,omitempty"`
	// Shares are the destinations that some connections reached and others did not.
	Shares []tracer.Shares `json:"shares,omitempty"`
}

// Cost is what podpath itself used.
type Cost struct {
	// CPUSeconds is user and system time since the process began.
	CPUSeconds    float64 `json:"cpu_seconds"`
	UserSeconds   float64 `json:"user_seconds"`
	SystemSeconds float64 `json:"system_seconds"`
	// CPUPercent, of one CPU, and EventsPerSecond handed over are averages since
	// everything was attached.
	CPUPercent      float64 `json:"cpu_percent"`
	EventsPerSecond float64 `json:"events_per_second"`
	MaxRSSKiB       int64   `json:"max_rss_kib"`
	// Runs is how often the programs ran, by hook: once for each packet there.
	Runs map[string]uint64 `json:"program_runs,omitempty"`
	// Programs is the time of the programs, which the kernel measures only while
	// kernel.bpf_stats_enabled is 1, and MeasuredRuns the runs it is of.
	Programs     map[string]uint64 `json:"program_run_ns,omitempty"`
	MeasuredRuns map[string]uint64 `json:"program_runs_measured,omitempty"`
}

// Budget is what bounds podpath's own cost, and what that took.
type Budget struct {
	MaxCPU    float64 `json:"max_cpu"`    // CPUs
	MaxEvents uint64  `json:"max_events"` // a second
	// Held is how many packets were counted, but not handed over as events.
	Held uint64 `json:"held"`
	// Steps are the changes of the level, the first from "full".
	Steps []tracer.BudgetStep `json:"steps"`
}

// DropTotals are exact at any rate, because the kernel counts them.
type DropTotals struct {
	Total uint64 `json:"total"`
	// Noise are frees that no user lost a packet to, by class.
	Noise map[string]uint64 `json:"noise"`
	// Unlisted are drops counted in the total but in no row, because there
	// were more different ones than the table holds.
	Unlisted uint64 `json:"unlisted"`
}

func meta(kind string) TypeMeta { return TypeMeta{APIVersion: APIVersion, Kind: kind} }

// NewVerdict gives a verdict its published form.
func NewVerdict(v *tracer.Verdict, inv *tracer.Inventory) *Verdict {
	w := &Verdict{
		TypeMeta: meta("Verdict"), Time: v.Time.UTC(), Node: v.Node, Component: v.Component, Code: v.Code,
		Confidence: v.Confidence, Summary: v.Summary, Outcome: v.Outcome, Object: v.Object,
		Flow:     newFlowRef(v.Journey, v.Cluster, v.Node),
		Evidence: inUTC(v.Evidence), AlsoSeen: orEmpty(v.AlsoSeen), Remedy: orEmpty(v.Remedy), Blind: orEmpty(v.Blind),
		LostEvents: v.LostEvents, Rule: newRule(v.Rule), Hops: orEmpty(Path(v.Journey, v.Cluster, inv, v.Node)),
		Lookup: newLookup(v.Journey, v.Cluster), CNI: v.CNI, Proxies: v.Proxies,
	}
	return w
}

// inUTC gives evidence its times in UTC, wherever the node is.
func inUTC(list []tracer.Evidence) []tracer.Evidence {
	out := orEmpty(slices.Clone(list))
	for i := range out {
		out[i].Time = out[i].Time.UTC()
	}
	return out
}

// NewFlow gives a journey its published form.
func NewFlow(j *tracer.Journey, c *tracer.ClusterFacts, inv *tracer.Inventory, node string, o tracer.Outcome) *Flow {
	return &Flow{TypeMeta: meta("Flow"), Time: j.First.UTC(), Node: node, ID: j.ID, Outcome: o,
		Flow: newFlowRef(j, c, node), Hops: orEmpty(Path(j, c, inv, node))}
}

// NewDrop and NewSummary set the type of an object.
func NewDrop() *Drop { return &Drop{TypeMeta: meta("Drop")} }

// NewSummary returns an empty summary.
func NewSummary() *Summary {
	return &Summary{TypeMeta: meta("Summary"), Verdicts: map[string]int{}, Counters: map[string]uint64{}, Blind: []tracer.Blind{}}
}

func newRule(r *tracer.RuleFact) *Rule {
	if r == nil {
		return nil
	}
	return &Rule{Engine: r.Engine, Table: r.Table, Chain: r.Chain, Text: r.Text, How: r.How, Owner: r.Owner}
}

func newFlowRef(j *tracer.Journey, c *tracer.ClusterFacts, node string) FlowRef {
	f := FlowRef{Protocol: tracer.ProtoName(j.Flow.Proto), Translations: []Translation{}}
	f.Source, f.Destination = endpoint(c.Source, j.Flow.Src), endpoint(c.Destination, j.Flow.Dst)
	for _, t := range j.Translations {
		w := Translation{Kind: t.Kind, From: t.From.String(), To: t.To.String(), Where: node}
		if t.Kind == "dnat" && c.Target.IP == t.To.Addr() && c.Target.Name != "" {
			w.ToObject = c.Target.Namespace + "/" + string(c.Target.Kind) + "/" + c.Target.Name
		}
		f.Translations = append(f.Translations, w)
	}
	return f
}

func endpoint(e tracer.Endpoint, a netip.AddrPort) tracer.Endpoint {
	if !e.IP.IsValid() {
		e.IP = a.Addr()
		if e.Name == "" { // a pod without an address has a name
			e.Kind = tracer.KindUnknown
		}
	}
	e.Port = a.Port()
	return e
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
