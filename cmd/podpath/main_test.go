package main

import (
	"flag"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/podpath/podpath/tracer/lab"
)

var update = flag.Bool("update", false, "write what is generated instead of comparing it")

// TestMain makes this binary the lab's inhabitants, the program itself (called
// by the name podpath), or the tests.
func TestMain(m *testing.M) {
	lab.ServeIfChild()
	testscript.Main(m, map[string]func(){"podpath": main, "as-nobody": asNobody})
}

// podpath is a command that runs the real program in a process of its own.
func podpath(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("podpath")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = append(os.Environ(), "KUBECONFIG="+os.DevNull, "NO_COLOR=", "TERM=xterm")
	return c
}
