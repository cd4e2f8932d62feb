package rules

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/podpath/podpath/tracer"
)

// What puts answers, and not their requests, into another zone of conntrack is told.
func TestZoned(t *testing.T) {
	pre := nftables.ChainHookPrerouting
	set := func(zone byte) es {
		return es{&expr.Immediate{Register: 1, Data: native.AppendUint16(nil, uint16(zone))}, &expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true}}
	}
	answers := es{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{6000 >> 8, 6000 & 0xff}},
	}
	byMark := es{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, &expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true}}
	both := func(a, b es) es { return append(append(es{}, a...), b...) }
	for _, tc := range []struct {
		name  string
		build func(l *lab, raw *nftables.Chain)
		want  string
	}{
		{"answers", func(l *lab, raw *nftables.Chain) { l.rule(raw, "answers", both(answers, set(7))) }, "answers"},
		{"requests", func(l *lab, raw *nftables.Chain) { l.rule(raw, "requests", both(udp(6000), set(7))) }, "requests"},
		{"everything, and answers differently", func(l *lab, raw *nftables.Chain) {
			l.rule(raw, "all", set(3))
			l.rule(raw, "answers", both(answers, set(7)))
		}, "answers"},
		{"everything", func(l *lab, raw *nftables.Chain) { l.rule(raw, "all", set(3)) }, ""},
		{"both, the same", func(l *lab, raw *nftables.Chain) {
			l.rule(raw, "requests", both(udp(6000), set(7)))
			l.rule(raw, "answers", both(answers, set(7)))
		}, ""},
		{"others", func(l *lab, raw *nftables.Chain) { l.rule(raw, "others", both(udp(5000), set(7))) }, ""},
		{"by a mark", func(l *lab, raw *nftables.Chain) { l.rule(raw, "marked", both(answers, byMark)) }, ""},
		{"whether it matches is not known", func(l *lab, raw *nftables.Chain) { l.rule(raw, "", both(strange(), set(7))) }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.warm(6000)
			tc.build(l, l.base(l.table(nftables.TableFamilyINet, "raw"), "first", pre, -300, acceptAll))
			l.flush()
			q := l.query(6000)
			q.Translated = q.Flow
			got := ""
			for _, f := range l.collect(q).Zoned {
				got += f.Comment
				if f.Verdict != "zone" || f.Chain != "first" || !strings.Contains(f.Text, "ct zone set 7") {
					t.Errorf("%+v", f)
				}
			}
			if got != tc.want {
				t.Errorf("zoned by %q, want %q", got, tc.want)
			}
			q.Translated = tracer.Tuple{Src: netip.AddrPort{}}
			if list := l.collect(q).Zoned; list != nil {
				t.Errorf("of a flow whose way is not known: %+v", list)
			}
		})
	}
}

// The zone of iptables' CT, from the kernel's bytes and from iptables-save.
func TestXTZone(t *testing.T) {
	for _, tc := range []struct {
		flags, zone uint16
		want        ctZone
	}{{0, 7, 7}, {xtCTZoneOrig, 7, 0}, {xtCTZoneRepl, 7, 0}, {xtCTZoneMark, 0, unknownZone}, {0, 0, 0}} {
		b := native.AppendUint16(native.AppendUint16(nil, tc.flags), tc.zone)
		if x, ok := decodeTarget("CT", 2, b).(untrack); !ok || x.whole || x.zone != tc.want {
			t.Errorf("flags %d, zone %d: %+v", tc.flags, tc.zone, x)
		}
	}
	for s, want := range map[string]ctZone{"": 0, "7": 7, "0x10": 16, "mark": unknownZone, "70000": unknownZone} {
		if got := saveZone(s); got != want {
			t.Errorf("--zone %s: %d, want %d", s, got, want)
		}
	}
}
