package tracer

import (
	"fmt"
	"strings"
)

// Shares is how many of the connections to one destination failed, of those that
// one trace has judged, where some failed and some were answered.
type Shares struct {
	// Destination is the Service's frontend ("payments/svc/api:80") or an address.
	Destination string `json:"destination"`
	Protocol    string `json:"protocol"`
	// Outcome is "intermittent" if a client had connections answered that began
	// between others of its own, in the same address family, that failed; else how
	// the last that failed ended.
	Outcome Outcome `json:"outcome"`
	Flows   int     `json:"flows"`
	Failed  int     `json:"failed"`
	// By counts them by what may differ between them, where it did.
	By []Share `json:"by"`
	// Shared is what all those that failed have in common, and none of the others.
	Shared []string `json:"shared"`
}

// Share is a part of the connections.
type Share struct {
	// Kind is "endpoint", "node" (the endpoint's), "client", "client-node", "family"
	// or, of a destination outside, "source-address" (as the flow left the node);
	// Name is which ("payments/api-5c (10.244.1.9:8080)", "n2", "IPv6").
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Flows  int    `json:"flows"`
	Failed int    `json:"failed"`
}

// String says it in a sentence without what is shared.
func (s *Shares) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d connections to %s %s failed", s.Failed, s.Flows, s.Destination, s.Protocol)
	for i, x := range s.By {
		if i > 0 && s.By[i-1].Kind == x.Kind {
			b.WriteString(", ")
		} else {
			fmt.Fprintf(&b, "; by %s: ", x.Kind)
		}
		fmt.Fprintf(&b, "%s %d of %d", x.Name, x.Failed, x.Flows)
	}
	return b.String()
}
