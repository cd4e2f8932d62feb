package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/podpath/podpath/tracer/redact"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/session"
)

// redactRecording redacts a recording: the verdicts are the same, about others,
// and nothing of the original is left in the file.
func redactRecording(t *testing.T, file string, want []render.Verdict) {
	t.Helper()
	var leaked map[string]string
	for range 2 {
		out := file + ".redacted"
		var progress bytes.Buffer
		if code := run(t.Context(), []string{"replay", file, "--redact", "--write", out}, stdio{out: &progress, err: &progress}); code != exitHealthy {
			t.Fatalf("redact: exit %d\n%s", code, &progress)
		}
		if a, b := judgements(want), judgements(replayFile(t, out)); a != b {
			t.Errorf("the redacted recording is judged otherwise:\nwas\n%s\nis\n%s", a, b)
		}
		// The mapping is random, and may give an address to another by chance.
		// It does not do so twice.
		leaked = leaks(secrets(t, file), unpack(t, out), leaked)
	}
	for s, line := range leaked {
		t.Errorf("%q is left in the redacted recording: %.300s", s, line)
	}
}

// judgements are verdicts without the names in them.
func judgements(vs []render.Verdict) string {
	var b strings.Builder
	for _, v := range vs {
		fmt.Fprintf(&b, "%s %s %s %s %s object %v rule %v hops %d\n", v.Time.Format(time.RFC3339Nano), v.Component, v.Code, v.Confidence, v.Outcome,
			v.Object != nil, v.Rule != nil, len(v.Evidence))
	}
	return b.String()
}

func unpack(t *testing.T, file string) [][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	var out [][]byte
	for lines.Scan() {
		out = append(out, bytes.Clone(lines.Bytes()))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// leaks are the secrets that stand in the lines, as whole words, and stood in
// the others before, unless there were none.
func leaks(secret map[string]bool, lines [][]byte, before map[string]string) map[string]string {
	out := map[string]string{}
	for _, line := range lines {
		var v any
		if json.Unmarshal(line, &v) != nil {
			out["(no JSON)"] = string(line)
			continue
		}
		eachText(v, "", func(key, s string) {
			if key == ".facts.sysctls" { // of these only the device is somebody's
				_, s, _ = strings.Cut(s, ".conf.")
			}
			for w := range parts(s) {
				if fixedPaths.MatchString(key) && !isAddress(w) || key == ".command" && strings.HasPrefix(s, "--") {
					continue // a word of Kubernetes or of podpath that is a name elsewhere
				}
				if _, was := before[w]; secret[w] && (before == nil || was) {
					out[w] = key + ": " + s + " in " + string(line)
				}
			}
		})
	}
	return out
}

var (
	tokenPattern = regexp.MustCompile(`[0-9A-Za-z:._/%-]+`)
	plainWord    = regexp.MustCompile(`[\p{L}\p{N}]+`)
)

// parts are a text's tokens, what is between their slashes and dashes, and its
// words.
func parts(s string) map[string]bool {
	out := map[string]bool{}
	for _, token := range tokenPattern.FindAllString(s, -1) {
		out[token] = true
		for _, p := range strings.FieldsFunc(token, func(r rune) bool { return r == '/' || r == '%' }) {
			out[strings.TrimRight(p, ".:")] = true
			if ap, err := netip.ParseAddrPort(p); err == nil {
				out[ap.Addr().String()] = true
			}
			if i := strings.LastIndexByte(p, ':'); i > 0 {
				out[p[:i]] = true
			}
		}
	}
	for _, w := range plainWord.FindAllString(s, -1) {
		out[strings.ToLower(w)] = true
	}
	return out
}

// dataKeys are maps whose keys are not podpath's.
var dataKeys = regexp.MustCompile(`\.(labels|annotations|matchLabels|selector|hosts|sysctls)$`)

// eachText calls f for every text and every key that is data, with where it
// stands.
func eachText(v any, path string, f func(path, s string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if dataKeys.MatchString(path) {
				f(path, k)
				eachText(x, path+".*", f)
				continue
			}
			eachText(x, path+"."+k, f)
		}
	case []any:
		for _, x := range v {
			eachText(x, path, f)
		}
	case string:
		f(path, v)
	}
}

// Where names stand in a recording. An address is one wherever it stands.
var (
	namePaths  = regexp.MustCompile(`\.(node|from|to|namespace|policy|nodeName|name|uid|zone|externalName|serviceName|values|targetPort)$|\.(labels|annotations|matchLabels|selector|hosts)(\.\*)?$`)
	nameless   = regexp.MustCompile(`\.programs\.name$`)
	everybodys = regexp.MustCompile(`^(127\.|0\.|169\.254\.|22[4-9]\.|23[0-9]\.|24|25[0-5]\.|::1?$|ff0[125]::[0-9a-f]{1,4}$|00:00:00:00:00:00$|ff:ff:ff:ff:ff:ff$)`)
	macAddress = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)
)

// fixedPaths are where the values are the same for everybody.
var fixedPaths = regexp.MustCompile(`\.(format|kind|tier|apiVersion|policyTypes|type|status|protocol|phase|addressType|operator|reason|location|stack|stage|engine|role|for|table|state|attach|owner|family|hook|verdict|how|implementations)$`)

func isAddress(w string) bool {
	_, err := netip.ParseAddr(w)
	return err == nil || macAddress.MatchString(w)
}

// secrets are the names and addresses of a recording, and the words of the names.
func secrets(t *testing.T, file string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, line := range unpack(t, file) {
		var v any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		eachText(v, "", func(path, s string) {
			for w := range parts(s) {
				if isAddress(w) && !everybodys.MatchString(w) {
					out[w] = true
				}
			}
			if !namePaths.MatchString(path) || nameless.MatchString(path) {
				return
			}
			for _, w := range plainWord.FindAllString(s, -1) {
				// A number alone says nothing, and stands everywhere.
				if w = strings.ToLower(w); !redact.WellKnown(w) && strings.Trim(w, "0123456789") != "" {
					out[w] = true
				}
			}
		})
	}
	if len(out) < 10 {
		t.Fatalf("only %d secrets in a recording: %v", len(out), out)
	}
	return out
}

// A trace that redacts never has the original in the file.
func TestTraceRedacted(t *testing.T) {
	privileged(t)
	l := damagedLab(t, "policy-ingress", nil)
	file := t.TempDir() + "/session"
	p := launch(t, append(l.args, "--until-verdict", "--redact", "--write", file, "-o", "json")...)
	p.ready(t)
	l.show(t)
	if code := p.code(t); code != exitFault {
		t.Fatalf("exit %d", code)
	}
	live := verdicts(t, bytes.NewBufferString(p.out.String()))
	if a, b := judgements(live), judgements(replayFile(t, file)); a != b {
		t.Errorf("judged otherwise:\nlive\n%s\nreplay\n%s", a, b)
	}
	lines := unpack(t, file)
	if !bytes.Contains(lines[0], []byte(`"redacted":true`)) {
		t.Errorf("the header does not say so: %s", lines[0])
	}
	secret := map[string]bool{}
	for _, s := range []string{l.NodeName(), l.scenario.From, l.scenario.To, l.scenario.Object.Namespace, l.scenario.Object.Name} {
		for _, w := range plainWord.FindAllString(s, -1) {
			secret[strings.ToLower(w)] = !redact.WellKnown(w) && strings.Trim(w, "0123456789") != ""
		}
	}
	for s, line := range leaks(secret, lines, nil) {
		t.Errorf("%q is in the recording: %.300s", s, line)
	}
}

// A field with a type of its own holds one of a few words of ours or the
// kernel's, which a replay acts on: the redactor has to know it.
func TestRedactorKeepsOurWords(t *testing.T) {
	r, err := redact.New()
	if err != nil {
		t.Fatal(err)
	}
	const word = "quux"
	for _, path := range append(worded(reflect.TypeFor[session.Header](), nil), worded(reflect.TypeFor[session.Record](), nil)...) {
		var v any = word
		for _, key := range slices.Backward(path) {
			v = map[string]any{key: v}
		}
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := r.Line(line); err != nil || !bytes.Contains(out, []byte(`"`+word+`"`)) {
			t.Errorf("%s becomes %s, %v: list %q in tracer/redact/keep.go", line, out, err, strings.Join(path, "."))
		}
	}
}

// worded are the ways to the fields whose type is a string with a name.
func worded(typ reflect.Type, at []string) (out [][]string) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	switch {
	case typ.Kind() == reflect.String && typ.Name() != "string":
		return [][]string{slices.Clone(at)}
	case typ.Kind() != reflect.Struct || typ.PkgPath() == "time" || typ.PkgPath() == "net/netip":
		return nil
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			out = append(out, worded(f.Type, at)...)
		case f.IsExported():
			out = append(out, worded(f.Type, append(slices.Clone(at), name))...)
		}
	}
	return out
}

// Keys of maps are fields to the redactor, unless it knows better: a new map
// whose keys are names has to be told to it.
func TestRedactorKnowsTheMaps(t *testing.T) {
	known := []string{"Header.Hosts", "NodeFacts.Counters", "NodeFacts.Sysctls", "Stats.Counters"}
	var found []string
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8 {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Type.Kind() == reflect.Map {
				found = append(found, typ.Name()+"."+f.Name)
			}
			look(f.Type)
		}
	}
	look(reflect.TypeFor[session.Header]())
	look(reflect.TypeFor[session.Record]())
	slices.Sort(found)
	if !slices.Equal(found, known) {
		t.Errorf("the records have the maps %v, tracer/redact knows %v", found, known)
	}
}
