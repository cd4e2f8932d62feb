package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// tableWidth is what the table's columns and an example of usual length need.
const tableWidth = 180

// drop is one row of a table, whose header comes before the first; on terminals
// too narrow for that it is a paragraph.
func (p *textPrinter) drop(d *Drop) {
	place := dropPlace(&tracer.Drop{Reason: d.Reason, Location: d.Location, Stage: d.Stage, Engine: d.Engine})
	workload := d.Workload
	if d.Owner != "" && p.wide {
		workload += " (" + d.Owner + ")"
	}
	row := p.dropRow(fmt.Sprint(d.Count), fmt.Sprintf("%.1f", d.PerSecond), place, dash(d.Device), dash(workload), dash(d.Direction), d.Example)
	if p.o.Width > 0 && p.o.Width < max(tableWidth, visible(row)) {
		p.dropParagraph(d, place, workload)
		return
	}
	if p.rows == 0 {
		p.b.WriteString(p.colour(bold, p.dropRow("COUNT", "RATE/S", "REASON AND PLACE", "DEVICE", "WORKLOAD", "DIR", "EXAMPLE")) + "\n")
	}
	p.rows++
	p.b.WriteString(row + "\n")
	for _, s := range dropDetails(d, p.wide) {
		p.wrap("                   ", "                     ", s)
	}
}

func (p *textPrinter) dropRow(count, rate, place, dev, workload, dir, example string) string {
	return strings.TrimRight(fmt.Sprintf("%8s %8s  %-58s %-16s %-40s %-8s %s", count, rate,
		Escape(place), Escape(dev), Escape(workload), Escape(dir), Escape(example)), " ")
}

func (p *textPrinter) dropParagraph(d *Drop, place, workload string) {
	const indent = "          "
	p.wrap(p.colour(bold, fmt.Sprintf("%8d", d.Count))+"  ", indent, fmt.Sprintf("%s, %.1f/s", place, d.PerSecond))
	var where []string
	if d.Device != "" {
		where = append(where, "at "+d.Device)
	}
	if workload != "" {
		where = append(where, strings.TrimSpace(d.Direction+" of "+workload))
	}
	lines := []string{strings.Join(where, ", "), d.Example}
	for _, s := range append(lines, dropDetails(d, p.wide)...) {
		if s != "" {
			p.wrap(indent, indent+"  ", s)
		}
	}
}

// dropDetails are the lines below a row.
func dropDetails(d *Drop, wide bool) []string {
	var s []string
	if d.Rule != nil {
		s = append(s, "rule: "+d.Rule.Table+" "+d.Rule.Chain+": "+d.Rule.Text)
	}
	if d.Noise != "" {
		s = append(s, "harmless: "+d.Noise)
	}
	if wide {
		s = append(s, fmt.Sprintf("first %s, last %s, %d bytes", d.First.Format("15:04:05.000"), d.Last.Format("15:04:05.000"), d.Bytes))
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p *textPrinter) dropTotals(s *Summary) {
	t := s.Drops
	var noise uint64
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(t.Noise)) {
		noise += t.Noise[k]
		parts = append(parts, fmt.Sprintf("%s %d", k, t.Noise[k]))
	}
	p.wrap("", "  ", fmt.Sprintf("%d %s in %s on %s, exact; %d more were harmless", t.Total, plural("drop", int(t.Total)), s.Duration, s.Node, noise)+among(parts))
	if t.Unlisted > 0 {
		p.wrap("", "  ", fmt.Sprintf("%d of them are in no row: there were more different ones than the table holds", t.Unlisted))
	}
	if s.Lost > 0 {
		p.wrap("", "  ", fmt.Sprintf("%d example events were lost; the counts are not affected", s.Lost))
	}
	p.ownCost(s)
}

func among(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
