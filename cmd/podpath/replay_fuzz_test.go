package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzReplay judges made-up recordings: whatever is in one, and in whatever
// format it is shown, nothing but text reaches the terminal, and the exit code
// is one of the contract.
func FuzzReplay(f *testing.F) {
	for name, data := range recordings(f) {
		if strings.HasSuffix(name, "bare") {
			f.Add(short(data), uint8(len(name)))
		}
	}
	file := filepath.Join(f.TempDir(), "session")
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		args := []string{"-o", []string{"text", "wide", "json", "yaml"}[how%4]}
		if how&4 != 0 {
			args = append(args, "--flows")
		}
		if how&8 != 0 {
			args = append(args, "--pcap", file+".pcapng")
		}
		r := replayBytes(t, file, data, args...)
		switch r.code {
		case exitHealthy, exitFault, exitUsage, exitUndetermined:
		default:
			t.Errorf("exit code %d", r.code)
		}
		text(t, r.out)
		text(t, r.err)
	})
}

// short is the beginning of a recording, without what makes it long: a fuzzer
// gets nowhere with the state of a cluster.
func short(recording []byte) []byte {
	var out []byte
	for line := range bytes.Lines(recording) {
		if len(line) < 4096 && len(out) < 16<<10 {
			out = append(out, line...)
		}
	}
	return out
}
