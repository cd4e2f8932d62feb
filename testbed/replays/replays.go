// Package replays keeps recorded sessions of what the lab and the testbed break,
// each beside the right answer, so that no verdict changes unnoticed where there
// is no kernel to break things in. docs/recordings.md says how they are made.
//
// The answers come from what was built, never from what podpath said.
package replays

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/podpath/podpath/testbed/accuracy"
)

// Case is a recording and its right answer: one line of a folder's answers.
type Case struct {
	// Name of the fault or scenario, and what is special about this run of it.
	Name      string `json:"name"`
	Component string `json:"component"`
	Code      string `json:"code"`
	// Confidence that each verdict ought to have.
	Confidence Confidence `json:"confidence"`
	// Kind, Namespace and Object name what is at fault; all empty if nothing is
	// to be named.
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Object    string `json:"object,omitempty"`
	// GoesOn: others send what podpath was asked about, before and after.
	GoesOn bool `json:"goes_on,omitempty"`
	// Part: only a part of the connections, or of a client's tries, fails.
	Part bool `json:"part,omitempty"`
}

// Confidence is how sure verdicts ought to be.
type Confidence string

const (
	Confirmed Confidence = "confirmed"
	Probable  Confidence = "probable"
	// Suspected is for what has no packets: a pod without a network.
	Suspected Confidence = "suspected"
	// Either is for requests that go here and there: the state of what is on the
	// node can be read, and not of what is on another one.
	Either Confidence = "confirmed or probable"
)

// Allows says whether a verdict of that confidence is right.
func (c Confidence) Allows(verdict string) bool {
	return slices.Contains(strings.Split(string(c), " or "), verdict)
}

// Of is the case of an answer.
func Of(name string, confidence Confidence, a accuracy.Answer) Case {
	return Case{Name: name, Component: a.Component, Code: a.Code, Confidence: confidence, Kind: a.Kind, Namespace: a.Namespace, Object: a.Name}
}

// Answer is what the verdicts of the recording have to say.
func (c Case) Answer() accuracy.Answer {
	return accuracy.Answer{Component: c.Component, Code: c.Code, Kind: c.Kind, Namespace: c.Namespace, Name: c.Object}
}

// MaxBytes is the most that a recording may take: a repository is not the place
// for more. The largest are those of real clusters, with a real kube-proxy's rules.
const MaxBytes = 32 << 10

const (
	suffix  = ".podpath"
	answers = "answers.jsonl"
)

// Folder is a folder of recordings. It may be used concurrently, by one process
// at a time.
type Folder struct {
	dir string
	mu  sync.Mutex
}

// NewFolder is for the recordings in a directory, which need not be there yet.
func NewFolder(dir string) *Folder { return &Folder{dir: dir} }

// Folders are the folders below a directory, sorted.
func Folders(root string) ([]*Folder, error) {
	files, err := filepath.Glob(filepath.Join(root, "*", answers))
	if err != nil {
		return nil, fmt.Errorf("look for recordings: %w", err)
	}
	var all []*Folder
	for _, f := range files {
		all = append(all, NewFolder(filepath.Dir(f)))
	}
	return all, nil
}

// Name is the directory's own.
func (f *Folder) Name() string { return filepath.Base(f.dir) }

// File is where the recording of a case is.
func (f *Folder) File(name string) string { return filepath.Join(f.dir, fileName(name)) }

var odd = regexp.MustCompile(`[^a-z0-9]+`)

// fileName has no characters that a shell or an archive would stumble over.
func fileName(name string) string {
	return strings.Trim(odd.ReplaceAllString(strings.ToLower(name), "-"), "-") + suffix
}

// Cases are the folder's, by name.
func (f *Folder) Cases() ([]Case, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cases()
}

func (f *Folder) cases() ([]Case, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, answers))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the answers: %w", err)
	}
	var all []Case
	for line := range bytes.Lines(b) {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("read the answers in %s: %w", f.Name(), err)
		}
		all = append(all, c)
	}
	return all, nil
}

// Strays are recordings without an answer, answers without a recording, and two
// answers for one recording. There ought to be none.
func (f *Folder) Strays() ([]string, error) {
	cases, err := f.Cases()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(f.dir, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("look for recordings: %w", err)
	}
	have := map[string]int{}
	for _, c := range cases {
		have[fileName(c.Name)]++
	}
	var strays []string
	for _, file := range files {
		if have[filepath.Base(file)] != 1 {
			strays = append(strays, fmt.Sprintf("%s has %d answers", filepath.Base(file), have[filepath.Base(file)]))
		}
		delete(have, filepath.Base(file))
	}
	for name := range have {
		strays = append(strays, name+" has an answer, and is not there")
	}
	slices.Sort(strays)
	return strays, nil
}

// Keep packs a recording into the folder, in place of an earlier one of the same
// name. One that lacks something is refused, and so is one that is too large.
func (f *Folder) Keep(c Case, recording string) error {
	packed, err := pack(recording)
	if err != nil {
		return fmt.Errorf("keep the recording of %s: %w", c.Name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("keep the recording of %s: %w", c.Name, err)
	}
	if err := os.WriteFile(f.File(c.Name), packed, 0o644); err != nil {
		return fmt.Errorf("keep the recording of %s: %w", c.Name, err)
	}
	return f.answer(c)
}

// answer puts the case where it belongs among the others.
func (f *Folder) answer(c Case) error {
	all, err := f.cases()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(old Case) bool { return old.Name == c.Name })
	all = append(all, c)
	slices.SortFunc(all, func(a, b Case) int { return cmp.Compare(a.Name, b.Name) })
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, one := range all {
		if err := enc.Encode(one); err != nil {
			return fmt.Errorf("write the answers: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(f.dir, answers), lines.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the answers: %w", err)
	}
	return nil
}
