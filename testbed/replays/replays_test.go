package replays

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/tracer/session"
)

// recorded is a recording with these counters.
func recorded(t *testing.T, s session.Stats, whole bool) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "session")
	w, err := session.Create(file, session.Header{Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := w.Note(time.Unix(0, 0), "the same again and again"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Stats(time.Unix(0, 0), s); err != nil {
		t.Fatal(err)
	}
	end := w.Close
	if !whole {
		end = w.Abandon
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestKeep(t *testing.T) {
	root := t.TempDir()
	f := NewFolder(filepath.Join(root, "lab"))
	answer := accuracy.Answer{Component: "cni", Code: "cni-veth-down", Kind: "Pod", Namespace: "a", Name: "b"}
	second, first := Of("b (other names, UDP)", "confirmed", answer), Of("a", "probable", accuracy.Answer{Component: "none", Code: "ok"})
	for _, c := range []Case{second, first, second} {
		if err := f.Keep(c, recorded(t, session.Stats{Seen: 1}, true)); err != nil {
			t.Fatal(err)
		}
	}
	cases, err := f.Cases()
	if err != nil || !slices.Equal(cases, []Case{first, second}) || second.Answer() != answer {
		t.Errorf("kept %v, %v", cases, err)
	}
	if got, want := f.File(second.Name), filepath.Join(root, "lab", "b-other-names-udp.podpath"); got != want {
		t.Errorf("its file is %s, want %s", got, want)
	}
	r, err := session.Open(f.File(second.Name))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err = r.Next(); err == nil; _, err = r.Next() {
		n++
	}
	if err := r.Close(); err != nil || n != 102 {
		t.Errorf("%d records of 102 are in the packed recording, %v", n, err)
	}
	folders, err := Folders(root)
	if err != nil || len(folders) != 1 || folders[0].Name() != "lab" {
		t.Errorf("folders %v, %v", folders, err)
	}
}

func TestConfidence(t *testing.T) {
	for c, allows := range map[Confidence][]string{Confirmed: {"confirmed"}, Probable: {"probable"}, Suspected: {"suspected"}, Either: {"confirmed", "probable"}} {
		for _, said := range []string{"confirmed", "probable", "suspected", ""} {
			if c.Allows(said) != slices.Contains(allows, said) {
				t.Errorf("%s allows %q: %v", c, said, c.Allows(said))
			}
		}
	}
}

func TestStrays(t *testing.T) {
	f := NewFolder(t.TempDir())
	for _, name := range []string{"a", "b"} {
		if err := f.Keep(Of(name, "confirmed", accuracy.Answer{Code: "ok"}), recorded(t, session.Stats{}, true)); err != nil {
			t.Fatal(err)
		}
	}
	if strays, err := f.Strays(); err != nil || len(strays) > 0 {
		t.Errorf("strays %v, %v", strays, err)
	}
	if err := os.Rename(f.File("a"), f.File("c")); err != nil {
		t.Fatal(err)
	}
	want := []string{"a.podpath has an answer, and is not there", "c.podpath has 0 answers"}
	if strays, err := f.Strays(); err != nil || !slices.Equal(strays, want) {
		t.Errorf("strays %v, %v, want %v", strays, err, want)
	}
}

func TestKeepRefuses(t *testing.T) {
	f := NewFolder(t.TempDir())
	for name, c := range map[string]struct {
		stats session.Stats
		whole bool
		want  string
	}{
		"lost":      {session.Stats{Seen: 9, Lost: 1}, true, "1 events were lost"},
		"held":      {session.Stats{Held: 2}, true, "2 were held back"},
		"unwatched": {session.Stats{Unwatched: 3}, true, "3 devices"},
		"skipped":   {session.Stats{Counters: map[string]uint64{"missed.kfree_skb": 4}}, true, "4 drops were skipped"},
		"cut off":   {session.Stats{}, false, "end record"},
	} {
		err := f.Keep(Case{Name: name}, recorded(t, c.stats, c.whole))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if cases, err := f.Cases(); err != nil || len(cases) > 0 {
		t.Errorf("kept %v, %v", cases, err)
	}
}
