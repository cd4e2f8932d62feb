package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// The table's place in the document that carries it.
const (
	tableBegins = "<!-- table: written by make test-kernels -->\n"
	tableEnds   = "<!-- end of table -->\n"
)

// record puts the cells of this run into the document's table. What this run
// did not look at stays if it is of the same day, or of another kernel.
func (t *table) record(file string, now time.Time) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("record table: %w", err)
	}
	before, rest, ok := strings.Cut(string(doc), tableBegins)
	old, after, ended := strings.Cut(rest, tableEnds)
	if !ok || !ended {
		return fmt.Errorf("record table: %s has no place for one", file)
	}
	merged := parseTable(old)
	for _, column := range t.columns {
		merged.replace(t, column, column+", "+now.UTC().Format(time.DateOnly))
	}
	merged.sort()
	var b bytes.Buffer
	b.WriteString(before + tableBegins)
	if err := merged.markdown(&b); err != nil {
		return err
	}
	b.WriteString(tableEnds + after)
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("record table: %w", err)
	}
	return nil
}

// replace takes over a column under a name that has its date. A column of the
// same kernel and an older date goes.
func (t *table) replace(from *table, column, dated string) {
	for i, old := range t.columns {
		if name, _, _ := strings.Cut(old, ","); name == column && old != dated {
			t.columns[i] = dated
		}
	}
	t.column(dated)
	for _, row := range from.rows {
		if c, ok := from.cells[[2]string{row, column}]; ok {
			t.add(dated, c)
		}
	}
}

// parseTable reads what markdown wrote.
func parseTable(s string) *table {
	t := newTable()
	for line := range strings.Lines(s) {
		fields := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		switch {
		case fields[0] == "test":
			for _, name := range fields[1:] {
				t.column(name)
			}
		case fields[0] == "" || strings.HasPrefix(fields[0], "---"):
		default:
			for i, text := range fields[1:min(len(fields), len(t.columns)+1)] {
				if text != absent {
					plain := strings.Trim(text, "*")
					t.add(t.columns[i], cell{row: fields[0], text: plain, bad: plain != text})
				}
			}
		}
	}
	return t
}
