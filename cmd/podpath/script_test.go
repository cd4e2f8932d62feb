package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestScripts holds the command line against its contract, as any user.
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// TestPrivilegedScripts does what needs root.
func TestPrivilegedScripts(t *testing.T) {
	privileged(t)
	runScripts(t, "testdata/privileged")
}

func runScripts(t *testing.T, dir string) {
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	s := compileSchemas(t)
	testscript.Run(t, testscript.Params{
		Dir: dir, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DATA", data)
			env.Setenv("KUBECONFIG", os.DevNull)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "conforms": s.conforms, "plain": plain, "mode": mode, "cut": cut,
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program that must end with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var e *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &e) {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

// conforms json|yaml KINDS... holds the standard output against the schema; it
// has objects of exactly these kinds.
func (s *schemas) conforms(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: conforms json|yaml KIND...")
	}
	got, err := s.checkAll(args[0], ts.ReadFile("stdout"))
	ts.Check(err)
	if want := slices.Sorted(slices.Values(args[1:])); !slices.Equal(got, want) {
		ts.Fatalf("the output has the kinds %v, not %v", got, want)
	}
}

// plain stdout|stderr: nothing in it moves a cursor or changes a colour.
func plain(ts *testscript.TestScript, neg bool, args []string) {
	for _, r := range ts.ReadFile(args[0]) {
		if unicode.IsControl(r) && r != '\n' && r != '\t' && !neg {
			ts.Fatalf("%s has the control character %U", args[0], r)
		}
	}
}

// mode OCTAL FILE checks the permissions of a file.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	st, err := os.Lstat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", st.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
	}
}

// cut BYTES FILE NEW copies the beginning of a file.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if n >= len(b) {
		ts.Fatalf("%s has only %d bytes", args[1], len(b))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), b[:n], 0o644))
}

// asNobody runs the program that its arguments name, without privilege. Where
// this process has none, it is what it is.
func asNobody() {
	err := func() error {
		path, err := exec.LookPath(os.Args[1])
		if err != nil {
			return err
		}
		// The program lies below a directory that only root may search, so it is
		// opened first and run by its descriptor.
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		if os.Geteuid() == 0 {
			const nobody = 65534
			if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
				return err
			}
		}
		return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args[1:], os.Environ())
	}()
	fmt.Fprintln(os.Stderr, "as-nobody:", err)
	os.Exit(126)
}
