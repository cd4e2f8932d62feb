package session

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// fullDisk takes room bytes and then fails as a full file system does.
type fullDisk struct {
	buffer
	room   int
	writes int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	d.writes++
	n := min(len(p), d.room)
	d.room -= n
	_, _ = d.buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func tick(n int) time.Time { return time.Unix(1795600000+int64(n), 0).UTC() }

func TestFullDiskEndsTheRecordingOnce(t *testing.T) {
	d := &fullDisk{room: 2000}
	w, err := newWriter(d, header(t), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	var failures int
	for i := range 3000 {
		if err := w.Tick(tick(i)); err != nil {
			failures++
			if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "write session: ") {
				t.Errorf("got %v", err)
			}
		}
		if err := w.Flush(); err != nil {
			failures++
		}
	}
	writes := d.writes
	if err := w.Close(); err != nil {
		t.Errorf("close reports again: %v", err)
	}
	if failures != 1 || w.Err() == nil || d.closed != 1 || d.writes != writes {
		t.Errorf("%d failures, err %v, closed %d times, %d writes after the failure",
			failures, w.Err(), d.closed, d.writes-writes)
	}
	recs, err := readAll(d.Bytes())
	var de *DamagedError
	if !errors.As(err, &de) || !de.Truncated || len(recs) == 0 {
		t.Errorf("%d records are readable, %v", len(recs), err)
	}
}

func TestFullDiskAtTheHeaderAndAtTheEnd(t *testing.T) {
	d := &fullDisk{room: 10}
	if _, err := newWriter(d, header(t), time.Now, nil); !errors.Is(err, syscall.ENOSPC) || d.closed != 1 {
		t.Errorf("header: %v, closed %d times", err, d.closed)
	}
	d = &fullDisk{room: 1 << 20}
	w, err := newWriter(d, header(t), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.room = 3
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) || d.closed != 1 {
		t.Errorf("end: %v, closed %d times", err, d.closed)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestSizeLimit(t *testing.T) {
	var f buffer
	w, err := newWriter(&f, header(t), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.limit = w.written + 100
	for i := 0; w.Err() == nil && i < 1000; i++ {
		err = errors.Join(w.Tick(tick(i)), w.Flush())
	}
	if !errors.Is(err, ErrTooLarge) || int64(f.Len()) > w.limit {
		t.Errorf("%v at %d of %d bytes", err, f.Len(), w.limit)
	}
}

// A recording that is killed keeps what is older than a second.
func TestFlushesEachSecond(t *testing.T) {
	clock := tick(0)
	var f buffer
	w, err := newWriter(&f, header(t), func() time.Time { return clock }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 25 { // ten records a second
		clock = tick(0).Add(time.Duration(i) * 100 * time.Millisecond)
		if err := w.Tick(clock); err != nil {
			t.Fatal(err)
		}
	}
	recs, err := readAll(f.Bytes())
	var de *DamagedError
	if len(recs) != 21 || !errors.As(err, &de) || !de.Truncated {
		t.Errorf("%d records are readable, %v", len(recs), err)
	}
}

func TestUnrecordable(t *testing.T) {
	for name, rec := range map[string]func(*Writer) error{
		"nil event":   func(w *Writer) error { return w.Event(nil) },
		"bad json":    func(w *Writer) error { return w.Cluster(tick(0), json.RawMessage(`{"a":`)) },
		"no json":     func(w *Writer) error { return w.Cluster(tick(0), nil) },
		"year 10000":  func(w *Writer) error { return w.Tick(time.Unix(math.MaxInt32*200, 0)) },
		"zero tick":   func(w *Writer) error { return w.Tick(time.Time{}) },
		"nil facts":   func(w *Writer) error { return w.Facts(1, nil) },
		"no inventoy": func(w *Writer) error { return w.Inventory(nil) },
	} {
		var f buffer
		w, err := newWriter(&f, header(t), time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := rec(w); err == nil || w.Err() == nil {
			t.Errorf("%s is recorded", name)
		}
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.podpath")
	for range 2 { // a regular file is replaced
		w, err := Create(path, header(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Event(filled[tracer.Event](t)), w.Close()); err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(path)
		if err != nil || st.Mode() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Kind{KindEvent, KindEnd} {
		if rec, err := r.Next(); err != nil || rec.Kind != want {
			t.Errorf("got %s, %v", rec.Kind, err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// A file that somebody else holds open, or links to, is not written to.
func TestCreateDoesNotReuseTheFile(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "s"), filepath.Join(dir, "other")
	if err := errors.Join(os.WriteFile(other, []byte("theirs"), 0o644), os.Link(other, path)); err != nil {
		t.Fatal(err)
	}
	w, err := Create(path, header(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(other); err != nil || string(b) != "theirs" {
		t.Errorf("wrote through a hard link: %q, %v", b, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.WriteFile(at("target"), []byte("precious"), 0o644),
		os.Symlink(at("target"), at("link")),
		os.Symlink(at("nowhere"), at("dangling")),
		os.Mkdir(at("dir"), 0o755),
		syscall.Mkfifo(at("fifo"), 0o600), // nobody reads from it
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "dangling", "dir", "fifo", "no/such/dir"} {
		if _, err := Create(at(name), header(t)); err == nil {
			t.Errorf("%s is written to", name)
		}
	}
	if b, err := os.ReadFile(at("target")); err != nil || string(b) != "precious" {
		t.Errorf("target now %q, %v", b, err)
	}
	if _, err := os.Lstat(at("nowhere")); err == nil {
		t.Error("created the target of a dangling link")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := Open(path); err == nil {
			t.Errorf("%s opens", path)
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	e := tracer.Event{Seq: 1, Time: tick(0), MonoNS: 1 << 50, Kind: tracer.EventRX, NetNS: 4026531840,
		IfIndex: 7, SKB: 0xffff888012345678, Len: 1500, TTL: 64, TCPFlags: tracer.TCPAck}
	w, err := newWriter(nopFile{}, Header{}, time.Now, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		e.Seq++
		e.SKB += 256
		if err := w.Event(&e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(w.written)/float64(w.records), "B/event")
}

type nopFile struct{}

func (nopFile) Write(p []byte) (int, error) { return len(p), nil }
func (nopFile) Close() error                { return nil }

func tickClock() time.Time { return tick(0) }
