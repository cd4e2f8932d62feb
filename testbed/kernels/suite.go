package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
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

// commandSuite has the tests of the program itself, and the lab's faults.
const commandSuite = "podpath"

func suites() []*suite {
	all, none := regexp.MustCompile(""), regexp.MustCompile("^$")
	pure := func(names string) *regexp.Regexp { return regexp.MustCompile("^Test(" + names + ")$") }
	return []*suite{
		{
			name: "probe", pkg: "./tracer/probe", kernel: all, quick: all, atOnce: 1,
			pure: pure("KilledChild|Classify|Callers|InferReason|Decode|DecodeRefuses|ProgramsFor|RingSize|ReasonName|SharedHook|Compile|SymbolsHidden|PlainName"),
		},
		{name: "node", pkg: "./tracer/node", kernel: all, quick: all, atOnce: 1, pure: pure("Classify|ParseCounters")},
		{name: "rules", pkg: "./tracer/rules", kernel: all, quick: all, atOnce: 1, pure: pure("ParseIPVS|SaveEvaluation|PoliciesIn|OwnerOf")},
		{
			name: commandSuite, pkg: "./cmd/podpath", atOnce: 6, pure: none,
			kernel: regexp.MustCompile("^Test(Drops|Live|Killed|Interrupted)"),
			quick:  pure("DropsReport|DropsLive|LiveHooks"),
		},
	}
}

func goBuild(ctx context.Context, arch string, argv ...string) error {
	argv = append([]string{argv[0], "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, argv[1:]...)
	cmd := exec.CommandContext(ctx, "go", argv...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// list reads the names of the tests.
func (s *suite) list(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "test", "-list", "^Test", s.pkg).Output()
	if err != nil {
		return fmt.Errorf("list the tests of %s: %w", s.pkg, err)
	}
	for _, name := range strings.Fields(string(out)) {
		if strings.HasPrefix(name, "Test") && s.kernel.MatchString(name) && !s.pure.MatchString(name) {
			s.tests = append(s.tests, name)
		}
	}
	return nil
}

// fault is what the lab can break.
type fault struct {
	Name     string `json:"name"`
	IPv4Only bool   `json:"ipv4_only"`
}

// listFaults asks the program that has them.
func listFaults(ctx context.Context) ([]fault, error) {
	out, err := exec.CommandContext(ctx, "go", "run", "./cmd/podpath", "demo", "--list", "-o", "json").Output()
	if err != nil {
		return nil, fmt.Errorf("list the lab's faults: %w", err)
	}
	var faults []fault
	for line := range bytes.Lines(out) {
		var f fault
		if err := json.Unmarshal(line, &f); err != nil {
			return nil, fmt.Errorf("list the lab's faults: %w", err)
		}
		faults = append(faults, f)
	}
	return faults, nil
}
