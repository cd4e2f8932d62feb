package replays

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/podpath/podpath/tracer/session"
)

// pack compresses a whole recording as `zstdcat FILE | zstd -19` does: in one
// piece, which takes less than one for each second, and cannot be read in part.
func pack(recording string) ([]byte, error) {
	if err := whole(recording); err != nil {
		return nil, err
	}
	lines, err := unpack(recording)
	if err != nil {
		return nil, err
	}
	// podpath remembers up to 8 MiB of a frame; a window of the size of the
	// content would let a large recording ask for more.
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(4<<20), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	packed := zip.EncodeAll(lines, nil)
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if len(packed) > MaxBytes {
		return nil, fmt.Errorf("pack: %d bytes are more than the %d that one may take", len(packed), MaxBytes)
	}
	return packed, nil
}

func unpack(file string) ([]byte, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	defer z.Close()
	lines, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return lines, nil
}

// whole refuses a recording in which something is missing: it is cut off, or the
// machine was too busy for every event to be handed over.
func whole(file string) error {
	r, err := session.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	var last session.Stats
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return complete(last)
		}
		if err != nil {
			return err
		}
		if rec.Kind == session.KindStats {
			last = *rec.Stats
		}
	}
}

// skipped is how often the kernel did not run the program that sees drops.
const skipped = "missed.kfree_skb"

func complete(s session.Stats) error {
	if s.Lost > 0 || s.Held > 0 || s.Unwatched > 0 || s.Counters[skipped] > 0 {
		return fmt.Errorf("%d events were lost, %d were held back, %d devices were not watched, %d drops were skipped: record it again on a quiet machine",
			s.Lost, s.Held, s.Unwatched, s.Counters[skipped])
	}
	return nil
}
