package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// drop is one row; the header comes before the first.
func (p *textPrinter) drop(d *Drop) {
	if p.rows == 0 && !p.narrow() {
		p.b.WriteString(p.colour(bold, p.dropRow("COUNT", "RATE/S", "REASON", "STAGE", "DEVICE", "WORKLOAD", "DIR", "EXAMPLE")) + "\n")
	}
	p.rows++
	reason := d.Reason
	if reason == "" {
		reason = "(no reason)"
	}
	reason += "@" + d.Location
	stage := string(d.Stage)
	if d.Engine != "" {
		stage += "/" + d.Engine
	}
	workload := d.Workload
	if d.Owner != "" && p.wide {
		workload += " (" + d.Owner + ")"
	}
	if p.narrow() {
		p.wrap("", "    ", fmt.Sprintf("%d %s %s %s %s %s %s", d.Count, reason, stage, d.Device, workload, d.Direction, d.Example))
		return
	}
	row := p.dropRow(fmt.Sprint(d.Count), fmt.Sprintf("%.1f", d.PerSecond), reason, dash(stage), dash(d.Device), dash(workload), dash(d.Direction), d.Example)
	if d.Rule != nil {
		row += "\n        rule: " + Escape(d.Rule.Table+" "+d.Rule.Chain+": "+d.Rule.Text)
	}
	if p.wide {
		row += fmt.Sprintf("\n        first %s, last %s, %d bytes", d.First.Format("15:04:05.000"), d.Last.Format("15:04:05.000"), d.Bytes)
	}
	p.b.WriteString(row + "\n")
}

func (p *textPrinter) narrow() bool { return p.o.Width > 0 && p.o.Width < 100 }

func (p *textPrinter) dropRow(count, rate, reason, stage, dev, workload, dir, example string) string {
	return strings.TrimRight(fmt.Sprintf("%8s %8s  %-38s %-20s %-16s %-32s %-8s %s", count, rate,
		Escape(reason), Escape(stage), Escape(dev), Escape(workload), Escape(dir), Escape(example)), " ")
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
	p.wrap("", "  ", fmt.Sprintf("%d drops in %s on %s, exact; %d more were harmless", t.Total, s.Duration, s.Node, noise)+among(parts))
	if t.Unlisted > 0 {
		p.wrap("", "  ", fmt.Sprintf("%d of them are in no row: there were more different ones than the table holds", t.Unlisted))
	}
	if s.Lost > 0 {
		p.wrap("", "  ", fmt.Sprintf("%d example events were lost; the counts are not affected", s.Lost))
	}
}

func among(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
