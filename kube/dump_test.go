package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/tracer"
)

// asYAML gives the fixture as kubectl -o yaml prints it.
func asYAML(t testing.TB, src string) string {
	t.Helper()
	out, err := yaml.JSONToYAML([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func dumpText(t testing.TB, s *Snapshot) string {
	t.Helper()
	var buf bytes.Buffer
	if err := s.WriteDump(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// items splits the fixture into its objects.
func items(t testing.TB) []json.RawMessage {
	t.Helper()
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal([]byte(shopDump), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestReadDumpForms(t *testing.T) {
	want := dumpText(t, shop(t))
	var docs, yamlDocs strings.Builder
	for _, it := range items(t) {
		docs.Write(it)
		docs.WriteByte('\n')
		yamlDocs.WriteString("---\n" + asYAML(t, string(it)))
	}
	half := len(items(t)) / 2
	list := func(raw []json.RawMessage) string {
		b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": raw})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tests := []struct{ name, in string }{
		{"JSON list", shopDump},
		{"JSON list after a byte order mark", "\ufeff" + shopDump},
		{"YAML list", asYAML(t, shopDump)},
		{"JSON objects one after the other", docs.String()},
		{"YAML documents", yamlDocs.String()},
		{"YAML documents with comments", "# state of the shop\n---\n" + yamlDocs.String()},
		{"two lists", list(items(t)[:half]) + "\n" + list(items(t)[half:])},
		{"an object twice", shopDump + string(items(t)[0])},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, report, err := ReadDump(strings.NewReader(tt.in), "in")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, dumpText(t, s)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if got := report.Ignored["ConfigMap"]; got != 1 {
				t.Errorf("ignored ConfigMaps: got %d, want 1", got)
			}
			if report.Objects["Pod"] != 5 || report.Objects["Service"] != 2 {
				t.Errorf("counts: got %v", report.Objects)
			}
		})
	}
}

func TestReadDumpTypedList(t *testing.T) {
	const in = `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"a","name":"b"},"status":{"podIP":"10.0.0.1"}}]}`
	s, report, err := ReadDump(strings.NewReader(in), "in")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Pod("a", "b"); !ok {
		t.Error("pod a/b not found")
	}
	if len(report.Warnings) != 5 {
		t.Errorf("want a warning for each of the five kinds that lack, got %q", report.Warnings)
	}
}

func TestReadDumpErrors(t *testing.T) {
	one := string(items(t)[5])
	yamlList := asYAML(t, shopDump)
	tests := []struct {
		name, in string
		want     error
		detail   string
	}{
		{"empty", "", ErrDumpEmpty, "the file is empty"},
		{"white space", " \n\n", ErrDumpEmpty, "the file is empty"},
		{"only a comment", "# nothing\n", ErrDumpEmpty, "no items"},
		{"list without items", `{"apiVersion":"v1","kind":"List","items":[]}`, ErrDumpEmpty, "no items"},
		{"items null", `{"apiVersion":"v1","kind":"List","items":null}`, ErrDumpEmpty, "no items"},
		{"cut in an item", shopDump[:len(shopDump)/2], ErrDumpTruncated, "objects; the JSON ends at byte"},
		{"cut before the end", shopDump[:len(shopDump)-20], ErrDumpTruncated, "after 15 objects"},
		{"cut YAML", yamlList[:strings.Index(yamlList, "kind: List")], ErrDumpTruncated, "ends before its kind"},
		{"one object", one, ErrDumpNotList, "found only Pod shop/checkout-7d9f-x2x4q"},
		{"one YAML object", asYAML(t, one), ErrDumpNotList, "found only Pod"},
		{"wrong kinds", `{"kind":"List","items":[{"kind":"Secret"},{"kind":"Secret"},{"kind":"Event"}]}`, ErrDumpKind, "1 Event, 2 Secret"},
		{"wrong kind alone", `{"kind":"Secret","metadata":{"name":"x"}}`, ErrDumpKind, "1 Secret"},
		{"a policy of another API", `{"kind":"List","items":[{"kind":"NetworkPolicy","apiVersion":"crd.antrea.io/v1beta1","metadata":{"name":"x"}}]}`, ErrDumpKind, "1 NetworkPolicy"},
		{"array", `[{"kind":"Pod"}]`, ErrDumpFormat, "must be an object"},
		{"text table", "NAME   READY   STATUS\napi-5c   1/1   Running\n", ErrDumpFormat, "document 1"},
		{"binary", "\x00\x01\x02\xff\xfe", ErrDumpFormat, "document 1"},
		{"bad JSON", `{"kind":"List","items":[}`, ErrDumpFormat, "invalid character"},
		{"items no list", `{"kind":"List","items":"x"}`, ErrDumpFormat, "items is not a list"},
		{"item no object", `{"kind":"List","items":[7]}`, ErrDumpFormat, "item 0"},
		{"kindless", `{"items":[{"metadata":{"name":"x"}}]}`, ErrDumpFormat, "neither the list nor its items name a kind"},
		{"no kind at all", `{"a":1}`, ErrDumpFormat, "neither kind nor items"},
		{"nameless", `{"kind":"List","items":[{"kind":"Pod"}]}`, ErrDumpFormat, "without metadata.name"},
		{"field of the wrong type", `{"kind":"List","items":[{"kind":"Pod","metadata":{"namespace":"a","name":"b"},"spec":{"hostNetwork":"yes"}}]}`, ErrDumpFormat, "decode Pod a/b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := ReadDump(strings.NewReader(tt.in), "in.json")
			var de *DumpError
			if !errors.As(err, &de) || !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want a DumpError that is %v", err, tt.want)
			}
			if de.Path != "in.json" || !strings.Contains(de.Detail, tt.detail) {
				t.Errorf("got %q, want a detail with %q", err, tt.detail)
			}
		})
	}
}

func TestLoadDumpPaths(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := LoadDump(dir); !errors.Is(err, ErrDumpEmpty) {
		t.Errorf("empty directory: got %v", err)
	}
	if _, _, err := LoadDump(filepath.Join(dir, "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	write("notes.txt", "not a dump")
	write("a.json", string(items(t)[0]))
	write("b.yaml", asYAML(t, shopDump))
	s, _, err := LoadDump(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(dumpText(t, shop(t)), dumpText(t, s)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	write("c.json", shopDump[:100])
	_, _, err = LoadDump(dir)
	var de *DumpError
	if !errors.As(err, &de) || filepath.Base(de.Path) != "c.json" {
		t.Errorf("want an error that names c.json, got %v", err)
	}
}

// TestWriteDumpRoundTrip holds because reducing, restoring and reducing again
// must lose nothing: a recorded session is judged from what was written.
func TestWriteDumpRoundTrip(t *testing.T) {
	first := shop(t)
	again, _, err := ReadDump(strings.NewReader(dumpText(t, first)), "again")
	if err != nil {
		t.Fatal(err)
	}
	if d := diffObjects(first.objects(), again.objects()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestLongReasonIsCutOnce(t *testing.T) {
	for _, message := range []string{strings.Repeat("x", 500), strings.Repeat("é", 250), "short: with a colon"} {
		once := reasonText("Reason", message)
		_, rest, _ := strings.Cut(once, ": ")
		if twice := reasonText("Reason", rest); twice != once {
			t.Errorf("got %q, then %q", once, twice)
		}
	}
}

// TestEmptySnapshot: without cluster data everything still answers.
func TestEmptySnapshot(t *testing.T) {
	var s Snapshot
	e := s.Endpoint(netip.MustParseAddr("198.51.100.7"), 443, 6)
	if e.Kind != tracer.KindExternal || len(s.Inside()) != 0 || len(s.Nodes()) != 0 {
		t.Errorf("got %+v", e)
	}
	if _, err := s.Resolve(t.Context(), EndpointSpec{Kind: SpecPod, Namespace: "a", Name: "b"}, ResolveOptions{}); err == nil {
		t.Error("a pod cannot be known")
	}
	if text := dumpText(t, &s); !strings.Contains(text, `"items":[`) {
		t.Errorf("got %s", text)
	}
}

func diffObjects(a, b []object) string {
	var out strings.Builder
	if len(a) != len(b) {
		return "different numbers of objects"
	}
	for i := range a {
		if !same(a[i], b[i]) {
			out.WriteString(cmp.Diff(restore(a[i]), restore(b[i])))
			if out.Len() == 0 {
				out.WriteString(kindOf(a[i]).String() + " " + a[i].Key().String() + " differs\n")
			}
		}
	}
	return out.String()
}

func FuzzReadDump(f *testing.F) {
	f.Add([]byte(shopDump))
	f.Add([]byte(asYAML(f, shopDump)))
	f.Add([]byte(`{"items":[{"kind":"Pod","metadata":{"name":"a"},"status":{"podIPs":[{"ip":"1.2.3.4"}]}}],"kind":"List"}`))
	f.Add([]byte(`{"kind":"PodList","items":[{"metadata":{"name":"x"}}]}`))
	f.Add([]byte("---\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}\n"))
	f.Add([]byte(`{"items":null}`))
	f.Add([]byte(`{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a","namespace":"b"}},{"kind":"Event","metadata":{"name":"e"},"involvedObject":{"kind":"Job","name":"j","namespace":"b"}}]}`))
	f.Add([]byte(`{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a","namespace":"b"}},{"kind":"Pod","metadata":{"name":"c","namespace":"b"}}],"eventsOf":[{"namespace":"b","name":"a"},{"name":"x"},{}]}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, _, err := ReadDump(bytes.NewReader(in), "fuzz")
		if err != nil {
			var de *DumpError
			if !errors.As(err, &de) {
				t.Fatalf("error of another type: %v", err)
			}
			return
		}
		again, _, err := ReadDump(strings.NewReader(dumpText(t, s)), "again")
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if d := diffObjects(s.objects(), again.objects()); d != "" {
			t.Errorf("round trip (-want +got)\n%s", d)
		}
		for p := range s.Pods() {
			if q, ok := again.Pod(p.Namespace, p.Name); ok && p.wantsAddress() && s.eventsKnown(p) != again.eventsKnown(q) {
				t.Errorf("pod %s: its Events are known: %t, and %t", p.Key(), s.eventsKnown(p), again.eventsKnown(q))
			}
		}
	})
}
