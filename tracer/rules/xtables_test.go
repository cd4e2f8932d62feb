package rules

import (
	"hash/maphash"
	"reflect"
	"slices"
	"testing"
)

// xtBuilder writes entries as the kernel hands them out.
type xtBuilder struct {
	l        xtLayout
	info, b  []byte
	inserted uint32
}

func newXtBuilder(f family) *xtBuilder {
	return &xtBuilder{l: xtLayouts[f], info: make([]byte, xtInfoLen)}
}

// hook begins the chain of a hook, which end ends.
func (x *xtBuilder) hook(h int) {
	native.PutUint32(x.info[xtNameLen:], native.Uint32(x.info[xtNameLen:])|1<<h)
	native.PutUint32(x.info[xtNameLen+4+4*h:], uint32(len(x.b)))
}

func (x *xtBuilder) policy(h int) {
	native.PutUint32(x.info[xtNameLen+4+4*xtHooks+4*h:], uint32(len(x.b)))
	x.entry("", make([]byte, 8), 99)
}

func (x *xtBuilder) entry(target string, payload []byte, packets uint64) {
	e := make([]byte, x.l.entry+xtTargetHead)
	native.PutUint16(e[x.l.target:], uint16(x.l.entry))
	native.PutUint16(e[x.l.next:], uint16(len(e)+len(payload)))
	native.PutUint64(e[x.l.counters:], packets)
	native.PutUint64(e[x.l.counters+8:], packets*60)
	copy(e[x.l.entry+2:], target)
	x.b = append(append(x.b, e...), payload...)
	x.inserted++
	native.PutUint32(x.info[xtInfoLen-8:], x.inserted)
}

// chain is one that people or components made; it ends with a return.
func (x *xtBuilder) chain(name string, packets ...uint64) {
	x.entry("ERROR", append([]byte(name), make([]byte, 32-len(name))...), 0)
	for _, n := range packets {
		x.entry("DROP", []byte("12345678"), n)
	}
	x.entry("", make([]byte, 8), 7)
}

func filterEntries(f family, mark string, first uint64) *xtBuilder {
	x := newXtBuilder(f)
	x.hook(1)
	x.policy(1)
	x.hook(2)
	x.entry("", []byte(mark), first)
	x.entry("DROP", make([]byte, 64), 2)
	x.policy(2)
	x.chain("A", 3)
	x.chain("empty")
	x.entry("ERROR", append([]byte("ERROR"), make([]byte, 27)...), 0)
	return x
}

func TestXtableDecode(t *testing.T) {
	for _, f := range []family{famIP, famIP6} {
		x := filterEntries(f, "12345678", 1)
		got, err := x.l.decode(x.info, x.b)
		must(t, err)
		want := []xchain{{"INPUT", []uint64{}}, {"FORWARD", []uint64{1, 2}}, {"A", []uint64{3}}, {"empty", []uint64{}}}
		if !reflect.DeepEqual(got.chains, want) {
			t.Errorf("%v, want %v", got.chains, want)
		}
		// Counters make no difference to what a table is compared by, all else does.
		other, changed := filterEntries(f, "12345678", 77), filterEntries(f, "x2345678", 1)
		seed := maphash.MakeSeed()
		for _, y := range []*xtBuilder{other, changed} {
			_, err := y.l.decode(y.info, y.b)
			must(t, err)
		}
		if maphash.Bytes(seed, x.b) != maphash.Bytes(seed, other.b) || maphash.Bytes(seed, x.b) == maphash.Bytes(seed, changed.b) {
			t.Error("counters are compared, or rules are not")
		}
		for cut := 1; cut < len(x.b); cut += 7 {
			if got, err := x.l.decode(x.info, x.b[:cut]); err == nil && slices.ContainsFunc(got.chains, func(c xchain) bool { return c.name == "empty" }) {
				t.Errorf("cut off at %d of %d: %v", cut, len(x.b), got.chains)
			}
		}
	}
}

// Counters go to the rules that they are of, or to none.
func TestXtableCounts(t *testing.T) {
	rs := &ruleset{}
	parseSave(rs, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n:empty - [0:0]\n-A FORWARD -j A\n-A FORWARD -j DROP\n-A A -j DROP\nCOMMIT\n", famIP)
	x := filterEntries(famIP, "12345678", 1)
	now, err := x.l.decode(x.info, x.b)
	must(t, err)
	tb := rs.tables[0]
	must(t, tb.count(now))
	for _, r := range append(slices.Clone(tb.chain("FORWARD").rules), tb.chain("A").rules...) {
		if n, ok := r.packets(); !ok || n == 0 || n != map[string]uint64{"-A FORWARD -j A": 1, "-A FORWARD -j DROP": 2, "-A A -j DROP": 3}[r.text] {
			t.Errorf("%s: %d %v", r.text, n, ok)
		}
	}
	tb.chain("A").rules = nil
	if tb.count(now) == nil {
		t.Error("counters of other rules are taken")
	}
}

// Whatever the kernel answers, no entry is read twice or beyond the end.
func FuzzXtable(f *testing.F) {
	x := filterEntries(famIP, "12345678", 1)
	f.Add(x.info, x.b, false)
	x = filterEntries(famIP6, "12345678", 1)
	f.Add(x.info, x.b, true)
	f.Fuzz(func(t *testing.T, info, b []byte, v6 bool) {
		if len(info) != xtInfoLen {
			return
		}
		l := xtLayouts[famIP]
		if v6 {
			l = xtLayouts[famIP6]
		}
		got, err := l.decode(info, b)
		if err != nil {
			return
		}
		n := 0
		for _, c := range got.chains {
			n += len(c.packets)
		}
		if n > len(b)/l.entry {
			t.Errorf("%d rules in %d bytes", n, len(b))
		}
	})
}
