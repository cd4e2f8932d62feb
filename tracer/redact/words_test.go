package redact

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write words.txt anew")

// sources are where the texts of a recording come from.
var sources = []string{"../node/*.go", "../rules/*.go", "../probe/*.go", "../netns/*.go", "../../cmd/podpath/live.go", "../../cmd/podpath/budget.go"}

// harvest is every word of the string literals there.
func harvest(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	plain := regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	for _, pattern := range sources {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files are %s: %v", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range wordPattern.FindAllString(text, -1) {
					if w = strings.ToLower(w); plain.MatchString(w) && !pseudonymous.MatchString(w) {
						found[w] = true
					}
				}
				return true
			})
		}
	}
	return slices.Sorted(maps.Keys(found))
}

var pseudonymous = regexp.MustCompile(`^x[0-9]+$`)

// What podpath writes stays readable. A word that is not in the list yet is only
// replaced, which does no harm: go generate brings it in.
func TestWords(t *testing.T) {
	if *update {
		if err := os.WriteFile("words.txt", []byte(strings.Join(harvest(t), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	words := strings.Fields(ownWords)
	if !slices.IsSorted(words) || len(slices.Compact(slices.Clone(words))) != len(words) {
		t.Error("words.txt is not sorted: go generate ./tracer/redact")
	}
	for _, w := range []string{"rules", "dport", "masquerade", "counter", "namespaces"} {
		if !slices.Contains(words, w) {
			t.Errorf("%q is not in words.txt: go generate ./tracer/redact", w)
		}
	}
	for w := range maps.Keys(wellKnown) {
		if pseudonymous.MatchString(w) {
			t.Errorf("%q looks like a pseudonym", w)
		}
	}
}
