package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// Fault is one thing that the lab can break, or a healthy control that looks
// like trouble.
type Fault struct {
	// Name is what people type: lower case, words joined by hyphens.
	Name string `json:"name"`
	// Title is a few words for a list, Description one line for a person.
	Title       string `json:"title"`
	Description string `json:"description"`
	// Component and Code are the right answer of a tool that sees the packets.
	Component string `json:"component"`
	Code      string `json:"code"`
	// Confidence is how sure such a tool may be: "confirmed", unless what is at
	// fault, or its state, is out of the node's sight.
	Confidence string `json:"confidence"`
	// Healthy marks the controls, Double those with more than one thing wrong.
	Healthy bool `json:"healthy,omitempty"`
	Double  bool `json:"double,omitempty"`
	// IPv4Only marks faults that IPv6 does not know.
	IPv4Only bool `json:"ipv4_only,omitempty"`
	// Protocols lists the values of Options.Protocol that change the traffic;
	// with any other the fault uses its own.
	Protocols []string `json:"protocols"`
	// Visible is how long traffic must run until the client sees the symptom,
	// rounded up. Kernel timers dominate it: a SYN is repeated each second, and
	// an address that nobody answers for is given up after three.
	Visible time.Duration `json:"visible_ns"`
	// Part: it breaks a part of the connections only, and the others are answered.
	Part bool `json:"part,omitempty"`
	// Machine: it changes settings that all of the machine's namespaces share.
	Machine bool `json:"machine,omitempty"`
	// Also is what a tool sees beside the cause, nil if that does not matter.
	Also []Also `json:"also,omitempty"`

	arrange func(context.Context, *Lab) (*scene, error)
}

// patience is the longest that a fault may take to show where others wait for it.
const patience = 30 * time.Second

// Apart: tests build it in a machine of its own only, because it changes what others
// use, or because they would have to wait for it. The clock of such a machine skips
// what is slept.
func (f Fault) Apart() bool { return f.Machine || f.Visible > patience }

// Also is a finding that is not the cause: it follows from it, or is another
// fault of the same flow.
type Also struct {
	Code    string `json:"code"`
	Follows bool   `json:"follows"`
}

// Object names what is at fault: a Kubernetes object, or a thing of the node or
// beyond it, of the Kinds "FirewallRule" ("family table chain"), "Route" ("type
// prefix"), "RoutingRule" (its type), "BPFProgram", "TCFilter" ("device side pref N kind handle H"), "Gateway" and
// "ExternalHost" (an address). The zero Object means that there is none to name.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Scenario is one fault as it stands in one lab.
type Scenario struct {
	Fault string `json:"fault"`
	// From and To are what to give --from and --to.
	From string `json:"from"`
	To   string `json:"to"`
	// Component, Code and Object are the right answer.
	Component string `json:"component"`
	Code      string `json:"code"`
	Object    Object `json:"object,omitzero"`
	// Symptoms are the outcomes that the client may see; every attempt ends in
	// one of them.
	Symptoms []Outcome     `json:"symptoms"`
	Visible  time.Duration `json:"visible_ns"`
	// Part and Also are the fault's. Shared is the endpoint of all that fail, where
	// it is not the Object and they have one in common.
	Part   bool   `json:"part,omitempty"`
	Shared string `json:"shared,omitempty"`
	// Prelude: the last of a client's tries fails; those before it end as they
	// should, and to say so of them is right.
	Prelude bool   `json:"prelude,omitempty"`
	Also    []Also `json:"also,omitempty"`
}

// scene is a Scenario and the traffic that shows it.
type scene struct {
	Scenario
	from     *space
	dial     dialArgs
	attempts int
	gap      time.Duration
	// beside make the same attempts as the client, at the same time.
	beside []*space
	// round, if set, are the destinations of the attempts, one after the other.
	round []netip.AddrPort
}

// Faults lists everything that Break knows, controls first.
func Faults() []Fault {
	all := slices.Concat(
		healthyControls(), policyFaults(), nearFaults(), serviceFaults(), proxyFaults(), applicationFaults(), brokenAppFaults(), meshFaults(),
		nodeFaults(), hookFaults(), filterFaults(), podFaults(), linkFaults(), routedFaults(), overlayFaults(), overlayFarFaults(), sizeFaults(), egressFaults(), routingFaults(), dnsFaults(), doubleFaults(), partFaults(), addressFaults(), conntrackFaults(), exposedFaults(), hostPortFaults(), namedFaults(),
		aliveControls(), earlyFaults(), rejectFaults(), subnetFaults(), scatteredFaults(), lossFaults(), otherFamilyFaults(), outsideFaults(),
		idleFaults(), underlayFaults(), redirectedFaults(), leftRouteFaults(), machineFaults(),
	)
	why, doubt := hidden(), doubted()
	for i := range all {
		switch name := all[i].Name; {
		case doubt[name] != "":
			all[i].Confidence = suspected
		case why[name] != "":
			all[i].Confidence = probable
		default:
			all[i].Confidence = confirmed
		}
	}
	return all
}

// FindFault finds one by its name.
func FindFault(name string) (Fault, bool) {
	all := Faults()
	i := slices.IndexFunc(all, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		return Fault{}, false
	}
	return all[i], true
}

// ErrUnknownFault is Break's answer to a name that Faults does not list.
var ErrUnknownFault = errors.New("no such fault")

// ErrOwnMachine is Break's answer to a fault that changes settings of the whole
// machine, where Options do not say that this one is for the lab alone.
var ErrOwnMachine = errors.New("it changes settings of the whole machine, and is built in a machine of its own only")

// Break makes the lab show a fault. One at a time: Undo comes before the next.
func (l *Lab) Break(ctx context.Context, name string) (Scenario, error) {
	f, ok := FindFault(name)
	if !ok {
		return Scenario{}, fmt.Errorf("%w: %q", ErrUnknownFault, name)
	}
	if l.broken {
		return Scenario{}, fmt.Errorf("break %s: %s is in place, undo it first", name, l.scene.Fault)
	}
	if f.IPv4Only && l.opts.IPv6 {
		return Scenario{}, fmt.Errorf("break %s: IPv6 does not know this fault", name)
	}
	if f.Machine && !l.opts.OwnMachine {
		return Scenario{}, fmt.Errorf("break %s: %w", name, ErrOwnMachine)
	}
	s, err := f.arrange(ctx, l)
	if err != nil {
		return Scenario{}, errors.Join(fmt.Errorf("break %s: %w", name, err), l.Undo(ctx))
	}
	s.Fault, s.Component, s.Code, s.Visible, s.Part, s.Also = f.Name, f.Component, f.Code, f.Visible, f.Part, f.Also
	l.scene, l.broken = s, true
	l.log.DebugContext(ctx, "fault is in place", "fault", name, "from", s.From, "to", s.To)
	return s.Scenario, nil
}

// Undo makes the lab healthy again. Traffic still goes the same way, so that the
// difference can be shown; it now succeeds.
func (l *Lab) Undo(context.Context) error {
	var errs []error
	for _, f := range slices.Backward(l.undo) {
		errs = append(errs, f())
	}
	l.undo, l.broken = nil, false
	// What conntrack learned from wrong rules would outlive them, and a client's
	// port may come again.
	errs = append(errs, l.node.inside(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }))
	return errors.Join(errs...)
}

// do makes a change now and remembers how to take it back.
func (l *Lab) do(change, back func() error) error {
	if err := change(); err != nil {
		return err
	}
	l.undo = append(l.undo, back)
	return nil
}

// with changes a value of the model and remembers the old one.
func with[T any](l *Lab, at *T, v T) {
	old := *at
	*at = v
	l.undo = append(l.undo, func() error { *at = old; return nil })
}

// sync writes rules after a change of the model, and again after its undoing.
func (l *Lab) sync(write func() error, change func()) error {
	// Undoing goes backwards, so this runs after the model is as before.
	l.undo = append(l.undo, write)
	change()
	return write()
}
