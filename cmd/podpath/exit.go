package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// Exit codes of the contract.
const (
	exitHealthy      = 0
	exitFault        = 1
	exitUsage        = 2
	exitUndetermined = 3
	exitInterrupted  = 130
)

// exitError ends the program with a code and without another message.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitHealthy
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, unix.EPIPE):
		return exitHealthy // whoever read the output has seen enough
	}
	return exitUsage
}

// hinted is an error that also says what to do.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }
func (h *hinted) Hint() string  { return h.hint }

// tally counts verdicts and turns them into the exit code.
type tally struct {
	codes map[string]int
	flows int
}

func (t *tally) add(v *tracer.Verdict) {
	if t.codes == nil {
		t.codes = map[string]int{}
	}
	t.codes[v.Code]++
	if v.Outcome != tracer.OutcomeNotSeen && v.Outcome != tracer.OutcomeNotSent {
		t.flows++
	}
}

// code: a named fault wins, then anything undetermined, then health.
func (t *tally) code() int {
	var fault, open int
	for code, n := range t.codes {
		switch code {
		case tracer.CodeOK:
		case tracer.CodeUnknown, tracer.CodeBeyondNode:
			open += n
		default:
			fault += n
		}
	}
	switch {
	case fault > 0:
		return exitFault
	case open > 0 || t.codes[tracer.CodeOK] == 0:
		return exitUndetermined
	}
	return exitHealthy
}
