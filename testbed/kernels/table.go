package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// table has a row for each test and a column for each kernel. Cells may be
// added concurrently.
type table struct {
	mu      sync.Mutex
	columns []string
	rows    []string
	cells   map[[2]string]cell
}

func newTable() *table { return &table{cells: map[[2]string]cell{}} }

func (t *table) column(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.columns, name) {
		t.columns = append(t.columns, name)
	}
}

func (t *table) add(column string, c cell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.rows, c.row) {
		t.rows = append(t.rows, c.row)
	}
	t.cells[[2]string{c.row, column}] = c
}

// sort puts what came as it came into an order.
func (t *table) sort() {
	slices.Sort(t.rows)
	slices.SortFunc(t.columns, compareVersions)
}

func (t *table) bad() int {
	n := 0
	for _, c := range t.cells {
		if c.bad {
			n++
		}
	}
	return n
}

// absent is the cell of what was not looked at.
const absent = "–"

// markdown writes the table as docs/compat.md holds it.
func (t *table) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "| test | %s |\n|---|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	for _, row := range t.rows {
		b.WriteString("| " + row + " |")
		for _, col := range t.columns {
			c, ok := t.cells[[2]string{row, col}]
			switch {
			case !ok:
				b.WriteString(" " + absent + " |")
			case c.bad:
				b.WriteString(" **" + c.text + "** |")
			default:
				b.WriteString(" " + c.text + " |")
			}
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
