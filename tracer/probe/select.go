package probe

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/podpath/podpath/bpf"
)

// Selection says which packets to report: those with one end in A and the
// other in B, in either direction, before or after translation.
type Selection struct {
	A, B       []netip.Prefix
	AnyA, AnyB bool
}

// selected is a Selection as the kernel's tables hold it.
type selected struct {
	any bpf.TraceSide
	// unsure: an update failed half-way; the tables may lack some of these.
	unsure bool
	// generation of the learned tuples' filter.
	generation uint8
	hosts      map[netip.Addr]bpf.TraceSide
	prefixes   map[netip.Prefix]bpf.TraceSide
}

// mapped is where IPv4 lives among the 16-byte keys.
var mappedBits = 96

// compile splits a selection into single addresses and prefixes. IPv4 stays
// IPv4 here; lpmKey maps it.
func compile(s Selection) (selected, error) {
	out := selected{
		hosts:    map[netip.Addr]bpf.TraceSide{},
		prefixes: map[netip.Prefix]bpf.TraceSide{},
	}
	if s.AnyA {
		out.any |= bpf.TraceSideSIDE_A
	}
	if s.AnyB {
		out.any |= bpf.TraceSideSIDE_B
	}
	for _, side := range []struct {
		bit  bpf.TraceSide
		list []netip.Prefix
	}{{bpf.TraceSideSIDE_A, s.A}, {bpf.TraceSideSIDE_B, s.B}} {
		for _, p := range side.list {
			if !p.IsValid() {
				return out, fmt.Errorf("select %q: not a prefix", p)
			}
			p = netip.PrefixFrom(p.Addr().WithZone(""), p.Bits()).Masked()
			if p.Addr().Is4In6() && p.Bits() >= mappedBits {
				p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
			}
			if p.IsSingleIP() {
				out.hosts[p.Addr()] |= side.bit
			} else {
				out.prefixes[p] |= side.bit
			}
		}
	}
	out.accumulate()
	return out, nil
}

// accumulate gives every prefix the sides of those that hold it, because the
// kernel's look-up stops at the longest. An IPv6 prefix that holds the mapped
// range must not reach IPv4: the whole of IPv4 then gets an entry of its own.
func (s *selected) accumulate() {
	list := make([]netip.Prefix, 0, len(s.prefixes))
	for p := range s.prefixes {
		list = append(list, p)
	}
	// Whatever holds a prefix stands right before it, or holds what does.
	slices.SortFunc(list, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	v4, holdsMapped := netip.MustParsePrefix("0.0.0.0/0"), false
	var holders []netip.Prefix
	for _, p := range list {
		for len(holders) > 0 && !holders[len(holders)-1].Contains(p.Addr()) {
			holders = holders[:len(holders)-1]
		}
		if len(holders) > 0 {
			s.prefixes[p] |= s.prefixes[holders[len(holders)-1]]
		}
		holders = append(holders, p)
		if p.Addr().Is6() && p.Contains(netip.MustParseAddr("::ffff:0:0")) {
			holdsMapped = true
		}
	}
	if _, ok := s.prefixes[v4]; holdsMapped && !ok {
		s.prefixes[v4] = 0
	}
}

func lpmKey(p netip.Prefix) bpf.TraceLpmKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += mappedBits
	}
	return bpf.TraceLpmKey{PrefixLen: uint32(bits), Addr: rawAddress(p.Addr())}
}

// Select replaces the selection. Packets that both the old and the new one
// select are never missed: the kernel passes through a state that selects what
// either does.
func (p *Probe) Select(s Selection) error {
	next, err := compile(s)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	next.generation = p.selected.generation
	if err := p.fits(next); err != nil {
		return err
	}
	union := p.selected.union(next)
	if p.selected.unsure || p.fits(union) != nil {
		// No room for both, or none known: the old must go first.
		if err := p.remove(next); err != nil {
			return err
		}
	} else if err := p.apply(union); err != nil {
		return err
	}
	return p.apply(next)
}

func (p *Probe) fits(s selected) error {
	if n, most := len(s.hosts), p.coll.Maps[bpf.TraceMapHosts].MaxEntries(); n > int(most) {
		return fmt.Errorf("select %d addresses: %w (%d): use prefixes", n, ErrTooMany, most)
	}
	if n, most := len(s.prefixes), p.coll.Maps[bpf.TraceMapPrefixes].MaxEntries(); n > int(most) {
		return fmt.Errorf("select %d prefixes: %w (%d)", n, ErrTooMany, most)
	}
	return nil
}

// remove takes out of the tables what next does not hold.
func (p *Probe) remove(next selected) error {
	err := errors.Join(
		removeEntries(p.coll.Maps[bpf.TraceMapHosts], p.selected.hosts, next.hosts, rawAddress),
		removeEntries(p.coll.Maps[bpf.TraceMapPrefixes], p.selected.prefixes, next.prefixes, lpmKey))
	if err != nil {
		return fmt.Errorf("remove old selection: %w", err)
	}
	return nil
}

// apply makes the kernel's tables those of next: entries first, then the
// filter in front of them, and the removals last.
func (p *Probe) apply(next selected) error {
	hosts, prefixes := p.coll.Maps[bpf.TraceMapHosts], p.coll.Maps[bpf.TraceMapPrefixes]
	old := p.selected
	// Whatever fails: what may be in the tables is to be removed next time.
	p.selected = old.union(next)
	p.selected.unsure = true
	if old.unsure {
		old.hosts, old.prefixes = nil, nil
	}
	if err := addEntries(hosts, old.hosts, next.hosts, rawAddress); err != nil {
		return fmt.Errorf("select %d addresses: %w", len(next.hosts), err)
	}
	if err := addEntries(prefixes, old.prefixes, next.prefixes, lpmKey); err != nil {
		return fmt.Errorf("select %d prefixes: %w", len(next.prefixes), err)
	}
	if err := p.coll.Variables[bpf.TraceVarSelection].Set(next.filter()); err != nil {
		return fmt.Errorf("set selection: %w", err)
	}
	if err := p.remove(next); err != nil {
		return err
	}
	p.selected = next
	return p.nextEpochLocked()
}

// nextEpochLocked makes the programs look up every flow again, now that the
// tables are what they are to be.
func (p *Probe) nextEpochLocked() error {
	p.epoch++
	if err := p.coll.Variables[bpf.TraceVarEpoch].Set(p.epoch); err != nil {
		return fmt.Errorf("begin epoch: %w", err)
	}
	return nil
}

// union selects what either does. A prefix of one may hide a shorter one of
// the other; whoever was selected by that and still is, is by another entry.
func (s selected) union(o selected) selected {
	return selected{
		any:        s.any | o.any,
		generation: o.generation,
		hosts:      unionOf(s.hosts, o.hosts),
		prefixes:   unionOf(s.prefixes, o.prefixes),
	}
}

func unionOf[K comparable](a, b map[K]bpf.TraceSide) map[K]bpf.TraceSide {
	out := make(map[K]bpf.TraceSide, len(a)+len(b))
	for k, side := range a {
		out[k] = side
	}
	for k, side := range b {
		out[k] |= side
	}
	return out
}

func (s *selected) filter() bpf.TraceSelection {
	f := bpf.TraceSelection{Any: uint32(s.any), Generation: s.generation}
	for a, side := range s.hosts {
		f.Hosts[addrSlot(rawAddress(a))] |= uint8(side)
	}
	for p, side := range s.prefixes {
		if side != 0 {
			markPrefix(&f, p)
		}
	}
	return f
}

// markPrefix sets the bit of every 16-bit beginning that the prefix covers.
func markPrefix(f *bpf.TraceSelection, p netip.Prefix) {
	bitmap, used := f.Prefixes4[:], &f.Prefixed4
	if p.Addr().Is6() {
		bitmap, used = f.Prefixes6[:], &f.Prefixed6
	}
	*used = 1
	b := p.Addr().AsSlice()
	top := int(b[0])<<8 | int(b[1])
	for i := range 1 << max(0, 16-p.Bits()) {
		bitmap[(top+i)/8] |= 1 << ((top + i) % 8)
	}
}

func addEntries[K comparable, R any](m *ebpf.Map, old, next map[K]bpf.TraceSide, raw func(K) R) error {
	for k, side := range next {
		if was, ok := old[k]; ok && was == side {
			continue
		}
		if err := m.Put(raw(k), side); err != nil {
			return err
		}
	}
	return nil
}

func removeEntries[K comparable, R any](m *ebpf.Map, old, next map[K]bpf.TraceSide, raw func(K) R) error {
	var errs []error
	for k := range old {
		if _, ok := next[k]; ok {
			continue
		}
		if err := m.Delete(raw(k)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// addrSlot is addr_slot of bpf/include/select.h: if they disagree, no address
// is ever selected.
func addrSlot(a bpf.TraceAddr) uint32 {
	return mix(a.Word[0], a.Word[1], a.Word[2], a.Word[3])
}

func mix(a, b, c, d uint32) uint32 {
	h := a*0x9e3779b1 ^ b*0x85ebca77 ^ c*0xc2b2ae3d ^ d*0x27d4eb2f
	h ^= h >> 15
	h *= 0x9e3779b1
	return h >> 18
}
