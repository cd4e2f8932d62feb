package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

func TestClockNote(t *testing.T) {
	for _, c := range []struct {
		step, suspended time.Duration
		want            string
	}{
		{time.Hour, 0, "set forward by 1h0m0s: "},
		{-90 * time.Second, 0, "set back by 1m30s: "},
		{time.Minute, time.Minute, "set forward by 1m0s (it slept for 1m0s): "},
		{time.Millisecond, 0, "again as it was: "},
	} {
		if got := clockNote(c.step, c.suspended); !strings.Contains(got, c.want) {
			t.Errorf("%v, %v: %s", c.step, c.suspended, got)
		}
	}
}

// In a time namespace this process's CLOCK_MONOTONIC is not the one that stamps
// the events.
func TestTimeNamespace(t *testing.T) {
	t.Parallel()
	for _, shift := range []string{"864000", "-60"} {
		t.Run(shift, func(t *testing.T) {
			l := damagedLab(t, "not-listening", nil)
			unshare, err := exec.LookPath("unshare")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat("/proc/self/timens_offsets"); err != nil {
				if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
					t.Fatal("needs time namespaces (kernel 5.6)")
				}
				t.Skip("needs time namespaces (kernel 5.6)")
			}
			p := &program{cmd: podpath(t, append(l.args, "-o", "json", "--until-verdict")...), ended: make(chan error, 1)}
			p.cmd.Args = append([]string{unshare, "--time", "--monotonic", shift, "--fork", "--kill-child", p.cmd.Path}, p.cmd.Args[1:]...)
			p.cmd.Path = unshare
			p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
			p.start(t)
			p.ready(t)
			began := time.Now()
			l.show(t)
			if code := p.code(t); code != exitFault {
				t.Errorf("exit %d", code)
			}
			for _, v := range objectsIn[render.Verdict](t, p.out.String(), "Verdict") {
				if v.Code != l.scenario.Code || v.Confidence != tracer.Confirmed || v.Flow.Source.Name == "" {
					t.Errorf("got %s %s: %s", v.Code, v.Confidence, v.Summary)
				}
				for _, h := range v.Hops {
					if h.Time != nil && (h.Time.Before(began) || h.Time.After(time.Now())) {
						t.Errorf("%s is of %s, the test began at %s", h.Where, h.Time, began)
					}
				}
			}
		})
	}
}
