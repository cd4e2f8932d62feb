package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// suite is the test program of a package.
type suite struct {
	name string // in the table
	pkg  string
	// kernel matches the tests that ask the kernel something, but for those that
	// pure matches.
	kernel, pure *regexp.Regexp
	// quick matches those of every change; the others are for the full run.
	quick *regexp.Regexp
	// atOnce is how many may run side by side, where tests say that they can.
	atOnce int
	tests  []string
}

// file is the program's name in the machine.
func (s *suite) file() string { return "/" + s.name + ".test" }

// dir is where the tests run in the machine: beside the files that they read,
// which are where the sources have them.
func (s *suite) dir() string { return path.Join("/src", s.pkg) }

// reads are the folders with these files. The schema that output is checked
// against comes from the sources of the types.
func (s *suite) reads() []string {
	return []string{path.Join(s.pkg, "testdata"), "docs/schema", "tracer"}
}

// probeSuite has the tests of what runs in the kernel; they take longest.
const probeSuite = "probe"

// commandSuite has the tests of the program itself, and the lab's faults.
const commandSuite = "podpath"

// labSuite proves that what the lab builds apart shows at the client.
const labSuite = "lab"

func suites() []*suite {
	all, none := regexp.MustCompile(""), regexp.MustCompile("^$")
	pure := func(names string) *regexp.Regexp { return regexp.MustCompile("^Test(" + names + ")$") }
	return []*suite{
		{
			name: probeSuite, pkg: "./tracer/probe", kernel: all, quick: all, atOnce: 1,
			pure: pure("KilledChild|OpenAsChild|Classify|Callers|InferReason|Decode|DecodeRefuses|ProgramsFor|RingSize|ReasonName|SharedHook|Compile|SymbolsHidden|PlainName"),
		},
		{name: "node", pkg: "./tracer/node", kernel: all, quick: all, atOnce: 1, pure: pure("Classify|ParseCounters")},
		{name: "netns", pkg: "./tracer/netns", kernel: all, quick: all, atOnce: 1, pure: none},
		{name: "rules", pkg: "./tracer/rules", kernel: all, quick: all, atOnce: 1, pure: pure("DecodeIPVS|DecodeCapturedIPVS|TargetsOfIPVS|MatchSet|MatchSetUnknown|RuleSetsOfSets|MasqueradeBySets|SaveEvaluation|PoliciesIn|OwnerOf|Unknown\\w+|EffectsOnTheWay|AsleepAndDoubtful|Abandoned|Intervals")},
		{
			name: commandSuite, pkg: "./cmd/podpath", atOnce: 6, pure: none,
			kernel: regexp.MustCompile("^Test(Drops|Live|Killed|Interrupted)"),
			quick:  pure("DropsReport|DropsLive|LiveClockSet"),
		},
		{name: labSuite, pkg: "./tracer/lab", kernel: pure("FaultsApart"), quick: all, atOnce: 1, pure: none},
	}
}

func goBuild(ctx context.Context, a arch, argv ...string) error {
	argv = append([]string{argv[0], "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, argv[1:]...)
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+string(a))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// list reads the names of the tests from the sources.
func (s *suite) list() error {
	files, err := filepath.Glob(filepath.Join(s.pkg, "*_test.go"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("list the tests of %s: no sources here", s.pkg)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("list the tests of %s: %w", s.pkg, err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && s.wants(fn.Name.Name) {
				s.tests = append(s.tests, fn.Name.Name)
			}
		}
	}
	return nil
}

func (s *suite) wants(name string) bool {
	return strings.HasPrefix(name, "Test") && name != "TestMain" && s.kernel.MatchString(name) && !s.pure.MatchString(name)
}
