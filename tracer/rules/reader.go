package rules

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

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
	// Now is the clock of Query.Last. With nil, what takes long to read is read for
	// each Query, even if it was read since the flow's last packet.
	Now func() time.Time
}

// Reader reads and evaluates rules. It is safe for concurrent use; calls wait
// for each other. Rules are kept between calls and read again when the kernel
// says that they changed. Counters are read anew, but for those of iptables-legacy: a
// table read since the flow's last packet and less than a second ago stands as it is.
type Reader struct {
	log    *slog.Logger
	proc   string
	open   func(uint32) (*os.File, error)
	host   *os.File
	hostNS uint32
	seed   maphash.Seed
	now    func() time.Time

	mu     sync.Mutex
	spaces map[uint32]*space
	base   map[counterKey][]counted
	based  map[uint32]bool // namespaces with a baseline
	// giveUp is why nf_tables is not read in this call: it could not be read of one
	// generation.
	giveUp error
	// since is the last packet of the flow that this call is about.
	since time.Time
	// tracing is the kernel's own trace, if one was begun.
	tracing *Tracing
}

// Result is what the rules of the node say about one flow.
type Result struct {
	Rules          []tracer.RuleFact
	Services       *tracer.ServiceRules
	Masquerade     []tracer.RuleFact
	MasqueradeRead bool
	// MasqueradeElsewhere as in tracer.NodeFacts.
	MasqueradeElsewhere *tracer.RuleFact
	// Untracked as in tracer.NodeFacts.
	Untracked []tracer.RuleFact
	// Zoned as in tracer.NodeFacts.
	Zoned []tracer.RuleFact
	// Redirected as in tracer.NodeFacts.
	Redirected []tracer.RuleFact
	Blind      []tracer.Blind
}

// AddTo completes facts that package node collected.
func (r *Result) AddTo(f *tracer.NodeFacts) {
	f.Rules, f.Services, f.Masquerade, f.MasqueradeRead = r.Rules, r.Services, r.Masquerade, r.MasqueradeRead
	f.MasqueradeElsewhere, f.Untracked, f.Zoned, f.Redirected = r.MasqueradeElsewhere, r.Untracked, r.Zoned, r.Redirected
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
	return &Reader{log: c.Logger, proc: c.ProcRoot, open: open, host: f, hostNS: uint32(st.Ino), seed: maphash.MakeSeed(), now: c.Now,
		spaces: map[uint32]*space{}, based: map[uint32]bool{}}, nil
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
	// legacyAt is when the entries of legacy were read, last and whole.
	legacyAt time.Time
	links    map[uint32]netlink.Link // those that were asked for; nil stands for none
	// linkNamed asks for a device by its name.
	linkNamed func(string) (netlink.Link, error)
	blind     []tracer.Blind
	failed    bool // rules could not be read
	// broken is why what was read in this call does not fit together.
	broken error
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
	s.file, s.blind, s.legacy, s.failed, s.broken, s.types = f, nil, nil, false, nil, map[netip.Addr]uint8{}
	s.ipsets, s.ipsetNames, s.links = map[string]*ipset{}, map[uint16]string{}, map[uint32]netlink.Link{}
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
	s.linkNamed = s.rt.LinkByName
	s.refresh(r.giveUp)
	legacy := legacyReader{ctx: ctx, proc: r.proc, seed: r.seed, old: old, recent: r.recent(s.legacyAt)}
	if !legacy.recent && r.now != nil {
		s.legacyAt = r.now()
	}
	if s.legacy, err = legacy.readLegacy(f); err != nil {
		s.legacyAt = time.Time{}
		s.missing("iptables-legacy rules", err)
	}
	return s, nil
}

// recentTime bounds how long ago something was read that counts as read now.
const recentTime = time.Second

// recent: what was read at this time was read since the flow's last packet.
func (r *Reader) recent(at time.Time) bool {
	return r.now != nil && !r.since.IsZero() && at.After(r.since) && r.now().Sub(at) < recentTime
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

// refresh lists the tables of nf_tables again if the generation changed. What is
// to be given up is not read, and missing for that reason.
func (s *space) refresh(giveUp error) {
	gen, err := s.conn.generation()
	if errors.Is(err, errUnsupported) {
		s.nft, s.gen = &ruleset{}, 0
		return
	}
	if err == nil {
		err = giveUp
	}
	if err == nil && s.nft != nil && gen == s.gen && gen != 0 {
		for _, t := range s.nft.tables {
			for _, x := range t.sets {
				if x != nil && x.dynamic {
					x.loaded = false // packets change it without a generation
				}
			}
		}
		return
	}
	var rs *ruleset
	if err == nil {
		rs, err = s.conn.tables(s)
	}
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
		s.nft, s.gen, s.broken = &ruleset{}, 0, err
		return
	}
	if err != nil {
		s.nft, s.gen = &ruleset{}, 0
		s.missing("nf_tables rules", err)
		return
	}
	s.nft, s.gen = rs, gen
}

// settled is nil if what was read in this call is of one generation, and still
// stands.
func (s *space) settled() error {
	if s.broken != nil {
		s.gen = 0
		return s.broken
	}
	if s.gen == 0 { // nothing was read
		return nil
	}
	if gen, err := s.conn.generation(); err != nil || gen != s.gen {
		return errors.Join(errChanging, err)
	}
	return nil
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
	s.conn, s.rt, s.file, s.links, s.linkNamed = nil, nil, nil, nil, nil
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

// link asks for one device: a node may have very many. nil if there is none.
func (s *space) link(index uint32) netlink.Link {
	l, known := s.links[index]
	if !known && index != 0 && s.rt != nil {
		l = s.asked(s.rt.LinkByIndex(int(index)))
		s.links[index] = l
	}
	return l
}

// hasLink: the kernel also finds devices by other names that they have.
func (s *space) hasLink(name string) bool {
	if s.linkNamed == nil {
		return false
	}
	l := s.asked(s.linkNamed(name))
	return l != nil && l.Attrs().Name == name
}

// asked is nil if there is no such device. One that cannot be asked for may be the
// device by which a proxy is told (kube-ipvs0), so that what is absent then proves
// nothing.
func (s *space) asked(l netlink.Link, err error) netlink.Link {
	if err == nil {
		return l
	}
	if !errors.As(err, &netlink.LinkNotFoundError{}) {
		s.missing("devices", err)
	}
	return nil
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
