package session

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Format names the file type in the header; Version is the only one that this
// package reads and writes.
const (
	Format  = "podpath-session"
	Version = 1
)

// FrameBytes is the most JSON that shares one zstd frame. It equals zstd's
// largest block, so that a frame's checksum is verified before its first byte
// is handed out.
const FrameBytes = 128 << 10

// MaxRecordBytes bounds one line, and with it the memory that a hostile file
// can claim. The longest line is the snapshot of a cluster: 10,000 pods reduced
// to 2 KiB each take a third of it.
const MaxRecordBytes = 64 << 20

// Header is the first line: where and by what the session was recorded.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Podpath is the version of the program that recorded.
	Podpath string `json:"podpath"`
	Node    string `json:"node"`
	// Kernel is the release as uname -r gives it, Tier the probe's tier there.
	Kernel  string    `json:"kernel"`
	Tier    string    `json:"tier"`
	Started time.Time `json:"started"`
	// Redacted: names and addresses are pseudonyms.
	Redacted bool `json:"redacted,omitempty"`
	// Command is the command line. Whoever records leaves credentials out.
	Command []string `json:"command"`
	// From, To, Namespace and Selector are what was asked for, as given.
	// Hosts are the addresses that DNS names among them had.
	From      string                  `json:"from,omitempty"`
	To        string                  `json:"to,omitempty"`
	Namespace string                  `json:"namespace,omitempty"`
	Selector  string                  `json:"selector,omitempty"`
	Hosts     map[string][]netip.Addr `json:"hosts,omitempty"`
	// Upstream: where the cluster's DNS was asked, what its pods of this node asked
	// of servers outside was selected as well.
	Upstream bool `json:"upstream,omitempty"`
	// BehindOnce: of the lookups that fail in one tick, the facts of what their
	// server asked of the same resolver were asked for once.
	BehindOnce bool `json:"behind_once,omitempty"`
	// MaxCPU, in CPUs, and MaxEvents, a second, are the budget it was recorded
	// with; 0 if it had none.
	MaxCPU    float64 `json:"max_cpu,omitempty"`
	MaxEvents uint64  `json:"max_events,omitempty"`
	// HostNetNS is the inode of the node's own network namespace.
	HostNetNS uint32 `json:"host_netns"`
}

// Kind says which fields of a Record are set.
type Kind string

const (
	KindEvent     Kind = "event"     // Event
	KindInventory Kind = "inventory" // Inventory
	KindCluster   Kind = "cluster"   // Time, Cluster
	KindTick      Kind = "tick"      // Time
	KindFacts     Kind = "facts"     // Journey, Facts
	KindCount     Kind = "count"     // Count
	KindStats     Kind = "stats"     // Time, Stats
	KindBlind     Kind = "blind"     // Blind
	KindBudget    Kind = "budget"    // Budget
	KindNote      Kind = "note"      // Time, Note
	KindEnd       Kind = "end"       // Time, End; always the last
)

// Record is one thing that the analyser consumed. Whoever gets one from a
// Reader owns it.
type Record struct {
	Kind Kind `json:"kind"`
	// Time is the wall clock of the records that name it.
	Time  time.Time     `json:"time,omitzero"`
	Event *tracer.Event `json:"event,omitempty"`
	// Inventory replaces the one before.
	Inventory *tracer.Inventory `json:"inventory,omitempty"`
	// Cluster is the reduced snapshot of the cluster's objects as kube wrote
	// it, compacted; it replaces the one before.
	Cluster json.RawMessage `json:"cluster,omitempty"`
	// Facts answers the analyser's query about the journey with ID Journey at
	// this point of the stream.
	Journey uint64            `json:"journey,omitempty"`
	Facts   *tracer.NodeFacts `json:"facts,omitempty"`
	Stats   *Stats            `json:"stats,omitempty"`
	// Count is what the kernel counted of a flow at one device.
	Count *tracer.FlowCount `json:"count,omitempty"`
	// Blind is the whole list as it stands now; empty means nothing is hidden.
	Blind []tracer.Blind `json:"blind,omitempty"`
	// Budget is a change of how much is shown.
	Budget *tracer.BudgetStep `json:"budget,omitempty"`
	Note   string             `json:"note,omitempty"`
	End    *End               `json:"end,omitempty"`
}

// Stats is what the probes counted up to this point of the session.
type Stats struct {
	Seen uint64 `json:"seen"` // events handed over
	Lost uint64 `json:"lost"` // events that the kernel could not hand over
	// Held counts packets that the budget kept from being events.
	Held uint64 `json:"held,omitempty"`
	// Unwatched counts devices that took no program, so that what passes there is
	// not seen.
	Unwatched int `json:"unwatched,omitempty"`
	// Counted: the flows' counts of this moment stand before this record.
	Counted bool `json:"counted,omitempty"`
	// Counters by name: early returns and losses of the programs.
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// End closes a complete recording.
type End struct {
	// Records counts the lines between the header and this one.
	Records uint64 `json:"records"`
}

// complete reports whether the body that the kind promises is there.
func (r *Record) complete() bool {
	switch r.Kind {
	case KindEvent:
		return r.Event != nil
	case KindInventory:
		return r.Inventory != nil
	case KindCluster:
		return len(r.Cluster) > 0
	case KindFacts:
		return r.Facts != nil
	case KindStats:
		return r.Stats != nil
	case KindCount:
		return r.Count != nil
	case KindBudget:
		return r.Budget != nil
	case KindEnd:
		return r.End != nil
	case KindTick:
		return !r.Time.IsZero()
	case KindBlind, KindNote:
		return true
	}
	return false
}

// known reports whether this version knows the kind.
func (k Kind) known() bool {
	switch k {
	case KindEvent, KindInventory, KindCluster, KindTick, KindFacts, KindCount, KindStats,
		KindBlind, KindBudget, KindNote, KindEnd:
		return true
	}
	return false
}
