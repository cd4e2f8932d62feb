package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is typed, errors quote it as text. File names of Linux hold any byte
// but two.
func TestHostileArguments(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, strings.ReplaceAll(hostile, "/", ""))
	whole := recordings(t)["policy-ingress"]
	if r := replayBytes(t, file, whole); r.code != exitFault {
		t.Fatalf("replay of a file with an odd name: %+v", r)
	} else {
		text(t, r.out+r.err)
	}
	nowhere := filepath.Join(dir, "no", hostile)
	for _, args := range [][]string{
		{hostile}, {"explain", hostile}, {"demo", hostile}, {"version", hostile}, {"replay", nowhere}, {"replay", file + "x"},
		{"replay", file, "-o", hostile}, {"replay", file, "--pcap", nowhere}, {"replay", file, "--" + hostile},
		{"trace", "--from", hostile, "--to", "any"}, {"trace", "--from", "pod/" + hostile, "--to", "any"},
		{"trace", "--from", "10.0.0.1:" + hostile, "--to", "any"}, {"trace", "--from", "any", "--to", "any", "--hook", hostile},
		{"trace", "--from", "pod/a", "--to", "any", "--duration", hostile}, {"trace", "--from", "pod/a", "--to", "any", "-l", hostile},
		{"trace", "--from", "pod/a", "--to", "any", "--cluster-dump", nowhere}, {"trace", "--from", "pod/a", "--to", "any", "--kubeconfig", nowhere},
		{"trace", "--from", "pod/a", "--to", "any", "--kubeconfig", "/dev/null", "--context", hostile},
		{"trace", "--from", "pod/a", "--to", "any", "-n", hostile, "--cluster-dump", "-"}, {"completion", hostile},
	} {
		var out, err bytes.Buffer
		code := run(context.Background(), args, stdio{in: strings.NewReader(hostile), out: &out, err: &err})
		if code != exitUsage {
			t.Errorf("%q: exit code %d: %s", args, code, err.String())
		}
		text(t, out.String()+err.String())
	}
}

// chosenByOthers are the fields of a recording that hold what others choose, in the
// cluster's objects too.
var chosenByOthers = map[string]bool{
	"name": true, "namespace": true, "node": true, "nodeName": true, "generateName": true, "comment": true, "text": true,
	"chain": true, "table": true, "owner": true, "podpath": true, "kernel": true, "reason": true, "location": true, "message": true,
}

// renamed appends an attack to all of these, alike, so that they still meet.
func renamed(v any, key string) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = renamed(e, k)
		}
	case []any:
		for i, e := range x {
			x[i] = renamed(e, key)
		}
	case string:
		if chosenByOthers[key] && x != "" {
			return x + hostile
		}
	}
	return v
}

// A recording of a cluster and a node on which everything has a hostile name is
// judged, and shown as text in every format.
func TestHostileRecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session")
	for name, data := range recordings(t) {
		if !strings.HasSuffix(name, "bare") {
			continue
		}
		var evil bytes.Buffer
		enc := json.NewEncoder(&evil)
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		for dec.More() {
			var line any
			if err := dec.Decode(&line); err != nil {
				t.Fatal(err)
			}
			if m, ok := line.(map[string]any); ok && m["format"] != nil {
				delete(m, "from") // every flow: the names that were asked for are no more
				delete(m, "to")
			}
			if err := enc.Encode(renamed(line, "")); err != nil {
				t.Fatal(err)
			}
		}
		for _, format := range []string{"text", "wide", "json", "yaml"} {
			r := replayBytes(t, file, evil.Bytes(), "--flows", "-o", format)
			if r.code == exitUsage || r.err != "" && !strings.Contains(r.err, "warning") {
				t.Errorf("%s as %s: %d %s", name, format, r.code, r.err)
			}
			text(t, r.out)
			text(t, r.err)
			if format == "json" {
				r.decode(t)
				if len(r.verdicts) == 0 {
					t.Errorf("%s: no verdict", name)
				}
			}
			if format == "text" && !strings.Contains(r.out, `\x1b[2J`) {
				t.Errorf("%s: no hostile name is shown", name)
			}
		}
	}
}
