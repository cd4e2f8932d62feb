package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Check reads every Go source below root, whatever its build tags, and returns
// one line for each rule that is broken, sorted by file.
func Check(root fs.FS) ([]string, error) {
	c := checker{root: root, table: table(), tests: inTests()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipDir(root, name):
			return fs.SkipDir
		case !d.IsDir() && path.Ext(name) == ".go":
			return c.file(name)
		}
		return nil
	})
	return c.found, err
}

// skipDir leaves out what the go command does not build either: modules of
// their own, too.
func skipDir(root fs.FS, name string) bool {
	if name == "." {
		return false
	}
	if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil {
		return true
	}
	base := path.Base(name)
	return strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") ||
		base == "testdata" || base == "vendor" || base == "bin" || base == "dist"
}

type checker struct {
	root  fs.FS
	table map[string]allowed
	tests allowed
	found []string
}

func (c *checker) report(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *checker) file(name string) error {
	src, err := fs.ReadFile(c.root, name)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	dir := path.Dir(name)
	c.name(name, strings.TrimSuffix(f.Name.Name, "_test"))
	c.name(name, path.Base(dir))
	c.inits(name, f)
	may, ok := c.lookUp(dir)
	if !ok {
		c.report("%s: package %s is not in the table", name, dir)
		return nil
	}
	test := strings.HasSuffix(name, "_test.go")
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("import in %s: %w", name, err)
		}
		if own(imported, dir) || may.allows(imported) || test && (c.tests.allows(imported) || covers(may.tests, strings.TrimPrefix(imported, module+"/"))) {
			continue
		}
		c.report("%s: %s may not import %s", name, dir, imported)
	}
	return nil
}

// lookUp finds the row of a package: its own, or the longest "and below".
func (c *checker) lookUp(dir string) (allowed, bool) {
	if a, ok := c.table[dir]; ok {
		return a, true
	}
	for ; dir != "."; dir = path.Dir(dir) {
		if a, ok := c.table[dir+"/"]; ok {
			return a, true
		}
	}
	return allowed{}, false
}

func (c *checker) name(file, name string) {
	if slices.Contains(badNames(), name) {
		c.report("%s: a package named %q says nothing", file, name)
	}
}

func (c *checker) inits(file string, f *ast.File) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.report("%s: an init function: build it in cmd and pass it in", file)
		}
	}
}

// own reports whether a package imports itself, as an external test does, or
// what lies below it in its internal folder.
func own(imported, dir string) bool {
	self := module + "/" + dir
	return imported == self || strings.HasPrefix(imported, self+"/internal/")
}

func (a allowed) allows(imported string) bool {
	if rest, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.Contains(a.ours, "all") && !strings.HasPrefix(rest, "testbed/") || covers(a.ours, rest)
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return imported != "C" // the standard library; no cgo
	}
	return covers(a.external, imported)
}

// covers reports whether one of the patterns names the path.
func covers(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		below, slash := strings.CutSuffix(pattern, "/")
		return p == below || slash && strings.HasPrefix(p, pattern)
	})
}
