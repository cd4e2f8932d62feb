package kube

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DumpReport says what a dump held.
type DumpReport struct {
	// Objects counts the objects taken in, by kind.
	Objects map[string]int
	// Ignored counts the objects of kinds that podpath does not use.
	Ignored map[string]int
	// Warnings are sentences about what the dump lacks and what that hides.
	Warnings []string
}

// LoadDump reads cluster state from what kubectl get -o json|yaml printed: a
// file with one list, with several documents one after the other, a directory
// of such files (.json, .yaml, .yml), or "-" for standard input. The snapshot
// is dated with the file's modification time (standard input: now).
//
// Errors are of type *DumpError around one of the ErrDump sentinels.
func LoadDump(path string) (*Snapshot, DumpReport, error) {
	if path == "-" {
		return ReadDump(os.Stdin, "standard input")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, DumpReport{}, &DumpError{Path: path, Err: errors.Unwrap(err)}
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = dumpFiles(path); err != nil {
			return nil, DumpReport{}, err
		}
	}
	l := newLoader()
	taken := info.ModTime()
	for _, f := range files {
		mod, err := l.file(f)
		if err != nil {
			return nil, DumpReport{}, err
		}
		taken = mod
	}
	return l.finish(path, taken)
}

// ReadDump is LoadDump for an open stream; name is for error messages.
func ReadDump(r io.Reader, name string) (*Snapshot, DumpReport, error) {
	l := newLoader()
	if err := l.stream(r, name); err != nil {
		return nil, DumpReport{}, err
	}
	return l.finish(name, time.Now())
}

func dumpFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &DumpError{Path: dir, Err: errors.Unwrap(err)}
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".json", ".yaml", ".yml":
			if !e.IsDir() {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(out) == 0 {
		return nil, &DumpError{Path: dir, Err: ErrDumpEmpty, Detail: "no .json, .yaml or .yml file in the directory"}
	}
	return out, nil
}

// loader collects the objects of one or more streams.
type loader struct {
	objs    map[kind]map[Key]object
	ignored map[string]int
	lists   int // documents that are lists
	singles int // documents that are single objects
	inYAML  bool
	shared  *shared
	unread  []string // kinds that the writer could not read
	read    []string // kinds that not every cluster has, and that it could read
	changes []ServiceChange
	// eventsIn are the namespaces of which there are Events. A dump of podpath's own
	// says of which pods it has them, if any: those are listed then.
	eventsIn map[string]bool
	eventsOf []podName
	listed   bool
}

func newLoader() *loader {
	return &loader{objs: make(map[kind]map[Key]object), ignored: make(map[string]int), shared: newShared(), eventsIn: make(map[string]bool)}
}

func (l *loader) file(path string) (time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, &DumpError{Path: path, Err: errors.Unwrap(err)}
	}
	defer f.Close() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, &DumpError{Path: path, Err: errors.Unwrap(err)}
	}
	return info.ModTime(), l.stream(f, path)
}

// stream reads one stream, whose first character tells JSON from YAML.
func (l *loader) stream(r io.Reader, name string) error {
	br := bufio.NewReaderSize(r, 1<<16)
	first, err := firstByte(br)
	if errors.Is(err, io.EOF) {
		return &DumpError{Path: name, Err: ErrDumpEmpty, Detail: "the file is empty"}
	}
	if err != nil {
		return &DumpError{Path: name, Err: err}
	}
	before := l.taken()
	if first == '{' || first == '[' {
		err = l.json(br)
	} else {
		err = l.yaml(br)
	}
	var de *DumpError
	if errors.As(err, &de) {
		de.Path = name
		if errors.Is(de.Err, ErrDumpTruncated) {
			de.Detail = fmt.Sprintf("after %d objects; %s", l.taken()-before, de.Detail)
		}
		return de
	}
	if err != nil {
		return &DumpError{Path: name, Err: err}
	}
	return nil
}

// firstByte looks at the first character that is not white space or a byte
// order mark, without consuming it.
func firstByte(br *bufio.Reader) (byte, error) {
	for {
		b, err := br.ReadByte()
		if err != nil {
			return 0, err
		}
		switch b {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf:
			continue
		}
		return b, br.UnreadByte()
	}
}

func (l *loader) taken() int {
	n := 0
	for _, m := range l.objs {
		n += len(m)
	}
	for _, c := range l.ignored {
		n += c
	}
	return n
}

// add files an object; the last version of a name wins.
func (l *loader) add(o object) {
	l.shared.object(o)
	k := kindOf(o)
	if l.objs[k] == nil {
		l.objs[k] = make(map[Key]object)
	}
	l.objs[k][o.Key()] = o
}

// finish checks that the whole is a usable dump.
func (l *loader) finish(name string, taken time.Time) (*Snapshot, DumpReport, error) {
	report := DumpReport{Objects: make(map[string]int), Ignored: l.ignored}
	var all []object
	for k, m := range l.objs {
		report.Objects[k.String()] = len(m)
		for _, o := range m {
			all = append(all, o)
		}
	}
	switch {
	case len(all) == 0 && len(l.ignored) > 0:
		return nil, report, &DumpError{Path: name, Err: ErrDumpKind, Detail: "found only " + counted(l.ignored)}
	case len(all) == 0:
		return nil, report, &DumpError{Path: name, Err: ErrDumpEmpty, Detail: "the list has no items"}
	case l.lists == 0 && l.singles == 1:
		return nil, report, &DumpError{
			Path: name, Err: ErrDumpNotList, Detail: "found only " + kindOf(all[0]).String() + " " + all[0].Key().String(),
		}
	}
	report.Warnings = l.warnings()
	snap := newSnapshot(all, taken)
	snap.mark(l.unread, l.read)
	snap.changes = l.changes
	snap.eventsOf = l.eventsKnown(snap)
	return snap, report, nil
}

// lacking says what cannot be known without a kind.
var lacking = []struct {
	kind   kind
	effect string
}{
	{kindPod, "no pod can be named"},
	{kindService, "no Service can be named"},
	{kindSlice, "the endpoints of Services are not known"},
	{kindNode, "node addresses and pod ranges are not known"},
	{kindNamespace, "policies that select namespaces by label are judged as if no namespace had labels"},
	{kindPolicy, "every flow counts as allowed by NetworkPolicy"},
}

func (l *loader) warnings() []string {
	var out []string
	for _, k := range lacking {
		if len(l.objs[k.kind]) == 0 {
			out = append(out, fmt.Sprintf("the dump has no %s: %s", k.kind, k.effect))
		}
	}
	return out
}

// counted gives "3 ConfigMap, 1 Secret".
func counted(m map[string]int) string {
	parts := make([]string, 0, len(m))
	for k, n := range m {
		parts = append(parts, fmt.Sprintf("%d %s", n, k))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
