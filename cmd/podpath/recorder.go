package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/session"
)

// recordingTo is where --write puts the recording. If that is the standard
// output, what is printed gives way to it and goes to standard error, as tar
// does it, so that a recording can be piped home.
func (a *app) recordingTo(write string) (string, error) {
	if write == "-" {
		write = "/dev/stdout"
	}
	if write == "" {
		return "", nil
	}
	switch filepath.Clean(write) {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		a.out = a.err
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return "", &hinted{errors.New("--write: standard error carries the progress"), "use --write - for standard output, or another descriptor: --write /dev/fd/3 3>FILE"}
	}
	return write, nil
}

// recorder writes what the analyser consumes. The zero recorder records
// nothing. The first error ends the recording and is told once; the trace goes on.
type recorder struct {
	w    *session.Writer
	warn func(error)
	view *kube.Snapshot // last recorded
}

func (r *recorder) try(err error) {
	if err == nil {
		return
	}
	_ = r.w.Close()
	r.w = nil
	r.warn(err)
}

func (r *recorder) event(ev *tracer.Event) {
	if r.w != nil {
		r.try(r.w.Event(ev))
	}
}

func (r *recorder) inventory(v *tracer.Inventory) {
	if r.w != nil {
		r.try(r.w.Inventory(v))
	}
}

func (r *recorder) count(c *tracer.FlowCount) {
	if r.w != nil {
		r.try(r.w.Count(c))
	}
}

func (r *recorder) blind(b []tracer.Blind) {
	if r.w != nil {
		r.try(r.w.Blind(b))
	}
}

func (r *recorder) budget(s *tracer.BudgetStep) {
	if r.w != nil {
		r.try(r.w.Budget(s))
	}
}

func (r *recorder) tick(now time.Time) {
	if r.w != nil {
		r.try(r.w.Tick(now))
	}
}

func (r *recorder) stats(now time.Time, s session.Stats) {
	if r.w != nil {
		r.try(r.w.Stats(now, s))
	}
}

func (r *recorder) facts(id uint64, f *tracer.NodeFacts) {
	if r.w != nil && f != nil {
		r.try(r.w.Facts(id, f))
	}
}

// cluster records a snapshot the first time it is used.
func (r *recorder) cluster(now time.Time, v *kube.Snapshot) {
	if r.w == nil || v == nil || v == r.view {
		return
	}
	r.view = v
	var b bytes.Buffer
	if err := v.WriteDump(&b); err != nil {
		r.try(err)
		return
	}
	r.try(r.w.Cluster(now, b.Bytes()))
}

// Notes that a replay acts on: from endNote on every open flow is judged, after
// enoughNote none. The time of unseenNote is that of the verdict on what was asked
// for and not seen; that of unconnectedNote of the one on a pod that has no address.
const (
	endNote    = "end of the trace"
	enoughNote = "enough verdicts"
	unseenNote = "nothing was seen"

	unconnectedNote = "no address"
)

func (r *recorder) enough(now time.Time) { r.note(now, enoughNote) }

func (r *recorder) end(now time.Time) { r.note(now, endNote) }

func (r *recorder) note(now time.Time, text string) {
	if r.w != nil {
		r.try(r.w.Note(now, text))
	}
}

// flush makes what was recorded readable, should this process be killed.
func (r *recorder) flush() {
	if r.w != nil {
		r.try(r.w.Flush())
	}
}

func (r *recorder) close() {
	if r.w != nil {
		r.try(r.w.Close())
	}
	r.w = nil
}
