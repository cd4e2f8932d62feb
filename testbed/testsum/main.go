// Command testsum reads what `go test -json` prints and shows what a person
// wants to see: one line for each package, the output of what failed, and at
// the end how many tests passed, failed and were skipped, and why.
//
// It exits 1 if anything failed, or if nothing ran at all.
package main

import (
	"fmt"
	"os"
)

func main() {
	s := newSummary(os.Stdout)
	err := s.read(os.Stdin)
	s.print()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	if err != nil || !s.ok() {
		os.Exit(1)
	}
}
