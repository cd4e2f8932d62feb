package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		ok   bool
		want []string
		not  string
	}{
		"good": {
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: report: 3 of 4\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: needs CAP_BPF\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`,
			ok:   true,
			want: []string{"ok  \tp\t0.1s\n", "report   3 of 4\n", "skipped  p TestB: b_test.go:3: needs CAP_BPF\n", "PASS: 1 tests passed, 0 failed, 1 skipped"},
			not:  "chatter",
		},
		"a test fails": {
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: boom\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			want: []string{"boom\n", "FAIL\tp\t0.1s\n", "FAILED   p TestA\n", "FAIL: 0 tests passed, 1 failed"},
		},
		"a panic": {
			in: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"panic: x\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\n"}
{"Action":"fail","Package":"p"}
`,
			want: []string{"panic: x\n", "FAILED   p TestB (did not end)\n", "1 broken"},
		},
		"does not build": {
			in: `{"ImportPath":"p","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}
`,
			want: []string{"undefined: x", "FAIL: 0 tests passed"},
		},
		"nothing ran": {want: []string{"FAIL: 0 tests passed"}},
		"not json":    {in: "go: no such tool\n", want: []string{"go: no such tool\n", "FAIL"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			if err := s.read(strings.NewReader(tc.in)); err != nil {
				t.Fatal(err)
			}
			s.print()
			if s.ok() != tc.ok {
				t.Errorf("ok is %v", s.ok())
			}
			for _, w := range tc.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("misses %q in:\n%s", w, out.String())
				}
			}
			if tc.not != "" && strings.Contains(out.String(), tc.not) {
				t.Errorf("shows %q", tc.not)
			}
		})
	}
}
