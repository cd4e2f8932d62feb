package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// Config says which node's rules to read.
type Config struct {
	// Logger gets debug records; nil discards.
	Logger *slog.Logger
	// HostNetNS is a path to the node's own namespace; "" is the caller's.
	HostNetNS string
	// ProcRoot is where the node's procfs is mounted; "" is "/proc".
	ProcRoot string
	// OpenNetNS opens another namespace of the node by inode, for drops inside
	// pods; nil leaves those unexplained. The Reader closes what it returns.
	OpenNetNS func(inode uint32) (*os.File, error)
}

// Reader reads and evaluates rules. It is safe for concurrent use; calls wait
// for each other. Rules are kept between calls and read again when the kernel
// says that they changed; counters are always read anew.
type Reader struct {
	log    *slog.Logger
	proc   string
	open   func(uint32) (*os.File, error)
	host   *os.File
	hostNS uint32

	mu     sync.Mutex
	spaces map[uint32]*space
	base   map[counterKey]uint64
	based  map[uint32]bool // namespaces with a baseline
	// tracing is the kernel's own trace, if one was begun.
	tracing *Tracing
}

type counterKey struct {
	netns  uint32
	table  tableKey
	engine string
	chain  string
	handle uint64
}

// Result is what the rules of the node say about one flow.
type Result struct {
	Rules          []tracer.RuleFact
	Services       *tracer.ServiceRules
	Masquerade     []tracer.RuleFact
	MasqueradeRead bool
	// MasqueradeElsewhere as in tracer.NodeFacts.
	MasqueradeElsewhere *tracer.RuleFact
	Blind               []tracer.Blind
}

// AddTo completes facts that package node collected.
func (r *Result) AddTo(f *tracer.NodeFacts) {
	f.Rules, f.Services, f.Masquerade, f.MasqueradeRead = r.Rules, r.Services, r.Masquerade, r.MasqueradeRead
	f.MasqueradeElsewhere = r.MasqueradeElsewhere
	f.Blind = append(f.Blind, r.Blind...)
}

// New opens the node's namespace. Close releases it.
func New(c Config) (*Reader, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ProcRoot == "" {
		c.ProcRoot = "/proc"
	}
	path := c.HostNetNS
	if path == "" {
		path = c.ProcRoot + "/self/ns/net"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open the node's network namespace %s: %w", path, err)
	}
	open := c.OpenNetNS
	if open == nil {
		open = func(uint32) (*os.File, error) { return nil, errors.New("no way to open other namespaces was given") }
	}
	return &Reader{log: c.Logger, proc: c.ProcRoot, open: open, host: f, hostNS: uint32(st.Ino),
		spaces: map[uint32]*space{}, base: map[counterKey]uint64{}, based: map[uint32]bool{}}, nil
}

// Close releases the node's namespace.
func (r *Reader) Close() error { return r.host.Close() }

// space is one namespace and what was read of it.
type space struct {
	inode uint32
	gen   uint32
	nft   *ruleset
	// The rest lives for one call.
	file   *os.File
	conn   *conn
	rt     *netlink.Handle
	legacy *ruleset
	links  []netlink.Link
	blind  []tracer.Blind
	failed bool // rules could not be read
	types  map[netip.Addr]uint8
	// Sets of ipset by name, and names by index.
	ipsets     map[string]*ipset
	ipsetNames map[uint16]string
}

// enter opens a namespace for one call and brings its rules up to date.
func (r *Reader) enter(ctx context.Context, inode uint32) (*space, error) {
	s := r.spaces[inode]
	if s == nil {
		s = &space{inode: inode}
		r.spaces[inode] = s
	}
	if s.conn != nil {
		return s, nil // already entered in this call
	}
	f, err := r.openFile(inode)
	if err != nil {
		delete(r.spaces, inode)
		return nil, err
	}
	old := s.legacy
	s.file, s.blind, s.legacy, s.failed, s.types = f, nil, nil, false, map[netip.Addr]uint8{}
	s.ipsets, s.ipsetNames = map[string]*ipset{}, map[uint16]string{}
	err = netns.Do(int(f.Fd()), func() (err error) {
		if s.rt, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open rtnetlink: %w", err)
		}
		s.conn, err = dial(ctx, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		s.leave()
		return nil, fmt.Errorf("netns %d: %w", inode, err)
	}
	if err = s.readLinks(s.rt.LinkList); err != nil {
		s.leave()
		return nil, fmt.Errorf("list links in netns %d: %w", inode, err)
	}
	s.refresh()
	s.legacy, err = readLegacy(ctx, f, r.proc, old)
	if err != nil {
		s.missing("iptables-legacy rules", err)
	}
	return s, nil
}

// readLinks lists the devices, again if a change interrupts the list. One that stays
// incomplete may lack the device by which a proxy is told (kube-ipvs0), so that what
// is absent proves nothing.
func (s *space) readLinks(list func() ([]netlink.Link, error)) (err error) {
	for range readTries {
		if s.links, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	s.missing("devices", err)
	return nil
}

func (r *Reader) openFile(inode uint32) (*os.File, error) {
	if inode != r.hostNS {
		f, err := r.open(inode)
		if err != nil {
			return nil, fmt.Errorf("open netns %d: %w", inode, err)
		}
		return f, nil
	}
	fd, err := unix.FcntlInt(r.host.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the node's namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "netns"), nil
}

// refresh reads nf_tables again if the generation changed.
func (s *space) refresh() {
	gen, err := s.conn.generation()
	if errors.Is(err, errUnsupported) {
		s.nft = &ruleset{}
		return
	}
	if err == nil && s.nft != nil && gen == s.gen && gen != 0 {
		for _, t := range s.nft.tables {
			for _, x := range t.sets {
				if x.dynamic {
					x.loaded = false // packets change it without a generation
				}
			}
		}
		return
	}
	rs, gen, err := s.conn.read(func(f family, table, set string) ([]element, error) { return s.conn.elements(f, table, set) })
	if err != nil {
		s.nft = &ruleset{}
		s.gen = 0
		s.missing("nf_tables rules", err)
		return
	}
	for _, t := range rs.tables {
		t.ipsetName = s.nameOf
	}
	s.nft, s.gen = rs, gen
}

// nameOf is for texts of rules, which hold sets of ipset by index.
func (s *space) nameOf(index uint16) string {
	if s.conn == nil {
		return ""
	}
	name, err := s.ipsetName(index)
	if err != nil {
		return ""
	}
	return name
}

func (s *space) missing(what string, err error) {
	s.failed = true
	s.note(what, fmt.Sprintf("%v; rules that drop or translate may exist unseen", err))
}

func (s *space) note(what, effect string) {
	b := tracer.Blind{What: what, Effect: effect}
	for _, have := range s.blind {
		if have == b {
			return
		}
	}
	s.blind = append(s.blind, b)
}

func (s *space) leave() {
	if s.conn != nil {
		s.conn.close()
	}
	if s.rt != nil {
		s.rt.Close()
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	s.conn, s.rt, s.file, s.links = nil, nil, nil, nil
}

// leaveAll ends a call.
func (r *Reader) leaveAll() {
	for inode, s := range r.spaces {
		if s.conn != nil || s.file != nil {
			s.leave()
		}
		if inode != r.hostNS {
			delete(r.spaces, inode) // pods come and go
		}
	}
}

// all is every rule of the namespace.
func (s *space) all() *ruleset {
	out := &ruleset{tables: append([]*table(nil), s.nft.tables...)}
	if s.legacy != nil {
		out.tables = append(out.tables, s.legacy.tables...)
	}
	return out
}

func (s *space) link(index uint32) netlink.Link {
	for _, l := range s.links {
		if uint32(l.Attrs().Index) == index {
			return l
		}
	}
	return nil
}

func (s *space) hasLink(name string) bool {
	for _, l := range s.links {
		if l.Attrs().Name == name || strings.HasSuffix(name, "*") && strings.HasPrefix(l.Attrs().Name, strings.TrimSuffix(name, "*")) {
			return true
		}
	}
	return false
}

func (s *space) device(index uint32) device {
	l := s.link(index)
	if l == nil {
		return device{}
	}
	return device{index: index, name: l.Attrs().Name}
}

// routed is the device that IP hooks see for a packet that entered by one: the
// bridge, if it is a bridge's port.
func (s *space) routed(index uint32) device {
	l := s.link(index)
	if l == nil {
		return device{}
	}
	if m := s.link(uint32(l.Attrs().MasterIndex)); m != nil && m.Type() == "bridge" {
		return s.device(uint32(m.Attrs().Index))
	}
	return s.device(index)
}

// addrType is inet_addr_type: what the local table says of an address.
func (s *space) addrType(a netip.Addr) (uint8, bool) {
	if t, ok := s.types[a]; ok {
		return t, true
	}
	if !a.IsValid() || s.rt == nil {
		return 0, false
	}
	t := uint8(unix.RTN_UNICAST)
	switch rs, err := s.rt.RouteGet(net.IP(a.AsSlice())); {
	case a.IsMulticast():
		t = unix.RTN_MULTICAST
	case err == nil && len(rs) > 0:
		switch rs[0].Type {
		case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST:
			t = uint8(rs[0].Type)
		}
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EACCES):
		// No route to it, so it is no local address.
	default:
		return 0, false
	}
	s.types[a] = t
	return t, true
}

// output is the device that a packet would leave by.
func (s *space) output(t tracer.Tuple, iif uint32, mark uint32) device {
	opt := &netlink.RouteGetOptions{IifIndex: int(iif), Mark: mark}
	if iif != 0 {
		opt.SrcAddr = net.IP(t.Src.Addr().AsSlice())
	}
	rs, err := s.rt.RouteGetWithOptions(net.IP(t.Dst.Addr().AsSlice()), opt)
	if err != nil || len(rs) == 0 || rs[0].Type != unix.RTN_UNICAST {
		return device{}
	}
	return s.device(uint32(rs[0].LinkIndex))
}

// Baseline remembers the counters of the node's own rules, so that Collect can
// tell which of them moved during the trace.
func (r *Reader) Baseline(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.leaveAll()
	delete(r.spaces, r.hostNS) // cached rules carry old counters
	s, err := r.enter(ctx, r.hostNS)
	if err != nil {
		return err
	}
	if s.failed {
		return fmt.Errorf("read rules: %s", s.blind[0].Effect)
	}
	r.base = map[counterKey]uint64{}
	for _, t := range s.all().tables {
		for _, c := range t.order {
			for _, rl := range c.rules {
				if n, ok := rl.packets(); ok {
					r.base[keyOf(r.hostNS, rl)] = n
				}
			}
		}
	}
	r.based = map[uint32]bool{r.hostNS: true}
	return nil
}

func keyOf(netns uint32, rl *rule) counterKey {
	return counterKey{netns, rl.chain.table.tableKey, rl.chain.table.engine, rl.chain.name, rl.handle}
}

// moved is how far a rule's counter went since the baseline; false if it has
// no counter or there is no baseline.
func (r *Reader) moved(s *space, rl *rule) (uint64, bool) {
	now, ok := rl.packets()
	if !ok || !r.based[s.inode] {
		return 0, false
	}
	if rl.chain.table.engine != "iptables-legacy" {
		fresh, err := s.conn.counters(rl.chain)
		if err != nil {
			return 0, false
		}
		if now, ok = fresh[rl.handle]; !ok {
			return 0, false
		}
	}
	before := r.base[keyOf(s.inode, rl)]
	if now < before {
		before = 0 // a table was made anew under the same handles
	}
	return now - before, true
}
