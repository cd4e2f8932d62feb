package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// Formats are the values of -o.
var Formats = []string{"text", "wide", "json", "yaml"}

// Printer writes results. Objects are *Verdict, *Flow, *Drop and *Summary.
type Printer interface {
	Print(object any) error
}

// Options configure a printer.
type Options struct {
	Format string
	Colour bool
	// Width is the terminal's, in columns; 0 means do not wrap.
	Width int
}

// New returns a printer; an unknown format names the valid ones.
func New(w io.Writer, o Options) (Printer, error) {
	switch o.Format {
	case "json":
		return &jsonPrinter{w}, nil
	case "yaml":
		return &yamlPrinter{w: w}, nil
	case "text", "wide", "":
		return &textPrinter{w: w, o: o, wide: o.Format == "wide"}, nil
	}
	return nil, fmt.Errorf("unknown output format %q: use text, wide, json or yaml", o.Format)
}

type jsonPrinter struct{ w io.Writer }

func (p *jsonPrinter) Print(object any) error {
	b, err := encode(object)
	if err != nil {
		return err
	}
	_, err = p.w.Write(escapeUnsafe(b, surrogates))
	return err
}

// encode gives one line of JSON; "<" and ">" stand as they are.
func encode(object any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(object); err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return b.Bytes(), nil
}

// surrogates is how JSON escapes a character beyond U+FFFF, and longEscape how
// YAML does, which knows no surrogates.
func surrogates(b []byte, r rune) []byte {
	high, low := utf16.EncodeRune(r)
	return fmt.Appendf(b, `\u%04x\u%04x`, high, low)
}

func longEscape(b []byte, r rune) []byte { return fmt.Appendf(b, `\U%08x`, r) }

// escapeUnsafe writes as \u what encoding/json leaves raw and a terminal may
// act on: C1 controls and characters that reorder or hide text. The value stays
// the same: such characters stand in strings only. beyond escapes those above
// U+FFFF.
func escapeUnsafe(line []byte, beyond func([]byte, rune) []byte) []byte {
	unsafe := func(r rune) bool { return r >= 0x7f && r != utf8.RuneError && unsafeRune(r) }
	if bytes.IndexFunc(line, unsafe) < 0 {
		return line
	}
	var b []byte
	for _, r := range string(line) {
		switch {
		case !unsafe(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			b = beyond(b, r)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

type yamlPrinter struct{ w io.Writer }

func (p *yamlPrinter) Print(object any) error {
	b, err := encode(object)
	if err != nil {
		return err
	}
	doc, err := yaml.JSONToYAML(b)
	// What acts on a terminal would stand there raw, and cannot be escaped
	// outside of quotes; some of it YAML takes for the end of a line. JSON is YAML
	// too, and has everything in quotes. What JSON has escaped (U+2028) YAML may
	// have raw again.
	escaped := escapeUnsafe(b, longEscape)
	if err != nil || len(escaped) != len(b) || len(escapeUnsafe(doc, longEscape)) != len(doc) {
		doc = escaped
	}
	_, err = p.w.Write(append([]byte("---\n"), doc...))
	return err
}
