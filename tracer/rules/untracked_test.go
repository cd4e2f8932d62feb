package rules

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// What a rule before conntrack exempts is told, and nothing else is.
func TestUntracked(t *testing.T) {
	pre, notrack := nftables.ChainHookPrerouting, es{&expr.Notrack{}}
	for _, tc := range []struct {
		name  string
		build func(l *lab)
		want  string // chain and comment
	}{
		{"in a raw chain", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyINet, "raw"), "first", pre, -300, acceptAll)
			l.rule(c, "others", udp(5000), notrack)
			l.rule(c, "these", udp(6000), notrack)
		}, "first these"},
		{"in a chain that is jumped to", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "raw")
			c := l.base(tb, "PREROUTING", pre, -300, acceptAll)
			l.rule(l.chain(tb, "exempt"), "all", notrack)
			l.rule(c, "", udp(6000), jump("exempt"))
		}, "exempt all"},
		{"only others", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyINet, "raw"), "first", pre, -300, acceptAll), "", udp(5000), notrack)
		}, ""},
		{"after conntrack", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyINet, "late"), "late", pre, -150, acceptAll), "", udp(6000), notrack)
		}, ""},
		{"for other hooks", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyINet, "raw"), "out", nftables.ChainHookOutput, -300, acceptAll), "", udp(6000), notrack)
		}, ""},
		{"whether it matches is not known", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyINet, "raw"), "first", pre, -300, acceptAll), "", strange(), notrack)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.warm(6000)
			tc.build(l)
			l.flush()
			got := ""
			for _, f := range l.collect(l.query(6000)).Untracked {
				got += f.Chain + " " + f.Comment
				if f.Verdict != "notrack" || f.Hook != "prerouting" {
					t.Errorf("%+v", f)
				}
			}
			if got != tc.want {
				t.Errorf("untracked by %q, want %q", got, tc.want)
			}
		})
	}
}
