package kube

import (
	"strings"
	"testing"
)

func TestNamespacesOf(t *testing.T) {
	s := shop(t)
	for in, want := range map[string]string{
		"svc/api":         "payments",
		"deploy/checkout": "shop",
		"deploy/nothing":  "",
		"pod/slow-0":      "shop",
		"node/n1":         "",
	} {
		spec, err := ParseEndpoint(in, "default")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.NamespacesOf(spec), " "); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
