package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every module that our sources import has its reason in docs/dependencies.md,
// and every reason is about a module that is in go.mod.
func TestDependenciesAreExplained(t *testing.T) {
	root := os.DirFS("../..")
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\s*(\S+\.\S+/\S+) v\S+`).FindAllStringSubmatch(string(mod), -1) {
		modules = append(modules, m[1])
	}
	if len(modules) == 0 {
		t.Fatal("go.mod requires nothing")
	}
	explained := explainedModules(t, root)
	for _, m := range explained {
		if !slices.Contains(modules, m) {
			t.Errorf("docs/dependencies.md explains %s, which go.mod does not have", m)
		}
	}
	for imported, file := range imports(t, root) {
		m := moduleOf(imported, modules)
		if m == "" {
			t.Errorf("%s imports %s, which no module of go.mod has", file, imported)
		} else if !slices.Contains(explained, m) {
			t.Errorf("%s has no line in docs/dependencies.md (%s imports it)", m, file)
		}
	}
}

// explainedModules are the names in the first column of the table.
func explainedModules(t *testing.T, root fs.FS) []string {
	t.Helper()
	doc, err := fs.ReadFile(root, "docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// imports maps every import from outside of the module and the standard library
// to a file that has it.
func imports(t *testing.T, root fs.FS) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" {
			if err == nil && d.IsDir() && skipDir(root, name) {
				return fs.SkipDir
			}
			return err
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(p, "/")
			if strings.Contains(first, ".") && !strings.HasPrefix(p, module+"/") {
				found[p] = name
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// moduleOf finds the module that holds a package: the longest that fits.
func moduleOf(imported string, modules []string) string {
	best := ""
	for _, m := range modules {
		if (imported == m || strings.HasPrefix(imported, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}
