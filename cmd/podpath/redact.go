package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/podpath/podpath/tracer/redact"
	"github.com/podpath/podpath/tracer/session"
)

// errRedactNothing: only recordings are redacted.
var errRedactNothing = errors.New("--redact: there is nothing to redact without --write FILE")

// rewriter replaces names and addresses in the lines of one recording; nil if it
// is to stay as it is.
func rewriter(wanted bool) (func([]byte) ([]byte, error), error) {
	if !wanted {
		return nil, nil
	}
	r, err := redact.New()
	if err != nil {
		return nil, err
	}
	return r.Line, nil
}

// redact copies a recording, with pseudonyms.
func (a *app) redact(ctx context.Context, file string, f replayFlags) error {
	switch {
	case !f.redact:
		return errors.New("--write: a replay writes nothing but a redacted copy: add --redact")
	case f.write == "":
		return errRedactNothing
	case f.pcap != "":
		return &hinted{errors.New("--pcap does not go with --redact"), "redact first, then export what came out: podpath replay REDACTED --pcap FILE"}
	}
	to, err := a.recordingTo(f.write)
	if err != nil {
		return err
	}
	rewrite, err := rewriter(true)
	if err != nil {
		return err
	}
	r, err := openRecording(file)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := session.CreateThrough(to, r.Header(), rewrite)
	if err != nil {
		return err
	}
	return a.copyRecords(ctx, w, r)
}

func (a *app) copyRecords(ctx context.Context, w *session.Writer, r *session.Reader) error {
	n := 0
	for {
		if ctx.Err() != nil {
			return errors.Join(&exitError{exitInterrupted}, w.Abandon())
		}
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			a.say("warning: %v", err)
			a.say("%d records are redacted; the copy is cut off there", n)
			return w.Abandon()
		}
		if err := w.Copy(rec); err != nil {
			return errors.Join(err, w.Abandon())
		}
		n++
	}
	if skipped := r.Skipped(); skipped > 0 {
		a.say("warning: %d records of kinds that this version does not know were left out", skipped)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("close the copy: %w", err)
	}
	a.say("%d records are redacted", n)
	return nil
}
