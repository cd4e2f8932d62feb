package verdict

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
)

// placeholder is one of Entry.Remedy.
var placeholder = regexp.MustCompile(`\{[a-z][a-z.]*\}`)

func TestEntries(t *testing.T) {
	c := NewCatalogue()
	components := []tracer.Component{
		tracer.ComponentCNI, tracer.ComponentPolicy, tracer.ComponentKubeProxy, tracer.ComponentService, tracer.ComponentEgress, tracer.ComponentDNS,
		tracer.ComponentNode, tracer.ComponentApplication, tracer.ComponentExternal, tracer.ComponentNone, tracer.ComponentUnknown,
	}
	slug := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, code := range c.Codes() {
		e := c.Get(code)
		if e.Code != code || !slug.MatchString(code) || !slices.Contains(components, e.Component) {
			t.Errorf("%s: code %q, component %q", code, e.Code, e.Component)
		}
		if e.Title == "" || e.Meaning == "" || e.Evidence == "" || !slices.Contains([]string{"lab", "machine", "cluster", "unit"}, e.Shown) || len(e.Remedy) == 0 && code != tracer.CodeOK {
			t.Errorf("%s: incomplete: %+v", code, e)
		}
		for _, s := range e.LookAlikes {
			name, _, _ := strings.Cut(s, ":")
			for other := range strings.SplitSeq(name, ", ") {
				if slug.MatchString(other) && strings.Contains(other, "-") && !c.Has(other) && !planned[other] {
					t.Errorf("%s: look-alike %q is no code", code, other)
				}
			}
		}
	}
	if c.Has("no-such-code") || c.Get("no-such-code").Component != tracer.ComponentUnknown {
		t.Error("an unknown code")
	}
}

// Every known fault has a code that exists, or says why packets do not show it.
func TestKnownFaults(t *testing.T) {
	c := NewCatalogue()
	seen := map[string]bool{}
	for _, k := range Known() {
		switch {
		case seen[k.Name]:
			t.Errorf("%s: twice", k.Name)
		case k.Code != "" && !c.Has(k.Code):
			t.Errorf("%s: no code %q", k.Name, k.Code)
		case k.Code == "" && k.Why == "", (k.Code == tracer.CodeOK || k.Code == tracer.CodeUnknown || k.Code == tracer.CodeBeyondNode) && k.Code != k.Name && k.Why == "":
			t.Errorf("%s: %q does not say why", k.Name, k.Code)
		case k.Code != k.Name && c.Has(k.Name):
			t.Errorf("%s: has a code of its own", k.Name)
		}
		seen[k.Name] = true
	}
	if len(seen) < 145 {
		t.Errorf("%d faults", len(seen))
	}
}

// planned are codes of the fault catalogue that look-alikes may name already.
var planned = map[string]bool{"ext-src-dst-check": true}

// A remedy's words are names of the case at hand, all of them known.
func TestRemedyWords(t *testing.T) {
	c := NewCatalogue()
	in := given()
	in.Cluster, in.Node = &tracer.ClusterFacts{}, &tracer.NodeFacts{}
	words := in.words(&Finding{})
	for _, code := range c.Codes() {
		for _, s := range c.Get(code).Remedy {
			for _, w := range placeholder.FindAllString(s, -1) {
				if !slices.Contains(words, w) {
					t.Errorf("%s: nothing is known for %s in %q", code, w, s)
				}
			}
		}
		for _, s := range c.Get(code).remedy(in, &Finding{Code: code}) {
			if placeholder.MatchString(s) {
				t.Errorf("%s: %q", code, s)
			}
		}
	}
}

// Every code that the sources give to a finding is in the catalogue, and every
// entry is given by some rule.
func TestCodesOfRules(t *testing.T) {
	c := NewCatalogue()
	slug := regexp.MustCompile(`^(cni|pol|svc|egr|node|app|dns|ext)-[a-z0-9-]+$`)
	used := map[string]bool{tracer.CodeOK: true, tracer.CodeUnknown: true, tracer.CodeBeyondNode: true}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "catalogue") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if s, err := strconv.Unquote(lit.Value); err == nil && slug.MatchString(s) && !notCodes[s] {
				used[s] = true
				if !c.Has(s) {
					t.Errorf("%s: %q is not in the catalogue", name, s)
				}
			}
			return true
		})
	}
	for _, code := range c.Codes() {
		if !used[code] {
			t.Errorf("no rule gives %s", code)
		}
	}
}

// notCodes look like codes.
var notCodes = map[string]bool{"node-port": true}

// What the catalogue says of how a code is shown is what the lab shows, or what was
// recorded on real clusters.
func TestShownIsTrue(t *testing.T) {
	how := map[string]string{}
	folders, err := replays.Folders("../../testbed/replays")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		list, err := f.Cases()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if f.Name() != "lab" {
				how[c.Code] = "cluster"
			}
		}
	}
	for _, f := range lab.Faults() {
		switch {
		case !f.Machine:
			how[f.Code] = "lab"
		case how[f.Code] != "lab":
			how[f.Code] = "machine"
		}
	}
	c := NewCatalogue()
	for _, code := range c.Codes() {
		want := cmp.Or(how[code], "unit")
		if got := c.Get(code).Shown; got != want {
			t.Errorf("%s is said to be shown by %q, and is by %q", code, got, want)
		}
	}
}
