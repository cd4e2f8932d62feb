package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a frame may ask the decompressor to remember; it
// allows files that were packed again with `zstd -19`.
const maxWindow = 8 << 20

// errNoEnd: every line was intact, but the last one is not the end record.
var errNoEnd = fmt.Errorf("no end record: %w", io.ErrUnexpectedEOF)

// Reader reads a recording. It belongs to one goroutine, and its memory does
// not depend on the length of the file.
type Reader struct {
	header  Header
	lines   *bufio.Reader
	long    []byte // a line longer than the buffer of lines
	close   func() error
	total   uint64 // lines after the header
	handed  uint64
	skipped uint64
	err     error
}

// Open opens a recording and reads its header. The errors that a caller can
// tell apart are ErrNotSession, *VersionError and *DamagedError.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	r, err := NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open session %s: %w", path, err), f.Close())
	}
	unpack := r.close
	r.close = func() error { return errors.Join(unpack(), f.Close()) }
	return r, nil
}

// NewReader reads a recording from a stream, packed or as bare JSON lines.
// Close does not close src.
func NewReader(src io.Reader) (*Reader, error) {
	in := bufio.NewReader(src)
	first, err := in.Peek(1)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSession, err)
	}
	r := &Reader{close: func() error { return nil }, lines: in}
	if first[0] != '{' {
		// One decoder and no read-ahead: a block is verified before it is
		// handed out, and nothing runs in the background.
		zip, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(2*MaxRecordBytes))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotSession, err)
		}
		r.close = func() error { zip.Close(); return nil }
		r.lines = bufio.NewReaderSize(zip, FrameBytes)
	}
	if err := r.readHeader(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// Header says where the session was recorded.
func (r *Reader) Header() Header { return r.header }

// Skipped counts the records of kinds that this version does not know.
func (r *Reader) Skipped() uint64 { return r.skipped }

// Close releases the file.
func (r *Reader) Close() error { return r.close() }

// Next returns the next record. After the end record comes io.EOF; a recording
// that stops before it, or is corrupted, ends with a *DamagedError.
func (r *Reader) Next() (Record, error) {
	for r.err == nil {
		rec, err := r.next()
		switch {
		case err != nil:
			r.err = err
		case rec.Kind.known():
			r.handed++
			return rec, nil
		default:
			r.skipped++
		}
	}
	return Record{}, r.err
}

func (r *Reader) next() (Record, error) {
	line, err := r.line()
	if errors.Is(err, io.EOF) {
		return Record{}, r.damaged(errNoEnd)
	}
	if err != nil {
		return Record{}, r.damaged(err)
	}
	var rec Record
	if err := json.Unmarshal(line, &rec); err != nil {
		// A newer podpath may give a field of an unknown kind another type.
		if k, ok := unknownKind(line); ok {
			r.total++
			return Record{Kind: k}, nil
		}
		return Record{}, r.damaged(err)
	}
	if rec.Kind.known() && !rec.complete() {
		return Record{}, r.damaged(fmt.Errorf("a %s record without its content", rec.Kind))
	}
	if rec.Kind == KindEnd {
		if err := r.checkEnd(rec.End); err != nil {
			return Record{}, r.damaged(err)
		}
	}
	r.total++
	return rec, nil
}

// checkEnd makes sure that nothing is missing before the end and that nothing
// follows it; then the next read gives io.EOF.
func (r *Reader) checkEnd(end *End) error {
	if end.Records != r.total {
		return fmt.Errorf("the end record counts %d records, found %d", end.Records, r.total)
	}
	switch _, err := r.lines.ReadByte(); {
	case err == nil:
		return errors.New("data after the end record")
	case !errors.Is(err, io.EOF):
		return err
	}
	r.err = io.EOF
	return nil
}

func unknownKind(line []byte) (Kind, bool) {
	var probe struct {
		Kind Kind `json:"kind"`
	}
	err := json.Unmarshal(line, &probe)
	return probe.Kind, err == nil && probe.Kind != "" && !probe.Kind.known()
}

func (r *Reader) readHeader() error {
	line, err := r.line()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSession, err)
	}
	err = json.Unmarshal(line, &r.header)
	switch {
	case r.header.Format != Format && err != nil:
		return fmt.Errorf("%w: %w", ErrNotSession, err)
	case r.header.Format != Format:
		return fmt.Errorf("%w: its format is %q", ErrNotSession, r.header.Format)
	case r.header.Version != Version:
		return &VersionError{Got: r.header.Version, Podpath: r.header.Podpath}
	case err != nil:
		return r.damaged(err)
	}
	return nil
}

// line returns the next line without its newline, valid until the next call.
// io.EOF means that the stream ended after a whole line.
func (r *Reader) line() ([]byte, error) {
	part, err := r.lines.ReadSlice('\n')
	if err == nil {
		return bytes.TrimSuffix(part, []byte("\n")), nil
	}
	r.long = r.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(r.long)+len(part) > MaxRecordBytes {
			return nil, fmt.Errorf("a record of more than %d bytes", MaxRecordBytes)
		}
		r.long = append(r.long, part...)
		part, err = r.lines.ReadSlice('\n')
	}
	r.long = append(r.long, part...)
	if err == nil {
		return r.long[:len(r.long)-1], nil
	}
	if errors.Is(err, io.EOF) && len(r.long) > 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}

func (r *Reader) damaged(err error) error {
	return &DamagedError{
		Records:   r.handed,
		Truncated: errors.Is(err, io.ErrUnexpectedEOF),
		Err:       err,
	}
}
