package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// Probe is the loaded kernel side. Its methods may be called concurrently,
// except that only one Run may be under way.
type Probe struct {
	log      *slog.Logger
	config   Config
	kernel   *btf.Spec
	settled  bool   // the tier stays
	confined string // why TCX is not for this process, "" if it is
	tier     Tier
	taps     *ebpf.Collection // device tracepoints that took TCX's place
	coll     *ebpf.Collection
	reader   *ringbuf.Reader
	counters []string // names of enum stat
	reasons  reasons
	symbols  *Symbols
	samples  samples
	clock    clock
	caughtUp atomic.Int64 // nanoseconds since clock.began

	mu      sync.Mutex
	links   map[string]link.Link // of the tracing programs, by name
	devices map[tracer.DeviceKey]deviceLinks
	// unwatched are those that took no program.
	unwatched map[tracer.DeviceKey]unwatched
	level     tracer.BudgetLevel
	// inventory is the last that was set, for a level that watches more again.
	inventory tracer.Inventory
	netns     map[uint32]struct{}
	selected  selected
	epoch     uint32
	blind     []tracer.Blind
	closed    bool
	// learnedChecked is when refreshLearned last looked.
	learnedChecked time.Time
}

// Open loads the programs that the configuration needs and attaches those that
// are not bound to a device. Nothing is selected yet and no namespace counts
// as the node's, so no event comes before Select and SetInventory.
// Errors wrap ErrNoPrivilege, ErrNoBTF or ErrTier where these are the cause.
func Open(c Config) (*Probe, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Symbols == nil {
		c.Symbols = NewSymbols()
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("read kernel types: %w (%w)", ErrNoPrivilege, err)
		}
		return nil, fmt.Errorf("read kernel types: %w (%w)", ErrNoBTF, err)
	}
	// Needed before 5.11 only, where maps count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		c.Logger.Debug("memlock limit stays", "error", err)
	}
	p := &Probe{
		log:      c.Logger,
		config:   c,
		kernel:   kernel,
		reasons:  kernelReasons(kernel),
		symbols:  c.Symbols,
		samples:  newSamples(),
		links:    map[string]link.Link{},
		clock:    newClock(),
		devices:  map[tracer.DeviceKey]deviceLinks{},
		level:    tracer.BudgetFull,
		netns:    map[uint32]struct{}{},
		selected: selected{generation: firstGeneration},
		confined: mayNot(netns.Allowed()),
	}
	go p.symbols.load() // while the kernel verifies the programs
	if err := p.load(c, kernel); err != nil {
		return nil, err
	}
	p.noteBlindness(c)
	if err := p.start(); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// load tries the tier asked for; TierAuto falls back on tracepoints.
func (p *Probe) load(c Config, kernel *btf.Spec) error {
	tier := c.Tier
	hasTCX := kernelHasTCX(kernel)
	switch {
	case c.Wide:
		tier = TierTracepoint
	case tier == TierTCX && !hasTCX:
		return ErrTier
	case tier == TierAuto && hasTCX && p.confined != "":
		tier = TierTracepoint
	case tier == TierAuto && hasTCX:
		err := p.loadTier(c, kernel, TierTCX)
		if err == nil || errors.Is(err, ErrNoPrivilege) {
			return err
		}
		p.log.Warn("no tcx, using tracepoints", "error", err)
		tier = TierTracepoint
	case tier == TierAuto:
		tier = TierTracepoint
	}
	return p.loadTier(c, kernel, tier)
}

func (p *Probe) loadTier(c Config, kernel *btf.Spec, tier Tier) error {
	spec, err := bpf.LoadTrace()
	if err != nil {
		return fmt.Errorf("read embedded programs: %w", err)
	}
	if p.counters, err = counterNames(spec); err != nil {
		return err
	}
	keepPrograms(spec, programsFor(tier, c.DropsOnly))
	if err := spec.Variables[bpf.TraceVarConfig].Set(kernelConfig(c, kernel)); err != nil {
		return fmt.Errorf("set program configuration: %w", err)
	}
	spec.Maps[bpf.TraceMapEvents].MaxEntries = ringSize(c.RingBytes)
	coll, err := loadCollection(spec, kernel)
	if err != nil {
		return loadError(err)
	}
	p.coll, p.tier = coll, tier
	return nil
}

func programsFor(tier Tier, dropsOnly bool) map[string]bool {
	switch {
	case dropsOnly:
		return map[string]bool{bpf.TraceProgKfreeSkb: true}
	case tier == TierTCX:
		return map[string]bool{
			bpf.TraceProgKfreeSkb:   true,
			bpf.TraceProgTcxIngress: true,
			bpf.TraceProgTcxEgress:  true,
		}
	default:
		return map[string]bool{
			bpf.TraceProgKfreeSkb:        true,
			bpf.TraceProgNetifReceiveSkb: true,
			bpf.TraceProgNetDevQueue:     true,
		}
	}
}

func kernelConfig(c Config, kernel *btf.Spec) bpf.TraceConfig {
	cfg := bpf.TraceConfig{
		FirstEvents:  orDefault(c.FirstEvents, 8),
		DropEvents:   orDefault(c.DropEvents, 100),
		ArpEvents:    orDefault(c.ARPEvents, 4),
		SampleEvents: orDefault(c.SampleEvents, 200),
		GenevePort:   orDefault(c.GenevePort, 6081),
		KfreeArgs:    tracepointArgs(kernel, "btf_trace_kfree_skb"),
	}
	if c.DropsAll {
		cfg.DropsAll = 1
	}
	if !c.copyReads && kernelReadsDirectly(kernel) {
		cfg.Direct = 1
	}
	ports := c.VXLANPorts
	if ports == nil {
		ports = []uint16{8472, 4789}
	}
	copy(cfg.VxlanPorts[:], ports)
	return cfg
}

// ringSize rounds up to what the kernel takes: a power of two, a page or more.
func ringSize(bytes int) uint32 {
	n := max(orDefault(bytes, 8<<20), os.Getpagesize())
	return 1 << bits.Len(uint(n-1))
}

// start attaches the tracing programs and opens the ring buffer.
func (p *Probe) start() error {
	p.symbols.load() // now, not while the first drop waits for its name
	r, err := ringbuf.NewReader(p.coll.Maps[bpf.TraceMapEvents])
	if err != nil {
		return fmt.Errorf("open ring buffer: %w", err)
	}
	p.reader = r
	if err := p.setBudgetLocked(levelBudget(p.level, p.config.MaxEvents)); err != nil {
		return err
	}
	return p.attachTracing(p.coll)
}

func (p *Probe) attachTracing(coll *ebpf.Collection) error {
	for name, prog := range coll.Programs {
		if _, attached := p.links[name]; attached || prog.Type() != ebpf.Tracing {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: prog, AttachType: ebpf.AttachTraceRawTp})
		if err != nil {
			return fmt.Errorf("attach tracepoint program %s: %w", name, err)
		}
		p.links[name] = l
	}
	return nil
}

// Tier is the one in use; TierAuto settles it with the first devices.
func (p *Probe) Tier() Tier {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tier
}

// preferTaps goes over to tracepoints, with the tables as they are. No TCX
// program is attached yet, so that no packet is seen twice.
func (p *Probe) preferTaps() error {
	spec, err := bpf.LoadTrace()
	if err != nil {
		return fmt.Errorf("read embedded programs: %w", err)
	}
	keepPrograms(spec, map[string]bool{bpf.TraceProgNetifReceiveSkb: true, bpf.TraceProgNetDevQueue: true})
	if err := spec.Variables[bpf.TraceVarConfig].Set(kernelConfig(p.config, p.kernel)); err != nil {
		return fmt.Errorf("set program configuration: %w", err)
	}
	for name, m := range spec.Maps {
		m.MaxEntries = p.coll.Maps[name].MaxEntries()
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs:        ebpf.ProgramOptions{KernelTypes: p.kernel},
		MapReplacements: p.coll.Maps,
	})
	if err != nil {
		return loadError(err)
	}
	p.taps = coll
	p.tier = TierTracepoint
	return p.attachTracing(coll)
}

func keepPrograms(spec *ebpf.CollectionSpec, wanted map[string]bool) {
	for name := range spec.Programs {
		if !wanted[name] {
			delete(spec.Programs, name)
		}
	}
}

// Close detaches everything and frees it. Events not read are lost: let Run
// return first. Close may be called twice.
func (p *Probe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	for _, d := range p.devices {
		errs = append(errs, d.Close())
	}
	clear(p.devices)
	if p.reader != nil {
		errs = append(errs, p.reader.Close())
	}
	p.coll.Close()
	if p.taps != nil {
		p.taps.Close()
	}
	return errors.Join(errs...)
}
