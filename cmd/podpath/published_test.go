package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/verdict"
)

const (
	docs   = "../../docs"
	module = "github.com/podpath/podpath"
)

// TestPublished holds the generated documents against the code. With -update it
// writes them; `go generate` runs it that way.
func TestPublished(t *testing.T) {
	want := map[string][]byte{"verdicts.md": verdictsDoc(t)}
	for kind := range kinds() {
		want[filepath.Join("schema", strings.ToLower(kind)+".json")] = schemaDoc(t, kind, true)
	}
	for name, content := range want {
		file := filepath.Join(docs, name)
		if *update {
			if err := os.WriteFile(file, content, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content, got) {
			t.Errorf("%s is stale, run go generate ./cmd/podpath: %s", file, firstDifference(content, got))
		}
	}
	files, err := filepath.Glob(filepath.Join(docs, "schema", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := want[filepath.Join("schema", filepath.Base(f))]; !ok {
			t.Errorf("%s belongs to no kind", f)
		}
	}
}

// firstDifference is enough, where one new entry moves all that follow.
func firstDifference(code, file []byte) string {
	a, b := strings.Split(string(code), "\n"), strings.Split(string(file), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is\n%s\nand should be\n%s", i+1, b[i], a[i])
		}
	}
	return fmt.Sprintf("it has %d lines, not %d", len(b), len(a))
}

// kinds are the objects of -o json.
func kinds() map[string]any {
	return map[string]any{
		"Verdict": &render.Verdict{}, "Flow": &render.Flow{}, "Drop": &render.Drop{},
		"Summary": &render.Summary{}, "Explanation": &render.Explanation{}, "Fault": &render.Fault{},
	}
}

// schemaDoc is the JSON schema of one kind. The published one is open, because
// later versions add fields; a closed one tells whether a field is missing in it.
func schemaDoc(t *testing.T, kind string, open bool) []byte {
	t.Helper()
	enums := constants(t, "../../tracer")
	r := jsonschema.Reflector{
		AllowAdditionalProperties: open, ExpandedStruct: true, Anonymous: true,
		Mapper: func(typ reflect.Type) *jsonschema.Schema {
			switch {
			case typ == reflect.TypeFor[netip.Addr]():
				return &jsonschema.Schema{Type: "string"}
			case typ.PkgPath() != module+"/tracer" || enums[typ.Name()] == nil:
				return nil
			}
			s := &jsonschema.Schema{Type: "string"}
			for _, v := range enums[typ.Name()] {
				s.Enum = append(s.Enum, v)
			}
			return s
		},
	}
	if err := r.AddGoComments(module+"/cmd/podpath", "../../tracer"); err != nil {
		t.Fatal(err)
	}
	r.CommentMap = oneLine(r.CommentMap)
	s := r.Reflect(kinds()[kind])
	s.ID = jsonschema.ID("https://" + render.APIVersion + "/" + kind + ".json")
	s.Title = kind
	for name, value := range map[string]string{"kind": kind, "apiVersion": render.APIVersion} {
		p, ok := s.Properties.Get(name)
		if !ok {
			t.Fatalf("%s has no %s", kind, name)
		}
		p.Const = value
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// oneLine joins the lines of comments, which end where a source line does.
func oneLine(comments map[string]string) map[string]string {
	for k, v := range comments {
		comments[k] = strings.Join(strings.Fields(v), " ")
	}
	return comments
}

// constants lists the values of each named string type of a package, as its
// sources declare them.
func constants(t *testing.T, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	values := map[string][]string{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			typ, isNamed := spec.Type.(*ast.Ident)
			value, isLiteral := spec.Values[0].(*ast.BasicLit)
			if isNamed && isLiteral && value.Kind == token.STRING {
				s, _ := strconv.Unquote(value.Value)
				values[typ.Name] = append(values[typ.Name], s)
			}
			return true
		})
	}
	return values
}

// components are the sections of the document, in the order in which a packet
// meets them, with what each stands for.
func components() [][2]string {
	return [][2]string{
		{"cni", "What connects pods: veth pairs, bridges, routes, tunnels, MTU."},
		{"policy", "A NetworkPolicy, or the agent that enforces it."},
		{"kube-proxy", "The rules that translate Services on this node are missing, stale or half applied."},
		{"service", "The Service or its endpoints say so themselves."},
		{"egress", "The way out of the cluster: masquerade, default route, gateway."},
		{"dns", "Names do not resolve, although the packets arrive."},
		{"node", "The node's own firewall, sysctls, links and limits."},
		{"application", "The packets reach the right process or port, and it does not serve them."},
		{"external", "What lies beyond the nodes that are observed."},
		{"none", "Nothing is at fault."},
		{"unknown", "What was seen does not tell."},
	}
}

func verdictsDoc(t *testing.T) []byte {
	t.Helper()
	c := verdict.NewCatalogue()
	byComponent := map[string][]render.Explanation{}
	for _, code := range c.Codes() {
		x := explanation(c.Get(code))
		byComponent[string(x.Component)] = append(byComponent[string(x.Component)], x)
	}
	var b bytes.Buffer
	b.WriteString("<!-- Generated from the catalogue in tracer/verdict: go generate ./cmd/podpath -->\n# Verdicts\n\n" +
		"Every code that podpath can give. `podpath explain CODE` shows the same.\n" +
		"Words in angle brackets stand for the names of the case at hand.\n")
	for _, sec := range components() {
		entries := byComponent[sec[0]]
		delete(byComponent, sec[0])
		if len(entries) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", sec[0], sec[1])
		for _, x := range entries {
			entryDoc(&b, &x)
		}
	}
	for name := range byComponent {
		t.Errorf("component %q has no section", name)
	}
	knownDoc(&b)
	return b.Bytes()
}

// knownDoc lists the faults whose name is not a code.
func knownDoc(b *bytes.Buffer) {
	all := verdict.Known()
	var own, none int
	var rows []string
	for _, k := range all {
		code := "`" + k.Code + "`"
		switch k.Code {
		case k.Name:
			own++
			continue
		case "":
			none++
			code = "–"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", k.Name, code, mark(k.Why)))
	}
	fmt.Fprintf(b, "\n## Faults known from the field\n\n%d faults are known; %d of them have a code of their own name, %d another's, and %d send no packet that a node could show.\n\n",
		len(all), own, len(all)-own-none, none)
	b.WriteString("| fault | code | what shows, or what is missing |\n|---|---|---|\n" + strings.Join(rows, ""))
}

func entryDoc(b *bytes.Buffer, x *render.Explanation) {
	fmt.Fprintf(b, "\n### %s\n\n**%s**\n\n%s\n\n*Evidence.* %s\n", x.Code, mark(x.Title), mark(x.Meaning), mark(x.Evidence))
	if len(x.LookAlikes) > 0 {
		b.WriteString("\n*Not to be confused with:*\n\n")
		for _, s := range x.LookAlikes {
			fmt.Fprintf(b, "- %s\n", mark(s))
		}
	}
	if len(x.Remedy) > 0 {
		b.WriteString("\n*What to do:*\n\n")
		for i, s := range x.Remedy {
			words, block, isBlock := strings.Cut(s, "\n")
			fmt.Fprintf(b, "%d. %s\n", i+1, mark(words))
			if isBlock {
				fmt.Fprintf(b, "\n   ```sh\n   %s\n   ```\n", strings.ReplaceAll(block, "\n", "\n   "))
			}
		}
	}
	b.WriteString("\n*Tested* " + tested(x) + "\n")
}

func tested(x *render.Explanation) string {
	switch x.Shown {
	case "lab":
		return "with real packets: `podpath demo " + strings.Join(x.Demos, "`, `podpath demo ") + "`."
	case "cluster":
		return "on a real Kubernetes: `make e2e`."
	case "machine":
		return "with real packets, in a machine of its own: `make test-kernels`."
	}
	return "on constructed flows."
}

// mark keeps Markdown from taking anything for its own.
func mark(s string) string {
	return strings.NewReplacer("<", `\<`, "*", `\*`, "`", "\\`", "[", `\[`).Replace(s)
}

// Every demo has its entry in the catalogue, which names the same culprit, and
// every entry says all that explain shows.
func TestCatalogueAndDemosAgree(t *testing.T) {
	c := verdict.NewCatalogue()
	for _, f := range lab.Faults() {
		if e := c.Get(f.Code); !c.Has(f.Code) || string(e.Component) != f.Component {
			t.Errorf("demo %s: %s/%s, catalogue: %s", f.Name, f.Component, f.Code, e.Component)
		}
	}
	known := constants(t, "../../tracer")["Component"]
	for _, code := range c.Codes() {
		e := c.Get(code)
		if !slices.Contains(known, string(e.Component)) {
			t.Errorf("%s: component %q", code, e.Component)
		}
		if e.Title == "" || e.Meaning == "" || e.Evidence == "" || len(e.Remedy) == 0 && code != tracer.CodeOK {
			t.Errorf("%s: incomplete: %+v", code, e)
		}
	}
}
