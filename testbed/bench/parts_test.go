package main

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

func TestPartsOfFacts(t *testing.T) {
	var p partsLog
	if _, err := p.fastest(); err == nil {
		t.Error("no part was told, and none is missed")
	}
	for _, took := range []time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond} {
		for _, part := range factParts {
			fmt.Fprintf(&p, "{\"msg\":%q,%q:%d,\"rules\":3}\n", part.message, part.key, took)
		}
	}
	p.logger().Debug("something else", slog.Duration("links", 1))
	got, err := p.fastest()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range factParts {
		if got[part.what] != 0.001 {
			t.Errorf("%s took %v", part.what, got[part.what])
		}
	}
}
