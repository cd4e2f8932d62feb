package render

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

func decode(t *testing.T, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
}

func TestUnknownFormatNamesTheValidOnes(t *testing.T) {
	_, err := New(nil, Options{Format: "xml"})
	if err == nil {
		t.Fatal("xml is a format")
	}
	for _, f := range Formats {
		if !strings.Contains(err.Error(), f) {
			t.Errorf("%q does not name %s", err, f)
		}
	}
}

// One object is one line, and YAML says the same as JSON.
func TestJSONAndYAMLAgree(t *testing.T) {
	for name, x := range objects() {
		lines := strings.Split(strings.TrimSuffix(show(t, Options{Format: "json"}, x), "\n"), "\n")
		documents := strings.Split(strings.TrimPrefix(show(t, Options{Format: "yaml"}, x), "---\n"), "\n---\n")
		if len(lines) != len(x) || len(documents) != len(x) {
			t.Errorf("%s: %d objects, %d lines, %d documents", name, len(x), len(lines), len(documents))
			continue
		}
		for i := range x {
			var a, b any
			decode(t, lines[i], &a)
			if err := yaml.Unmarshal([]byte(documents[i]), &b); err != nil {
				t.Fatal(err)
			}
			ja, _ := json.Marshal(a)
			jb, _ := json.Marshal(b)
			if string(ja) != string(jb) {
				t.Errorf("%s: JSON and YAML differ:\n%s\n%s", name, ja, jb)
			}
		}
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestErrorsOfTheWriterComeBack(t *testing.T) {
	gone := errors.New("gone")
	for _, f := range Formats {
		p, err := New(brokenWriter{gone}, Options{Format: f})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Print(summary()); !errors.Is(err, gone) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// JSON is safe to look at on a terminal, and its values stay what they are.
func FuzzJSONString(f *testing.F) {
	f.Add(hostile)
	f.Add("\u202e\u009b\U000e0001\ufffd ✓")
	f.Fuzz(func(t *testing.T, s string) {
		line := show(t, Options{Format: "json"}, []any{map[string]string{"s": s}})
		for _, r := range strings.TrimSuffix(line, "\n") {
			if r != '\ufffd' && unsafeRune(r) {
				t.Errorf("raw %U in %q", r, line)
			}
		}
		var got map[string]string
		decode(t, line, &got)
		if got["s"] != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Errorf("%q became %q", s, got["s"])
		}
		sameInYAML(t, got)
	})
}

func sameInYAML(t *testing.T, want map[string]string) {
	t.Helper()
	out := show(t, Options{Format: "yaml"}, []any{want})
	for _, r := range strings.TrimSuffix(out, "\n") {
		if r != '\ufffd' && r != '\n' && unsafeRune(r) {
			t.Errorf("raw %U in %q", r, out)
		}
	}
	var got map[string]string
	if err := yaml.Unmarshal([]byte(out), &got); err != nil || got["s"] != want["s"] {
		t.Errorf("%q became %q in YAML: %v", want["s"], got["s"], err)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(hostile)
	f.Add("plain ✓ text")
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, s string) {
		e := Escape(s)
		for _, r := range e {
			if unsafeRune(r) {
				t.Errorf("%q has %U", e, r)
			}
		}
		if Escape(e) != e {
			t.Errorf("%q is escaped twice", e)
		}
	})
}

// Wrapping loses and adds no word.
func FuzzWrap(f *testing.F) {
	f.Add("NetworkPolicy a/b does not allow it", 20)
	f.Add("one", 1)
	f.Fuzz(func(t *testing.T, s string, width int) {
		if width <= 0 || width > 500 {
			return
		}
		p := &textPrinter{o: Options{Width: width}}
		p.wrap("    - ", "      ", s)
		want := strings.Fields("- " + Escape(s))
		if got := strings.Fields(p.b.String()); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q at %d became %q", s, width, p.b.String())
		}
	})
}
