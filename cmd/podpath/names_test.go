package main

import (
	"net/netip"
	"slices"
	"testing"
)

// A replay must not ask the DNS of the machine it runs on.
func TestRecordedNames(t *testing.T) {
	want := []netip.Addr{netip.MustParseAddr("203.0.113.7")}
	h := recordedNames(map[string][]netip.Addr{"api.example": want})
	got, err := h.resolve(t.Context(), "api.example")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := h.resolve(t.Context(), "other.example"); err == nil {
		t.Error("a name that was not recorded has addresses")
	}
	if got := h.all(); len(got) != 1 || !slices.Equal(got["api.example"], want) {
		t.Errorf("all: %v", got)
	}
}
