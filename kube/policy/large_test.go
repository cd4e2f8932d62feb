package policy

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podpath/podpath/kube"
	large "github.com/podpath/podpath/testbed/cluster"
	"github.com/podpath/podpath/tracer"
)

// BenchmarkDecideLarge is the same for flows between pods chosen at random, in the
// cluster that the targets are about: how long most take, and the slowest.
func BenchmarkDecideLarge(b *testing.B) {
	c := large.Generate(large.Large())
	var dump bytes.Buffer
	if err := c.WriteDump(&dump); err != nil {
		b.Fatal(err)
	}
	view, _, err := kube.ReadDump(&dump, "test")
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	var took []float64
	for b.Loop() {
		src, dst := c.Pods[rnd.IntN(len(c.Pods))], c.Pods[rnd.IntN(len(c.Pods))]
		f := Flow{
			Src: netip.MustParseAddr(src.Status.PodIP), Dst: netip.MustParseAddr(dst.Status.PodIP), Port: 8080, Proto: tracer.ProtoTCP,
		}
		begun := time.Now()
		Decide(view, f)
		took = append(took, float64(time.Since(begun).Microseconds()))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "median-µs")
	b.ReportMetric(took[len(took)*99/100], "p99-µs")
	b.ReportMetric(took[len(took)-1], "most-µs")
}
