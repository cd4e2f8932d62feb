package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/render"
)

// colours are the sequences that podpath may write; any other is an attack.
var colours = regexp.MustCompile(`\x1b\[(0|1|2|3[1-6]|1;3[1-6])m`)

// On a terminal there are colours, and no line is wider than it, except for a
// word that is.
func TestTerminal(t *testing.T) {
	commands := map[string][]string{
		"replay":      {"replay", "testdata/sessions/policy-ingress.podpath"},
		"ICMP error":  {"replay", "testdata/sessions/stale-endpoint.podpath"},
		"health":      {"replay", "testdata/sessions/healthy-service.podpath"},
		"flows":       {"replay", "testdata/sessions/policy-ingress.podpath", "--flows", "-o", "wide"},
		"catalogue":   {"explain"},
		"explanation": {"explain", "pol-ingress-deny"},
		"faults":      {"demo", "--list"},
	}
	for name, args := range commands {
		for _, width := range []uint16{40, 80, 132} {
			t.Run(fmt.Sprintf("%s at %d", name, width), func(t *testing.T) {
				out := onTerminal(t, width, nil, args...)
				if strings.TrimSpace(out) == "" {
					t.Fatal("no output")
				}
				text(t, out)
				for line := range strings.Lines(colours.ReplaceAllString(out, "")) {
					line = strings.TrimRight(line, "\r\n")
					words := strings.Fields(strings.TrimLeft(line, " -✓✗·↩?1234567890."))
					if n := utf8.RuneCountInString(line); n > int(width) && len(words) > 1 {
						t.Errorf("%d columns: %q", n, line)
					}
				}
			})
		}
	}
}

func TestTerminalColour(t *testing.T) {
	session := "testdata/sessions/policy-ingress.podpath"
	if out := onTerminal(t, 80, nil, "replay", session); !strings.Contains(out, "\x1b[1;31m✗ POLICY\x1b[0m") {
		t.Errorf("no colour on a terminal: %q", out)
	}
	for name, c := range map[string]struct {
		env  string
		args []string
	}{
		"NO_COLOR":      {"NO_COLOR=1", nil},
		"--no-color":    {"", []string{"--no-color"}},
		"dumb terminal": {"TERM=dumb", nil},
		"JSON":          {"", []string{"-o", "json"}},
		"YAML":          {"", []string{"-o", "yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := onTerminal(t, 80, []string{c.env}, append([]string{"replay", session}, c.args...)...)
			if strings.Contains(out, "\x1b") || !strings.Contains(out, "pol-ingress-deny") {
				t.Errorf("got %q", out)
			}
		})
	}
}

// hostile is what nobody should call a pod.
const hostile = "evil\x1b[2J\x1b]0;owned\x07\u202etxt\r\nFAKE LINE\u009b31m"

// A dump with hostile names, read before anything is attached.
func TestHostileNamesInErrors(t *testing.T) {
	dump := func(name string) string {
		b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
			map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop"}},
			map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "shop", "labels": map[string]any{hostile: hostile}, "annotations": map[string]any{hostile: hostile}},
				"spec": map[string]any{"nodeName": hostile}, "status": map[string]any{"phase": hostile, "reason": hostile, "message": hostile}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct{ pod, from string }{
		"near match":    {"web\x1b[2J", "shop/pod/web"},
		"another node":  {"web", "shop/pod/web"},
		"what is typed": {"web", "shop/pod/" + hostile},
		"no such kind":  {"web", hostile + "/x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := podpath(t, "trace", "--cluster-dump", "-", "--node", "n1", "--from", c.from, "--to", "any")
			p.Stdin = strings.NewReader(dump(c.pod))
			out, err := p.CombinedOutput()
			if err == nil || p.ProcessState.ExitCode() != exitUsage {
				t.Errorf("exit: %v", err)
			}
			text(t, string(out))
		})
	}
}

// A real trace of pods with hostile names: text stays text, and JSON has the
// names as they are.
func TestHostileNamesInVerdicts(t *testing.T) {
	l := damagedLab(t, "not-listening", func(dump []byte) []byte {
		name, _ := json.Marshal(hostile)
		client := regexp.MustCompile(`"name":\s*"(checkout-[^"]+)"`).FindSubmatch(dump)[1]
		return bytes.ReplaceAll(dump, client, bytes.Trim(name, `"`))
	})
	args := append(slices.Clone(l.args), "--from", "any", "--count", "1") // the last --from counts
	p := launch(t, append(args, "-o", "wide")...)
	p.ready(t)
	l.show(t)
	if code := p.code(t); code != exitFault {
		t.Errorf("exit code %d", code)
	}
	text(t, p.out.String())
	text(t, p.err.String())
	if !strings.Contains(p.out.String(), `shop/evil\x1b[2J`) {
		t.Error("the name is not shown, escaped")
	}

	p = launch(t, append(args, "-o", "json")...)
	p.ready(t)
	l.show(t)
	p.code(t)
	first, _, _ := strings.Cut(p.out.String(), "\n")
	var v render.Verdict
	if err := json.Unmarshal([]byte(first), &v); err != nil {
		t.Fatal(err)
	}
	if v.Flow.Source.Name != hostile {
		t.Errorf("JSON names %q", v.Flow.Source.Name)
	}
	text(t, strings.TrimSpace(first))
}

// text fails if an output holds anything but text, line ends and colours.
func text(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(colours.ReplaceAllString(out, "")) {
		for _, r := range strings.TrimRight(line, "\r\n") {
			if unicode.IsControl(r) && r != '\t' || unicode.In(r, unicode.Cf) {
				t.Errorf("raw %U in %q", r, line)
				break
			}
		}
		if strings.HasPrefix(line, "FAKE LINE") {
			t.Errorf("a name began a line: %q", line)
		}
	}
}

// onTerminal runs podpath with its standard output on a terminal of that width
// and returns what the terminal got.
func onTerminal(t *testing.T, width uint16, env []string, args ...string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	fd := int(control.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: width}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := podpath(t, args...)
	c.Env = append(c.Env, env...)
	c.Stdout = tty
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	read := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(control) // ends with EIO when the last writer is gone
		read <- string(b)
	}()
	_ = c.Wait() // the exit code is another test's business
	select {
	case out := <-read:
		return out
	case <-time.After(patience):
		t.Fatal("the terminal stays open")
	}
	return ""
}
