package session

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzReader feeds any bytes, and the same bytes packed, to the reader: it ends
// with io.EOF, a DamagedError or a refusal, and whatever it hands out can be
// recorded again.
func FuzzReader(f *testing.F) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	t := &testing.T{}
	packed := recording(t, sample(t), 2)
	bare, err := unzip.DecodeAll(packed, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:len(packed)/2])
	f.Add(bare)
	f.Add([]byte(`{"format":"podpath-session","version":1}` + "\n" + `{"kind":"new"}` + "\n" + `{"kind":"end","end":{"records":1}}` + "\n"))
	f.Add([]byte("\x50\x2a\x4d\x18\xff\xff\xff\xff")) // a huge skippable frame
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, data)
		check(t, zip.EncodeAll(data, nil))
	})
}

func check(t *testing.T, data []byte) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		var ve *VersionError
		var de *DamagedError
		if !errors.Is(err, ErrNotSession) && !errors.As(err, &ve) && !errors.As(err, &de) {
			t.Fatalf("untyped refusal: %v", err)
		}
		return
	}
	defer func() { _ = r.Close() }()
	w, err := newWriter(nopFile{}, r.Header(), tickClock, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(0); ; n++ {
		rec, err := r.Next()
		var de *DamagedError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &de):
			if de.Records != n {
				t.Fatalf("says %d records, handed out %d", de.Records, n)
			}
			return
		case err != nil:
			t.Fatalf("untyped error: %v", err)
		}
		if rec.Kind == KindEnd {
			continue
		}
		if err := write(t, w, rec); err != nil {
			t.Fatalf("record %+v: %v", rec, err)
		}
	}
}
