// Package tracer is podpath's vocabulary: what a kernel hook saw (Event), what
// the node and the cluster said at that moment (NodeFacts, ClusterFacts), the
// path that one flow took (Journey) and who is at fault (Verdict).
//
// It holds plain data and the small methods that belong to it. It decides
// nothing, reads nothing, and imports only the standard library, so that every
// other package can share it and a recorded session can be analysed anywhere.
package tracer
