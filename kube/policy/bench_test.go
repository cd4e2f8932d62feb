package policy

import (
	"fmt"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// BenchmarkDecide is the design's "policy evaluation of a flow ≤ 1 ms" with
// 2,000 policies: spread over namespaces, all in the pod's namespace, and all
// selecting the pod.
func BenchmarkDecide(b *testing.B) {
	const rule = "ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: x}}}, {ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 80}, {port: https}]}]}"
	shapes := map[string]func(i int) string{
		"spread": func(i int) string { return fmt.Sprintf("ns%d/p%d: {podSelector: {}, %s", i%50, i, rule) },
		"one_ns": func(i int) string {
			return fmt.Sprintf("shop/p%d: {podSelector: {matchLabels: {app: a%d}}, %s", i, i, rule)
		},
		"all_select": func(i int) string {
			return fmt.Sprintf("shop/p%d: {podSelector: {matchLabels: {app: api}}, %s", i, rule)
		},
	}
	for name, shape := range shapes {
		b.Run(name, func(b *testing.B) {
			policies := make([]string, 2000)
			for i := range policies {
				policies[i] = shape(i)
			}
			s := cluster(b, policies...)
			f := flow(front, api, 8080, tracer.ProtoTCP)
			for b.Loop() {
				Decide(s, f)
			}
		})
	}
}
