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
	_, err = p.w.Write(b)
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
	return escapeUnsafe(b.Bytes()), nil
}

// escapeUnsafe writes as \u what encoding/json leaves raw and a terminal may
// act on: C1 controls and characters that reorder or hide text. The value stays
// the same: such characters stand in strings only.
func escapeUnsafe(line []byte) []byte {
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
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
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
	y, err := yaml.JSONToYAML(b)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = p.w.Write(append([]byte("---\n"), y...))
	return err
}
