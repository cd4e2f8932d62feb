package render

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/tracer"
)

// attack goes into every string: control bytes, escape sequences, line ends, C1
// controls, text that runs backwards, characters without width, tags, and bytes
// that are no text.
const attack = "a\x00\x07\x08\x1b[2J\x1b]0;t\x07\x7f\r\nFAKE LINE\u0085\u009b31m\u200b\u200e\u202e\u2066\ufeff\u2028\u2029\ufff9\U000e0041\xff\xc3"

// poison fills everything below v: strings with an attack that tells them apart,
// pointers, slices and maps with something that holds more of them.
func poison(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	if !v.CanSet() {
		return
	}
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = start()
		return
	case *netip.Addr:
		*x = netip.MustParseAddr("fe80::1").WithZone("\x1b[31m")
		return
	case *netip.AddrPort:
		*x = netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone("\x1b[31m"), uint16(*n))
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("fd00::/8")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		poison(t, v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			poison(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		poison(t, v.Index(0), n)
		poison(t, v.Index(1), n)
	case reflect.Map:
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		poison(t, k, n)
		poison(t, e, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(k, e)
	case reflect.String:
		v.SetString(fmt.Sprintf("%s%d", attack, *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 250))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64:
		v.SetFloat(0.5)
	default:
		t.Fatalf("poison does not know %s", v.Type())
	}
}

func poisoned[T any](t *testing.T) *T {
	t.Helper()
	v, n := new(T), 0
	poison(t, reflect.ValueOf(v).Elem(), &n)
	return v
}

// attacked is every object that can be printed, made from a model of which every
// string is an attack, and with an attack in every string of its own.
func attacked(t *testing.T) []any {
	t.Helper()
	v := poisoned[tracer.Verdict](t)
	inv := poisoned[tracer.Inventory](t)
	for i := range v.Journey.Hops { // devices and addresses that are known by name
		v.Journey.Hops[i].Device = inv.Devices[0].DeviceKey
		v.Journey.Hops[i].Tuple.Src = asked().Src
	}
	v.Remedy = []string{strings.ReplaceAll(attack, "\n", "")} // a line end is the catalogue's own
	all := []any{
		NewVerdict(v, inv), NewFlow(v.Journey, v.Cluster, inv, v.Node, v.Outcome),
		poisoned[Verdict](t), poisoned[Flow](t), poisoned[Drop](t), poisoned[Summary](t), poisoned[Fault](t), poisoned[Explanation](t),
	}
	for _, x := range all {
		switch x := x.(type) {
		case *Verdict:
			x.Remedy = v.Remedy
		case *Explanation:
			x.Remedy = v.Remedy
		}
	}
	noDrops := poisoned[Summary](t)
	noDrops.Drops = nil
	return append(all, noDrops)
}

// Whatever is in any string of the model or of an object: in no format does a
// byte of it act on a terminal, begin a line or hide, and JSON and YAML give it
// back as it was.
func TestEveryStringIsHarmless(t *testing.T) {
	for _, x := range attacked(t) {
		for _, o := range append(views(), Options{Format: "wide", Width: 60, Colour: true}) {
			name := fmt.Sprintf("%T as %s at %d", x, o.Format, o.Width)
			out := show(t, o, []any{x})
			for _, c := range []string{"0", "1", "2", "31", "32", "33", "1;31", "1;32", "1;33"} {
				if o.Colour {
					out = strings.ReplaceAll(out, "\x1b["+c+"m", "")
				}
			}
			structured := o.Format == "json" || o.Format == "yaml"
			for i, r := range out {
				if unsafeRune(r) && r != '\n' && (!structured || r != '\ufffd') {
					t.Fatalf("%s: raw %U in %q", name, r, out[max(0, i-40):min(len(out), i+40)])
				}
			}
			for line := range strings.Lines(out) {
				if o.Width == 0 && strings.HasPrefix(strings.TrimSpace(line), "FAKE LINE") {
					t.Errorf("%s: a name began a line: %q", name, line)
				}
			}
			if structured {
				comesBack(t, name, out, x)
			}
		}
	}
}

// comesBack reads an object that was written and compares it with the original.
func comesBack(t *testing.T, name, out string, x any) {
	t.Helper()
	got := reflect.New(reflect.TypeOf(x).Elem()).Interface()
	read := json.Unmarshal
	if strings.HasPrefix(out, "---") {
		read = func(b []byte, v any) error { return yaml.Unmarshal(b, v) }
	}
	if err := read([]byte(out), got); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	// Bytes that are no text come back as what JSON puts in their place.
	first := reflect.New(reflect.TypeOf(x).Elem()).Interface()
	b, err := json.Marshal(x)
	if err == nil {
		err = json.Unmarshal(b, first)
	}
	if err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(got)
	if want, _ := json.Marshal(first); string(again) != string(want) {
		t.Errorf("%s came back as\n%s\nwant\n%s", name, again, want)
	}
}
