package rules

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// saveTool is what podpath reads tables of iptables-legacy with.
const saveTool = "iptables-legacy-save"

// TestMain: under the name of that tool the test's binary notes what was asked and
// goes on as the tool. A shell would do, and the machines of the kernel matrix have
// none.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == saveTool {
		fmt.Fprintln(os.Stderr, beTheTool(filepath.Dir(os.Args[0])))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// standIn puts the test's binary in front of the tool. What it was asked is in the
// file that it returns, a line for each run.
func standIn(t *testing.T) (runs string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	must(t, os.Symlink(self, filepath.Join(dir, saveTool)))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return filepath.Join(dir, "runs")
}

// beTheTool returns only if that cannot be.
func beTheTool(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "runs"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, strings.Join(os.Args[1:], " ")); err != nil {
		return err
	}
	if err := os.Setenv("PATH", strings.TrimPrefix(os.Getenv("PATH"), dir+":")); err != nil {
		return err
	}
	tool, err := exec.LookPath(saveTool)
	if err != nil {
		return err
	}
	return syscall.Exec(tool, append([]string{saveTool}, os.Args[1:]...), os.Environ())
}
