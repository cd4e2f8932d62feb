package rules

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// What is read again says the same as what is read for the first time, whatever
// changed in between, and what did not change is not parsed again.
func TestSaveReadAgain(t *testing.T) {
	save := func(lines ...string) string {
		return "*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n" + strings.Join(lines, "\n") + "\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n[1:1] -A A -p tcp -j RETURN\nCOMMIT\n"
	}
	const jump, drop, last = "-A FORWARD -p tcp -m comment --comment \"to A\" -j A", "-A A -p tcp -m tcp --dport 80 -j DROP", "-A FORWARD -j ACCEPT"
	first := save("[1:1] "+jump, "[2:2] "+drop, "[3:3] "+last)
	for name, then := range map[string]string{
		"nothing":           first,
		"counters":          save("[7:7] "+jump, "[8:8] "+drop, "[9:9] "+last),
		"a rule in front":   save("[0:0] -A FORWARD -p udp -j DROP", "[1:1] "+jump, "[2:2] "+drop, "[3:3] "+last),
		"a rule less":       save("[2:2] "+drop, "[3:3] "+last),
		"another rule":      save("[1:1] "+jump, "[2:2] -A A -p tcp -m tcp --dport 81 -j DROP", "[3:3] "+last),
		"a chain less":      "*filter\n:FORWARD DROP [0:0]\n[3:3] " + last + "\nCOMMIT\n",
		"an unknown option": save("[1:1] "+jump, "[2:2] -A A -m strange --option 3 -j DROP"),
		"nothing is left":   "",
	} {
		old, again, fresh := &ruleset{}, &ruleset{}, &ruleset{}
		parseSave(old, first, famIP)
		evaluateAll(old)
		parseSaveAfter(old, again, then, famIP)
		parseSave(fresh, then, famIP)
		if got, want := described(again), described(fresh); !reflect.DeepEqual(got, want) {
			t.Errorf("%s changed:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	old, again := &ruleset{}, &ruleset{}
	parseSave(old, first, famIP)
	evaluateAll(old)
	parseSaveAfter(old, again, save("[7:7] "+jump, "[8:8] -A A -j DROP"), famIP)
	if r := again.tables[0].chain("FORWARD").rules[0]; r.unparsed {
		t.Error("a rule that did not change is parsed again")
	}
	if r := again.tables[0].chain("A").rules[0]; !r.unparsed {
		t.Error("a rule that changed is taken over")
	}
}

// evaluateAll asks for every rule, as evaluating does.
func evaluateAll(rs *ruleset) {
	for _, p := range samplePackets() {
		_ = dropHits(rs, p, fakeEnv{}, p.family(), hookForward, "")
	}
}

// described is all that can be told of the rules.
func described(rs *ruleset) (out []string) {
	for _, tb := range rs.tables {
		for _, c := range tb.order {
			for i, r := range c.rules {
				n, ok := r.packets()
				kinds := ""
				for _, x := range r.expressions() {
					kinds += fmt.Sprintf(" %T", x)
				}
				out = append(out, fmt.Sprintf("%s %s %d/%d/%d %d %v %q %s%s", tb.name, c.name, i, r.index, r.handle, n, ok, r.comment, render(r), kinds))
				if r.chain != c {
					out = append(out, "is of another chain")
				}
			}
		}
	}
	for _, p := range samplePackets() {
		for _, h := range dropHits(rs, p, fakeEnv{}, p.family(), hookForward, "") {
			out = append(out, fmt.Sprintf("%v drops %v %v", p.Tuple, h.sure, h.rule != nil && h.rule.text != ""))
		}
	}
	return out
}
