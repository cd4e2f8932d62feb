package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/podpath/podpath/tracer"
)

// buffer is a file in memory.
type buffer struct {
	bytes.Buffer
	closed int
}

func (b *buffer) Close() error { b.closed++; return nil }

// fill sets every field below v to a value that is not zero, so that a field
// that does not survive the recording is noticed, those of the future included.
func fill(t *testing.T, v reflect.Value, n *uint64) {
	t.Helper()
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(1795600000, int64(*n)).UTC()
		return
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{10, 1, byte(*n >> 8), byte(*n)})
		return
	case *netip.AddrPort:
		*x = netip.AddrPortFrom(netip.MustParseAddr("fd00::1"), uint16(*n))
		return
	case *netip.Prefix:
		*x = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, byte(*n), 0}), 24)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				t.Fatalf("%s.%s would not be recorded", v.Type(), v.Type().Field(i).Name)
			}
			fill(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n)
	case reflect.Map:
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, k, n)
		fill(t, e, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(k, e)
	case reflect.String:
		v.SetString("näme <&> \x1b[31m\n" + strings.Repeat("x", int(*n%5)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(*n % 250)
	case reflect.Uint64:
		v.SetUint(1<<63 + *n) // more than a float64 holds
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	default:
		t.Fatalf("fill does not know %s", v.Type())
	}
}

func filled[T any](t *testing.T) *T {
	t.Helper()
	v, n := new(T), uint64(0)
	fill(t, reflect.ValueOf(v).Elem(), &n)
	return v
}

func header(t *testing.T) Header {
	t.Helper()
	h := *filled[Header](t)
	h.Format, h.Version = Format, Version
	return h
}

// sample is one record of each kind but the end.
func sample(t *testing.T) []Record {
	t.Helper()
	at := time.Unix(1795600000, 42).UTC()
	return []Record{
		{Kind: KindInventory, Inventory: filled[tracer.Inventory](t)},
		{Kind: KindCluster, Time: at, Cluster: json.RawMessage(`{"pods":[{"name":"a<b"}],"n":1}`)},
		{Kind: KindBudget, Budget: filled[tracer.BudgetStep](t)},
		{Kind: KindBlind, Blind: *filled[[]tracer.Blind](t)},
		{Kind: KindEvent, Event: filled[tracer.Event](t)},
		{Kind: KindTick, Time: at.Add(time.Second)},
		{Kind: KindFacts, Journey: 1<<63 + 1, Facts: filled[tracer.NodeFacts](t)},
		{Kind: KindCount, Count: filled[tracer.FlowCount](t)},
		{Kind: KindStats, Time: at, Stats: filled[Stats](t)},
		{Kind: KindNote, Time: at, Note: "API server unreachable\n\x1b]0;x\a"},
		{Kind: KindBlind},
	}
}

func write(t *testing.T, w *Writer, r Record) error {
	t.Helper()
	switch r.Kind {
	case KindEvent:
		return w.Event(r.Event)
	case KindInventory:
		return w.Inventory(r.Inventory)
	case KindCluster:
		return w.Cluster(r.Time, r.Cluster)
	case KindTick:
		return w.Tick(r.Time)
	case KindFacts:
		return w.Facts(r.Journey, r.Facts)
	case KindCount:
		return w.Count(r.Count)
	case KindStats:
		return w.Stats(r.Time, *r.Stats)
	case KindBlind:
		return w.Blind(r.Blind)
	case KindBudget:
		return w.Budget(r.Budget)
	case KindNote:
		return w.Note(r.Time, r.Note)
	}
	t.Fatalf("no method writes %q", r.Kind)
	return nil
}

// recording packs records, with a flush after each flushEach of them.
func recording(t *testing.T, recs []Record, flushEach int) []byte {
	t.Helper()
	var f buffer
	w, err := newWriter(&f, header(t), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range recs {
		if err := write(t, w, r); err != nil {
			t.Fatal(err)
		}
		if flushEach > 0 && i%flushEach == 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if f.closed != 1 {
		t.Fatalf("file closed %d times", f.closed)
	}
	return f.Bytes()
}

// readAll reads until the first error, which is io.EOF for a whole recording.
func readAll(data []byte) ([]Record, error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	var recs []Record
	for {
		rec, err := r.Next()
		if err != nil {
			return recs, err
		}
		recs = append(recs, rec)
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample(t)
	r, err := NewReader(bytes.NewReader(recording(t, want, 3)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(header(t), r.Header(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
	for _, w := range want {
		got, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(w, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
			cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", w.Kind, d)
		}
	}
	end, err := r.Next()
	if err != nil || end.Kind != KindEnd || end.End.Records != uint64(len(want)) {
		t.Errorf("end: %+v, %v", end, err)
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v", err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// Zero addresses, ports without an address and nil fields come back as they were.
func TestRoundTripZero(t *testing.T) {
	want := []Record{
		{Kind: KindEvent, Event: &tracer.Event{}},
		{Kind: KindFacts, Facts: &tracer.NodeFacts{}},
		{Kind: KindInventory, Inventory: &tracer.Inventory{}},
		{Kind: KindStats, Stats: &Stats{}},
	}
	got, err := readAll(recording(t, want, 0))
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got[:len(want)], want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBareLines(t *testing.T) {
	lines := `{"format":"podpath-session","version":1,"node":"n1","new_field":7}
{"kind":"tick","time":"2026-11-22T10:00:00Z"}
{"kind":"end","end":{"records":1}}
`
	got, err := readAll([]byte(lines))
	if !errors.Is(err, io.EOF) || len(got) != 2 {
		t.Fatalf("%d records, %v", len(got), err)
	}
}

func TestUnknownKindsAreCounted(t *testing.T) {
	lines := `{"format":"podpath-session","version":1}
{"kind":"hologram","facts":"of another type"}
{"kind":"tick","time":"2026-11-22T10:00:00Z"}
{"kind":"hologram","x":1}
{"kind":"end","end":{"records":3}}
`
	r, err := NewReader(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Kind{KindTick, KindEnd} {
		if rec, err := r.Next(); err != nil || rec.Kind != want {
			t.Fatalf("got %+v, %v, want %s", rec, err, want)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) || r.Skipped() != 2 {
		t.Errorf("%v, %d skipped", err, r.Skipped())
	}
}

func TestRefusedFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		data string
		is   error
	}{
		"empty":         {"", ErrNotSession},
		"text":          {"hello\n", ErrNotSession},
		"json":          {`{"kind":"Pod"}` + "\n", ErrNotSession},
		"not json":      {"{{{\n", ErrNotSession},
		"one long line": {"{" + strings.Repeat(" ", 1<<20), ErrNotSession},
	} {
		if _, err := NewReader(strings.NewReader(tc.data)); !errors.Is(err, tc.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := NewReader(strings.NewReader(`{"format":"podpath-session","version":7,"podpath":"v9"}` + "\n"))
	var ve *VersionError
	if !errors.As(err, &ve) || ve.Got != 7 || ve.Podpath != "v9" {
		t.Errorf("newer version: %v", err)
	}
	// The rest of a newer header may not parse; its version still counts.
	_, err = NewReader(strings.NewReader(`{"format":"podpath-session","version":7,"node":{}}` + "\n"))
	if !errors.As(err, &ve) {
		t.Errorf("newer header: %v", err)
	}
}

func TestDamagedLines(t *testing.T) {
	head := `{"format":"podpath-session","version":1}` + "\n"
	tick := `{"kind":"tick","time":"2026-11-22T10:00:00Z"}` + "\n"
	for name, tc := range map[string]struct {
		tail      string
		truncated bool
	}{
		"no end":             {"", true},
		"half a line":        {`{"kind":"ti`, true},
		"line without end":   {`{"kind":"end","end":{"records":1}}`, true},
		"empty line":         {"\n", false},
		"not json":           {"}\n", false},
		"event without body": {`{"kind":"event"}` + "\n", false},
		"bad address":        {`{"kind":"event","event":{"tuple":{"src":"1.2.3"}}}` + "\n", false},
		"wrong count":        {`{"kind":"end","end":{"records":2}}` + "\n", false},
		"after the end":      {`{"kind":"end","end":{"records":1}}` + "\n" + tick, false},
		"deep nesting":       {`{"kind":"cluster","cluster":` + strings.Repeat("[", 1<<20) + "\n", false},
	} {
		recs, err := readAll([]byte(head + tick + tc.tail))
		var de *DamagedError
		if !errors.As(err, &de) || de.Truncated != tc.truncated || de.Records != 1 || len(recs) != 1 {
			t.Errorf("%s: %d records, %v", name, len(recs), err)
		}
	}
}

// A megabyte that unpacks to a line without end costs a bounded buffer.
func TestBomb(t *testing.T) {
	zip, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := recording(t, nil, 0)
	head := zip.EncodeAll([]byte(`{"format":"podpath-session","version":1}`+"\n"), nil)
	mega := zip.EncodeAll(bytes.Repeat([]byte{' '}, 1<<20), nil)
	for range MaxRecordBytes>>20 + 2 {
		head = append(head, mega...)
	}
	recs, err := readAll(append(head, data...))
	var de *DamagedError
	if !errors.As(err, &de) || de.Truncated || len(recs) != 0 || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%d records, %v", len(recs), err)
	}
	// A frame that asks for more memory than any of ours needs.
	wide, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(wide.EncodeAll(make([]byte, 65<<20), nil)); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("wide window: %v", err)
	}
}

// many makes a recording of several frames, one of them longer than a block.
func many(t *testing.T) []Record {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	var recs []Record
	for i := range 400 {
		e := filled[tracer.Event](t)
		e.Seq, e.SKB, e.MonoNS = uint64(i), rnd.Uint64(), rnd.Uint64()
		recs = append(recs, Record{Kind: KindEvent, Event: e})
		if i == 100 {
			big := make([]uint64, 20000)
			for j := range big {
				big[j] = rnd.Uint64()
			}
			raw, err := json.Marshal(big)
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, Record{Kind: KindCluster, Time: e.Time, Cluster: raw})
		}
	}
	return recs
}

// Wherever a file is cut, what is read is intact, and the cut is noticed.
func TestTruncatedAnywhere(t *testing.T) {
	want := many(t)
	data := recording(t, want, 50)
	// Twice as many cuts near the start, where the small frames are.
	for cut := 0; cut < len(data); cut += 1 + cut/100 {
		recs, err := readAll(data[:cut])
		var de *DamagedError
		switch {
		case errors.Is(err, ErrNotSession) && len(recs) == 0:
		case errors.As(err, &de) && de.Truncated && de.Records == uint64(len(recs)):
		default:
			t.Fatalf("cut at %d: %d records, %v", cut, len(recs), err)
		}
		if !reflect.DeepEqual(recs, prefix(want, len(recs))) {
			t.Fatalf("cut at %d: %d records differ", cut, len(recs))
		}
	}
}

// Whatever bit flips, no record is handed out that was not recorded.
func TestBitFlips(t *testing.T) {
	want := many(t)
	data := recording(t, want, 50)
	rnd := rand.New(rand.NewPCG(3, 4))
	head, err := readAll(data)
	if !errors.Is(err, io.EOF) || len(head) != len(want)+1 {
		t.Fatalf("intact: %d records, %v", len(head), err)
	}
	for i := range 600 {
		pos := rnd.IntN(len(data) * 8)
		if i < 200 { // headers of the first frames
			pos = rnd.IntN(4096)
		}
		data[pos/8] ^= 1 << (pos % 8)
		recs, err := readAll(data)
		data[pos/8] ^= 1 << (pos % 8)
		if errors.Is(err, io.EOF) {
			recs = recs[:len(recs)-1]
		}
		if len(recs) > len(want) || !reflect.DeepEqual(recs, prefix(want, len(recs))) {
			t.Fatalf("bit %d: %d records differ, %v", pos, len(recs), err)
		}
	}
}

func prefix(recs []Record, n int) []Record {
	if n == 0 {
		return nil
	}
	return recs[:n]
}
