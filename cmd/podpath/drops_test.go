package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer/render"
)

// A report of real drops conforms, names the workload, and its rows add up.
func TestDropsReport(t *testing.T) {
	l := damagedLab(t, "policy-ingress", nil)
	args := slices.Replace(slices.Clone(l.args), 0, 1, "drops")
	p := launch(t, append(args, "--duration", "4s", "-o", "json")...)
	p.ready(t)
	l.show(t)
	if code := p.code(t); code != exitFault {
		t.Errorf("exit code %d", code)
	}
	kinds, err := compileSchemas(t).checkAll("json", p.out.String())
	if err != nil || !slices.Equal(kinds, []string{"Drop", "Summary"}) {
		t.Fatalf("kinds %v: %v", kinds, err)
	}
	var rows, total uint64
	denied := false
	for line := range strings.Lines(p.out.String()) {
		var d render.Drop
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind != "Drop" {
			var s render.Summary
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatal(err)
			}
			total = s.Drops.Total - s.Drops.Unlisted
			continue
		}
		rows += d.Count
		denied = denied || d.Reason == "NETFILTER_DROP" && strings.HasPrefix(d.Workload, "payments/api-") && d.Direction == "ingress"
	}
	if rows != total {
		t.Errorf("the rows add up to %d, the total is %d", rows, total)
	}
	if !denied {
		t.Error("the policy's drop is not in the report")
	}
}

// Live lines, until Ctrl-C.
func TestDropsLive(t *testing.T) {
	l := damagedLab(t, "policy-ingress", nil)
	p := launch(t, slices.Replace(slices.Clone(l.args), 0, 1, "drops")...)
	p.ready(t)
	l.show(t)
	// Where nf_tables does not free the packet itself, its caller does.
	row := regexp.MustCompile(`NETFILTER_DROP in (nft_do_chain|nf_hook_slow)`)
	eventually(t, "a row", func() bool { return row.MatchString(p.out.String()) })
	interrupt(t, p)
	if code := p.code(t); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if out := p.out.String(); !strings.HasPrefix(out, "   COUNT") || !strings.Contains(out, " drops in ") {
		t.Errorf("no header, or no totals: %s", out)
	}
}
