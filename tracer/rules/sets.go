package rules

import (
	"bytes"
)

// lookup evaluates a set match, a map or a verdict map.
func (m *machine) lookup(t *table, x lookup) (tri, []action) {
	s := t.set(x.set)
	if s != nil && m.asNew && holdsClients(s.name) && !x.invert && x.dreg == -1 {
		return triNo, nil
	}
	if s == nil || s.opaque || x.sreg < 0 || s.keyLen <= 0 || s.keyLen > 64-x.sreg {
		return triMaybe, nil
	}
	elems, err := s.elements()
	if err != nil {
		m.err = err
		return triMaybe, nil
	}
	found, sure := s.find(m.reg.slice(x.sreg, s.keyLen), elems)
	if x.dreg == -1 {
		t := triNo
		if len(found) > 0 {
			t = sure
		}
		if x.invert {
			t = t.not()
		}
		if t == triYes {
			m.sets = append(m.sets, s.name)
		}
		return t, nil
	}
	if len(found) == 0 {
		return triNo, nil
	}
	if x.dreg == verdictReg {
		return m.verdictMap(s, found, sure)
	}
	if sure == triYes {
		v := unknownBytes(len(found[0].data))
		v.put(0, found[0].data...)
		m.store(x.dreg, v)
		return triYes, nil
	}
	m.store(x.dreg, unknownBytes(len(found[0].data)))
	return triMaybe, nil
}

// verdictMap gives the verdict, or each that is possible. If the key is not
// known the rule may also not match at all; that is part of "maybe", except
// where a generator of numbers is the key, which the walk treats the same.
func (m *machine) verdictMap(s *set, found []element, sure tri) (tri, []action) {
	var acts []action
	for _, e := range found {
		if e.verdict == nil {
			acts = append(acts, perhapsDrop(unknown{"verdict of an element", true}))
			sure = triMaybe
			continue
		}
		if e.verdict.kind == vContinue || e.verdict.kind == vBreak {
			continue
		}
		acts = append(acts, action{verdict: *e.verdict, sure: sure, via: s.name, said: e.comment})
	}
	if sure == triYes {
		m.sets = append(m.sets, s.name)
	}
	return sure, acts
}

// find returns the element that a key belongs to with triYes, or every element
// that it may belong to with triMaybe, or none.
func (s *set) find(key bytes3, elems []element) ([]element, tri) {
	if s.interval && len(s.fields) == 0 {
		return s.findInterval(key, elems)
	}
	var out []element
	var all *element
	for i := range elems {
		e := &elems[i]
		if e.catchAll {
			all = e
			continue
		}
		switch t := s.matches(key, e); t {
		case triYes:
			return elems[i : i+1], e.surely()
		case triMaybe:
			out = append(out, *e)
		}
	}
	if len(out) == 0 && all != nil {
		return []element{*all}, all.surely()
	}
	if all != nil {
		out = append(out, *all)
	}
	return out, triMaybe
}

// surely is how sure it is that an element with the packet's key matches.
func (e *element) surely() tri {
	if e.doubtful {
		return triMaybe
	}
	return triYes
}

func (s *set) matches(key bytes3, e *element) tri {
	if len(e.key) < s.keyLen {
		return triMaybe
	}
	if len(e.keyEnd) != len(e.key) || len(s.fields) == 0 {
		return same(key, e.key[:s.keyLen])
	}
	// Each field of a concatenation stands in its own 32-bit registers and is
	// compared as a number in network order (nft_set_pipapo).
	out, off := triYes, 0
	for _, n := range s.fields {
		if off+n > len(e.key) || off+n > len(key.b) {
			return triMaybe
		}
		out = and(out, between(key.slice(off, n), e.key[off:off+n], e.keyEnd[off:off+n]))
		off += (n + 3) &^ 3
	}
	return out
}

func between(v bytes3, from, to []byte) tri {
	if bytes.Equal(from, to) {
		return same(v, from)
	}
	if !allKnown(v) {
		return triMaybe
	}
	return yesIf(bytes.Compare(v.b, from) >= 0 && bytes.Compare(v.b, to) <= 0)
}

// findInterval searches a set whose elements begin or end an interval; the end
// is exclusive, and an interval without one reaches to the last value.
func (s *set) findInterval(key bytes3, elems []element) ([]element, tri) {
	if !allKnown(key) {
		return elems, triMaybe
	}
	var best, all *element
	for i := range elems {
		e := &elems[i]
		if e.catchAll {
			all = e
			continue
		}
		if len(e.key) < s.keyLen || bytes.Compare(e.key[:s.keyLen], key.b) > 0 {
			continue
		}
		// At the same value, the beginning of the next interval counts more
		// than the end of the one before.
		if c := 1; best == nil || func() bool { c = bytes.Compare(e.key, best.key); return c > 0 || c == 0 && best.end }() {
			best = e
		}
	}
	if best != nil && !best.end {
		return []element{*best}, best.surely()
	}
	if all != nil {
		return []element{*all}, all.surely()
	}
	return nil, triNo
}
