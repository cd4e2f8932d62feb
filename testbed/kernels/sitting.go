package main

import (
	"fmt"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// sitting follows the answers of one machine through its tasks.
type sitting struct {
	tasks  []task // that have not ended
	lacks  []lack
	report func(cell, outcome)
	say    func(format string, args ...any)
	keep   func(job.File) error // nil if nothing is kept
	now    *trial
}

// line takes an answer of the machine.
func (s *sitting) line(l job.Line) error {
	switch {
	case l.Ready != nil:
		s.say("up after %.1f s: %s", l.Ready.Uptime, l.Ready.Version)
		for _, refused := range l.Ready.Refused {
			s.say("module refused: %s", refused)
		}
	case l.Failed != "":
		s.report(cell{"machine", l.Failed, true}, outcome{})
	case l.Output != nil:
		return s.output(l.Output)
	case l.File != nil && s.keep != nil:
		return s.keep(*l.File)
	case l.Result != nil:
		return s.end(*l.Result)
	}
	return nil
}

func (s *sitting) output(text []byte) error {
	if err := s.begin(); err != nil {
		return err
	}
	return s.now.write(text)
}

func (s *sitting) begin() error {
	if s.now != nil {
		return nil
	}
	if len(s.tasks) == 0 {
		return fmt.Errorf("the machine runs what it was not told to")
	}
	s.now = &trial{checks: s.tasks[0], suite: s.tasks[0][0].suite, lacks: s.lacks, report: s.report}
	s.tasks = s.tasks[1:]
	return s.now.start()
}

func (s *sitting) end(r job.Result) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.say("tests of %s ended after %.1f s", s.now.suite.pkg, r.Seconds)
	err := s.now.end(r)
	s.now = nil
	return err
}

// close tells what was not run because the machine ended.
func (s *sitting) close() error {
	var err error
	if s.now != nil {
		err = s.end(job.Result{Exit: -1, Error: "the machine ended"})
	}
	for _, t := range s.tasks {
		for _, c := range t {
			s.report(cell{c.row(), "did not run", true}, outcome{})
		}
	}
	return err
}
