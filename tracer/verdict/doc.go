// Package verdict holds the catalogue of faults and the ordered, pure rules
// that lead from a journey and the facts around it to a verdict.
//
// A rule is silent when it is not sure. What the rules find is ranked: causes
// before what follows from them, which is data (effects), then in the order of the
// rules, the more specific component first. The first is the verdict; the others
// become "also seen", with how they stand to it. A
// policy is blamed only if the cluster's policies deny the flow; a drop that
// they allow is a different verdict. Where nothing speaks, the verdict is
// "unknown", or "beyond-node" for packets that left this node intact.
package verdict
