package render

import (
	"strings"

	"github.com/podpath/podpath/tracer"
)

// Explanation is the catalogue's entry for one code.
type Explanation struct {
	TypeMeta
	Code       string           `json:"code"`
	Component  tracer.Component `json:"component"`
	Title      string           `json:"title"`
	Meaning    string           `json:"meaning,omitempty"`
	Evidence   string           `json:"evidence,omitempty"`
	LookAlikes []string         `json:"look_alikes,omitempty"`
	Remedy     []string         `json:"remedy,omitempty"`
	// Shown is "lab" if the demo builds this fault from real packets, "machine" if
	// that changes a whole machine, so that only tests in one of their own do, "cluster"
	// if the scenarios on a real Kubernetes do, and "unit" if its rule is tested on
	// constructed flows only.
	Shown string `json:"shown,omitempty"`
	// Demos are the names of those faults for podpath demo.
	Demos []string `json:"demos,omitempty"`
}

// NewExplanation sets the type of an object.
func NewExplanation(e Explanation) *Explanation {
	e.TypeMeta = meta("Explanation")
	return &e
}

func (p *textPrinter) explanation(e *Explanation) {
	if e.Meaning == "" {
		p.row([]column{{e.Code, 28}, {string(e.Component), 12}}, e.Title)
		return
	}
	p.wrap(p.colour(bold, Escape(e.Code))+"  ", "  ", "("+string(e.Component)+")")
	p.wrap("  ", "  ", e.Title)
	p.section("What is wrong")
	p.wrap("    ", "    ", e.Meaning)
	p.section("Evidence")
	p.wrap("    ", "    ", e.Evidence)
	p.list("Not to be confused with", e.LookAlikes)
	p.remedy(e.Remedy)
	shown := "on constructed flows"
	switch e.Shown {
	case "machine":
		shown = "with real packets, in a machine of its own: make test-kernels"
	case "cluster":
		shown = "on a real Kubernetes: make e2e"
	case "lab":
		shown = "with real packets: podpath demo " + strings.Join(e.Demos, ", podpath demo ")
	}
	p.section("Tested")
	p.wrap("    ", "    ", shown)
}
