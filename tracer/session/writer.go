package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/podpath/podpath/tracer"
)

// flushEvery bounds how much a killed recording loses.
const flushEvery = time.Second

// maxFileBytes bounds a recording: a tool for incidents must not fill the disk
// of the node it looks at.
const maxFileBytes = 4 << 30

// Writer records a session. It belongs to one goroutine, the analyser's, so
// that the order of the file is the order of consumption.
//
// The first failure, for instance a full disk, ends the recording: that call
// returns the error and every later one does nothing and returns nil, so that
// the trace goes on without it. Err tells at any time.
type Writer struct {
	file    io.WriteCloser
	zip     *zstd.Encoder
	pending bytes.Buffer // whole lines, not yet written
	line    bytes.Buffer
	frame   []byte
	now     func() time.Time
	rewrite func([]byte) ([]byte, error) // nil: as it is
	flushed time.Time
	limit   int64
	written int64
	records uint64
	err     error
	closed  bool
}

// Create starts a recording at path, see CreateFile, and writes the header; it
// fills in Format and Version.
func Create(path string, h Header) (*Writer, error) {
	return CreateThrough(path, h, nil)
}

// CreateThrough is Create with every line, the header's first, passing through
// rewrite, which gets and gives it without its end. Nothing is written that did
// not. A line that it fails on ends the recording.
func CreateThrough(path string, h Header, rewrite func([]byte) ([]byte, error)) (*Writer, error) {
	f, err := CreateFile(path)
	if err != nil {
		return nil, fmt.Errorf("create session: %w", err)
	}
	return newWriter(f, h, time.Now, rewrite)
}

func newWriter(f io.WriteCloser, h Header, now func() time.Time, rewrite func([]byte) ([]byte, error)) (*Writer, error) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create session: %w", err), f.Close())
	}
	w := &Writer{file: f, zip: zip, now: now, flushed: now(), limit: maxFileBytes, rewrite: rewrite}
	h.Format, h.Version = Format, Version
	if err := errors.Join(w.append(h), w.Flush()); err != nil {
		return nil, errors.Join(fmt.Errorf("create session: %w", err), f.Close())
	}
	return w, nil
}

// Event records one event.
func (w *Writer) Event(e *tracer.Event) error {
	return w.record(Record{Kind: KindEvent, Event: e})
}

// Inventory records the namespaces and devices as they are from here on.
func (w *Writer) Inventory(v *tracer.Inventory) error {
	return w.record(Record{Kind: KindInventory, Inventory: v})
}

// Cluster records the cluster's objects as they are from here on: one JSON
// value of at most MaxRecordBytes.
func (w *Writer) Cluster(at time.Time, snapshot json.RawMessage) error {
	return w.record(Record{Kind: KindCluster, Time: at, Cluster: snapshot})
}

// Tick records that the analyser's clock moved to at.
func (w *Writer) Tick(at time.Time) error {
	return w.record(Record{Kind: KindTick, Time: at})
}

// Facts records the answer to the analyser's query about a journey.
func (w *Writer) Facts(journey uint64, f *tracer.NodeFacts) error {
	return w.record(Record{Kind: KindFacts, Journey: journey, Facts: f})
}

// Count records what the kernel counted of a flow at one device.
func (w *Writer) Count(c *tracer.FlowCount) error {
	return w.record(Record{Kind: KindCount, Count: c})
}

// Stats records the probes' counters.
func (w *Writer) Stats(at time.Time, s Stats) error {
	return w.record(Record{Kind: KindStats, Time: at, Stats: &s})
}

// Blind records what cannot be seen from here on.
func (w *Writer) Blind(b []tracer.Blind) error {
	return w.record(Record{Kind: KindBlind, Blind: b})
}

// Budget records a change of how much is shown.
func (w *Writer) Budget(s *tracer.BudgetStep) error {
	return w.record(Record{Kind: KindBudget, Budget: s})
}

// Note records a remark for whoever replays ("API server unreachable").
func (w *Writer) Note(at time.Time, text string) error {
	return w.record(Record{Kind: KindNote, Time: at, Note: text})
}

// Copy records what a Reader gave. Of the end, which is Close's to write, it
// takes the time.
func (w *Writer) Copy(r Record) error {
	if r.Kind == KindEnd {
		w.now = func() time.Time { return r.Time }
		return nil
	}
	return w.record(r)
}

// Abandon closes the file without marking the recording as complete: a copy of
// one that is cut off is cut off too.
func (w *Writer) Abandon() error {
	if w.closed {
		return nil
	}
	err := w.Flush()
	w.closed = true
	return errors.Join(err, w.file.Close(), w.zip.Close())
}

// Err is the failure that ended the recording, nil while it goes on.
func (w *Writer) Err() error { return w.err }

// Flush hands everything recorded to the operating system. Records do so by
// themselves when the last flush is a second old; call it when none come.
func (w *Writer) Flush() error {
	if w.err != nil || w.closed {
		return nil
	}
	return w.fail(w.flush())
}

// Close marks the recording as complete and closes the file. It returns an
// error only if none was returned before.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	err := w.record(Record{Kind: KindEnd, Time: w.now(), End: &End{Records: w.records}})
	if err == nil {
		err = w.Flush()
	}
	reported := w.err != nil
	w.closed = true
	cerr := errors.Join(w.file.Close(), w.zip.Close())
	if reported {
		return err
	}
	return w.fail(cerr)
}

func (w *Writer) record(r Record) error {
	if w.err != nil || w.closed {
		return nil
	}
	if !r.complete() {
		return w.fail(fmt.Errorf("a %s record without its content", r.Kind))
	}
	if err := w.append(r); err != nil {
		return w.fail(fmt.Errorf("%s record: %w", r.Kind, err))
	}
	w.records++
	if w.now().Sub(w.flushed) >= flushEvery {
		return w.Flush()
	}
	return nil
}

// append encodes v as one line and keeps frames within FrameBytes.
func (w *Writer) append(v any) error {
	w.line.Reset()
	enc := json.NewEncoder(&w.line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if err := w.rewritten(); err != nil {
		return err
	}
	if w.line.Len() > MaxRecordBytes {
		return fmt.Errorf("%d bytes are more than the limit of %d", w.line.Len(), MaxRecordBytes)
	}
	if w.pending.Len()+w.line.Len() > FrameBytes {
		if err := w.emit(w.pending.Bytes()); err != nil {
			return err
		}
		w.pending.Reset()
	}
	if w.line.Len() > FrameBytes {
		return w.emit(w.line.Bytes())
	}
	w.pending.Write(w.line.Bytes())
	return nil
}

func (w *Writer) rewritten() error {
	if w.rewrite == nil {
		return nil
	}
	line, err := w.rewrite(bytes.TrimSuffix(w.line.Bytes(), []byte("\n")))
	if err != nil {
		return err
	}
	w.line.Reset()
	w.line.Write(line)
	w.line.WriteByte('\n')
	return nil
}

func (w *Writer) flush() error {
	w.flushed = w.now()
	err := w.emit(w.pending.Bytes())
	w.pending.Reset()
	return err
}

// emit writes lines as one frame in one write.
func (w *Writer) emit(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	w.frame = w.zip.EncodeAll(lines, w.frame[:0])
	if w.written+int64(len(w.frame)) > w.limit {
		return fmt.Errorf("%w of %d bytes", ErrTooLarge, w.limit)
	}
	n, err := w.file.Write(w.frame)
	w.written += int64(n)
	// The file was opened under another name, which would only puzzle people.
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return err
}

// fail remembers the first error, so that it is returned once.
func (w *Writer) fail(err error) error {
	if err == nil || w.err != nil {
		return nil
	}
	w.err = fmt.Errorf("write session: %w", err)
	return w.err
}
