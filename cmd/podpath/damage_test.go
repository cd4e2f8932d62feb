package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// replayed is what replay says of a file.
type replayed struct {
	code     int
	verdicts []render.Verdict
	out, err string
}

// replayBytes runs replay over a recording, in this process.
func replayBytes(t testing.TB, file string, data []byte, args ...string) replayed {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, err bytes.Buffer
	r := replayed{code: run(context.Background(), append([]string{"replay", file}, args...), stdio{in: strings.NewReader(""), out: &out, err: &err})}
	r.out, r.err = out.String(), err.String()
	return r
}

func (r *replayed) decode(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(r.out) {
		var v render.Verdict
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if v.Kind == "Verdict" {
			r.verdicts = append(r.verdicts, v)
		}
	}
}

// recordings are the ones that are kept, whole and as bare lines.
func recordings(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/sessions/*.podpath")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer unzip.Close()
	all := map[string][]byte{}
	for _, f := range files {
		packed, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		bare, err := unzip.DecodeAll(packed, nil)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".podpath")
		all[name], all[name+", bare"] = packed, bare
	}
	return all
}

// A recording that is cut off or damaged anywhere is read up to there, which is
// said, and nothing is concluded from what is missing: whatever is blamed is
// what the whole recording blames, and no more surely than there.
func TestDamagedRecording(t *testing.T) {
	for name, data := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "session")
			whole := replayBytes(t, file, data, "-o", "json")
			whole.decode(t)
			if len(whole.verdicts) == 0 || whole.err != "" {
				t.Fatalf("intact: %+v", whole)
			}
			rnd := rand.New(rand.NewPCG(7, uint64(len(data))))
			for n := range 160 {
				cut := rnd.IntN(len(data))
				if i := bytes.IndexByte(data[cut:], '\n'); n%2 == 0 && i >= 0 { // at the end of a line
					cut += i + 1
				}
				holds(t, fmt.Sprintf("cut at %d", cut), whole, replayBytes(t, file, data[:cut], "-o", "json"))
			}
			for range 80 {
				bit := rnd.IntN(8 * len(data))
				flipped := bytes.Clone(data)
				flipped[bit/8] ^= 1 << (bit % 8)
				r := replayBytes(t, file, flipped, "-o", "json")
				// Bare lines have no checksum: a digit may be another.
				if strings.HasSuffix(name, "bare") {
					r.decode(t)
					continue
				}
				holds(t, fmt.Sprintf("bit %d", bit), whole, r)
			}
		})
	}
}

// holds compares a replay of what is left with that of the whole.
func holds(t *testing.T, what string, whole, got replayed) {
	t.Helper()
	if got.code == exitUsage && got.out == "" && strings.Contains(got.err, "podpath: ") {
		return // nothing is left that could be read
	}
	got.decode(t)
	damaged := strings.Contains(got.err, "warning: session is ")
	if !damaged && got.out != whole.out {
		t.Fatalf("%s: no word about the damage\n%s\n%s", what, got.err, got.out)
	}
	for _, v := range got.verdicts {
		if !damaged || known(whole.verdicts, &v) {
			continue
		}
		switch v.Code {
		case tracer.CodeOK, tracer.CodeUnknown, tracer.CodeBeyondNode:
		default:
			t.Errorf("%s: %s %s, which the whole recording does not say: %s", what, v.Confidence, v.Code, v.Summary)
		}
		says := func(b tracer.Blind) bool { return strings.Contains(b.What, "damaged") }
		if v.Code != tracer.CodeOK && !containsBlind(v.Blind, says) {
			t.Errorf("%s: %s does not say that the recording is damaged: %+v", what, v.Code, v.Blind)
		}
	}
}

func containsBlind(list []tracer.Blind, f func(tracer.Blind) bool) bool {
	for _, b := range list {
		if f(b) {
			return true
		}
	}
	return false
}

// known: the whole recording says so too, and is no less sure.
func known(whole []render.Verdict, v *render.Verdict) bool {
	rank := map[tracer.Confidence]int{tracer.Suspected: 0, tracer.Probable: 1, tracer.Confirmed: 2}
	for _, w := range whole {
		if w.Code == v.Code && w.Flow.Destination.IP == v.Flow.Destination.IP && rank[v.Confidence] <= rank[w.Confidence] {
			return true
		}
	}
	return false
}
