package arch

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTree(t *testing.T) {
	found, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

func TestRules(t *testing.T) {
	const ours = module + "/"
	for name, tc := range map[string]struct {
		file, src string
		want      string // part of the only line, "" if it is fine
	}{
		"vocabulary is fine":      {"tracer/a.go", `package tracer; import "time"`, ""},
		"vocabulary has a friend": {"tracer/a.go", `package tracer; import "golang.org/x/sys/unix"`, "may not import"},
		"vocabulary looks up":     {"tracer/a.go", `package tracer; import "` + ours + `kube"`, "may not import"},
		"rule reads the kernel":   {"tracer/verdict/a.go", `package verdict; import "github.com/vishvananda/netlink"`, "may not import"},
		"rule reads the table":    {"tracer/verdict/a.go", `package verdict; import "` + ours + `tracer"`, ""},
		"sideways":                {"tracer/path/a.go", `package path; import "` + ours + `tracer/verdict"`, "may not import"},
		"with a tag":              {"tracer/path/a.go", "//go:build windows\n\npackage path; import \"" + ours + "kube\"", "may not import"},
		"below":                   {"kube/a.go", `package kube; import "k8s.io/client-go/informers"`, ""},
		"only the prefix":         {"kube/a.go", `package kube; import "k8s.io/client-gopher"`, "may not import"},
		"own internals":           {"kube/a.go", `package kube; import "` + ours + `kube/internal/x"`, ""},
		"external test":           {"kube/a_test.go", `package kube_test; import "` + ours + `kube"`, ""},
		"test compares":           {"tracer/a_test.go", `package tracer; import "github.com/google/go-cmp/cmp"`, ""},
		"test asks the probe":     {"tracer/verdict/a_test.go", `package verdict; import "` + ours + `tracer/probe"`, ""},
		"rule asks the probe":     {"tracer/verdict/a.go", `package verdict; import "` + ours + `tracer/probe"`, "may not import"},
		"test sideways":           {"tracer/path/a_test.go", `package path; import "` + ours + `kube"`, "may not import"},
		"product compares":        {"tracer/a.go", `package tracer; import "github.com/google/go-cmp/cmp"`, "may not import"},
		"cmd meets all":           {"cmd/podpath/a.go", `package main; import "` + ours + `tracer/probe"`, ""},
		"cmd needs no testbed":    {"cmd/podpath/a.go", `package main; import "` + ours + `testbed/arch"`, "may not import"},
		"cgo":                     {"cmd/podpath/a.go", `package main; import "C"`, "may not import"},
		"unknown package":         {"pkg/a.go", `package pkg`, "not in the table"},
		"init":                    {"kube/a.go", `package kube; func init() {}`, "init function"},
		"method called init":      {"kube/a.go", `package kube; type t int; func (t) init() {}`, ""},
		"says nothing":            {"testbed/util/a.go", `package helper`, "says nothing"},
		"test data":               {"kube/testdata/a.go", `package broken; import "C"; func init() {}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := Check(fstest.MapFS{tc.file: {Data: []byte(tc.src)}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(found, "\n")
			if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBrokenSource(t *testing.T) {
	if _, err := Check(fstest.MapFS{"kube/a.go": {Data: []byte("package")}}); err == nil {
		t.Error("a source that does not parse passes")
	}
}
