package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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
	if err := notOnto("--write", file, to); err != nil {
		return err
	}
	w, err := session.CreateThrough(to, r.Header(), rewrite)
	if err != nil {
		return err
	}
	return a.copyRecords(ctx, w, r)
}

// notOnto refuses to replace the recording that is being read.
func notOnto(flag, file, to string) error {
	from, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("look at the recording: %w", err)
	}
	// If there is nothing at to, or it cannot be looked at, that is for who opens it.
	if st, err := os.Stat(to); err == nil && st.Mode().IsRegular() && os.SameFile(from, st) {
		return &hinted{fmt.Errorf("%s: %s is the recording itself", flag, to), "choose another name: the recording would be lost"}
	}
	return nil
}

// copyRecords copies all there are. As in a replay, damage is a warning, unless
// nothing came before it.
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
		if err != nil && n == 0 {
			return errors.Join(err, w.Abandon())
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
