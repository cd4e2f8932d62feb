// Package verdict holds the catalogue of faults and the ordered, pure rules
// that lead from a journey and the facts around it to a verdict.
//
// A rule is silent when it is not sure. The first rule that speaks gives the
// verdict; the others become "also seen". Causes stand before consequences. A
// policy is blamed only if the cluster's policies deny the flow; a drop that
// they allow is a different verdict. Where nothing speaks, the verdict is
// "unknown", or "beyond-node" for packets that left this node intact.
package verdict
