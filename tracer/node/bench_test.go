package node

import (
	"context"
	"testing"

	"github.com/podpath/podpath/tracer"
)

func BenchmarkCollect(b *testing.B) {
	c := newCluster(b, true, true)
	n := c.n1.node()
	ctx := context.Background()
	if _, err := n.Inventory(ctx); err != nil {
		b.Fatal(err)
	}
	q := tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:80"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode}
	for b.Loop() {
		n.Collect(ctx, q)
	}
}

func BenchmarkInventory(b *testing.B) {
	c := newCluster(b, true, true)
	n := c.n1.node()
	for b.Loop() {
		if _, err := n.Inventory(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
