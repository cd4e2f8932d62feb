package accuracy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

func cases() []Case {
	right := Case{Name: "a", Code: "cni-veth-down", Want: "cni/cni-veth-down Pod a/b", Component: true, Coded: true, Named: true}
	other := right
	other.Name, other.Code, other.Named, other.Got = "b", "svc-no-endpoints", false, "service/svc-no-endpoints none"
	broken := Case{Name: "c", Broken: "no symptom\nand more"}
	control := Case{Name: "d", Control: true, Code: "ok", Component: true, Coded: true, Named: true}
	blamed := Case{Name: "e", Control: true, Code: "ok", Blamed: true, Got: "node/x | y"}
	return []Case{right, other, broken, control, blamed}
}

func TestJudge(t *testing.T) {
	pod := Answer{"cni", "cni-veth-down", "Pod", "a", "b"}
	node := Answer{Component: "node", Code: "node-down", Kind: "Node", Name: "n1"}
	ok := Answer{Component: "none", Code: "ok"}
	for name, c := range map[string]struct {
		want                    Answer
		said                    []Answer
		component, coded, named bool
		blamed                  bool
		got                     string
	}{
		"right":        {pod, []Answer{pod, pod}, true, true, true, false, "cni/cni-veth-down Pod a/b"},
		"one wrong":    {pod, []Answer{pod, node}, false, false, false, false, "cni/cni-veth-down Pod a/b; node/node-down Node n1"},
		"wrong object": {pod, []Answer{{"cni", "cni-veth-down", "Pod", "a", "c"}}, true, true, false, false, "cni/cni-veth-down Pod a/c"},
		"nothing":      {pod, nil, false, false, false, false, "no verdict"},
		"healthy":      {ok, []Answer{ok}, true, true, true, false, "none/ok none"},
		"blamed":       {ok, []Answer{ok, node}, false, false, false, true, "none/ok none; node/node-down Node n1"},
		"not blamed":   {ok, []Answer{{Component: "unknown", Code: "unknown"}}, false, false, true, false, "unknown/unknown none"},
	} {
		got := Judge(name, c.want, c.said)
		want := Case{Name: name, Control: c.want == ok, Code: c.want.Code, Want: c.want.String(), Got: c.got,
			Component: c.component, Coded: c.coded, Named: c.named, Blamed: c.blamed}
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
}

func TestScore(t *testing.T) {
	want := "2 faults: component right 100.0 %, code right 100.0 %, object named 50.0 %; 2 controls, falsely blamed 50.0 %; " +
		"0 of all with a second fault present; 2 codes shown; 1 did not work themselves, and count for nothing"
	if got := Of(cases()).String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := Of(nil).String(); !strings.Contains(got, "falsely blamed –") {
		t.Errorf("a share of nothing: %s", got)
	}
}

func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accuracy.md")
	if err := os.WriteFile(file, []byte("# Accuracy\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	catalogue := []string{"ok", "cni-veth-down", "svc-no-endpoints"}
	record := func(name string, all []Case) string {
		t.Helper()
		run := Run{Name: name, Command: "make " + name, When: time.Unix(0, 0), Cases: all}
		if err := Record(file, run, catalogue); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	record("lab", cases())
	doc := record("flannel", cases()[:1])
	for _, part := range []string{"## lab", "## flannel", "1970-01-01", "`make flannel`", "Codes shown (1): `cni-veth-down`",
		"All runs together: 3 faults: component right 100.0 %, code right 100.0 %, object named 66.7 %; 2 controls, falsely blamed 50.0 %.",
		`node/x \| y`, "| c |  | – | no symptom |", "2 of the catalogue's 3 codes", "Not shown: `svc-no-endpoints`"} {
		if !strings.Contains(doc, part) {
			t.Errorf("no %q in\n%s", part, doc)
		}
	}
	if !strings.HasSuffix(doc, "<!-- end of all -->\n") {
		t.Errorf("the sum is not the last:\n%s", doc)
	}
	if again := record("flannel", cases()[:1]); again != doc {
		t.Errorf("the same run again changed the document:\n%s", again)
	}
	if doc = record("lab", cases()[:1]); strings.Contains(doc, "no symptom") || !strings.Contains(doc, "1 of the catalogue's 3 codes") {
		t.Errorf("an older run is still there:\n%s", doc)
	}
}

// With traffic that goes on, only what began just before the end may be left open.
func TestAnswersWhereTrafficGoesOn(t *testing.T) {
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	verdict := func(code, blind string, age time.Duration) render.Verdict {
		begun := end.Add(-age)
		v := render.Verdict{Time: end, Code: code, Hops: []render.HopLine{{Time: &begun}}}
		if blind != "" {
			v.Blind = []tracer.Blind{{What: blind}}
		}
		return v
	}
	ended := "the trace ended 1s after the flow began"
	for name, c := range map[string]struct {
		verdict render.Verdict
		goesOn  bool
		kept    bool
	}{
		"left open just before the end":       {verdict("unknown", ended, time.Second), true, false},
		"left open long before the end":       {verdict("unknown", ended, 10*time.Second), true, true},
		"left open for another reason":        {verdict("unknown", "no cluster data", time.Second), true, true},
		"named, and young":                    {verdict("cni-veth-down", ended, time.Second), true, true},
		"left open where nobody else sends":   {verdict("unknown", ended, time.Second), false, true},
		"left open, and nothing says how old": {render.Verdict{Time: end, Code: "unknown", Blind: []tracer.Blind{{What: ended}}}, true, true},
	} {
		if got := len(Answers([]render.Verdict{c.verdict}, c.goesOn)) == 1; got != c.kept {
			t.Errorf("%s: counts %t, want %t", name, got, c.kept)
		}
	}
}

func TestBroken(t *testing.T) {
	ok, bad := render.Verdict{Code: "ok"}, render.Verdict{Code: "unknown"}
	if got := Broken([]render.Verdict{ok, bad, ok}); len(got) != 1 || got[0].Code != "unknown" {
		t.Errorf("%+v", got)
	}
}

// What a run leaves to another is said by name, and counts for nothing.
func TestRecordElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accuracy.md")
	if err := os.WriteFile(file, []byte("# How often\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run := Run{Name: "lab", Command: "make test", Inside: "Linux 6.12 in QEMU", Cases: cases()[:1], Elsewhere: []string{"node-memory"}}
	if err := Record(file, run, []string{"cni-veth-down", "node-memory"}); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Linux 6.12 in QEMU on ", "in a machine of its own: `node-memory`.", "Not shown: `node-memory`"} {
		if !strings.Contains(string(doc), part) {
			t.Errorf("no %q in\n%s", part, doc)
		}
	}
}
