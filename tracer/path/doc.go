// Package path joins the events of one flow into a tracer.Journey: both
// directions, across DNAT and SNAT, tunnels and namespaces of one node.
//
// It says what was seen and in which order, never why. A flow is known by its
// conntrack original tuple; the tuples that conntrack expects, the quoted
// packet of an ICMP error and the inner packet of a tunnel all lead back to it.
// Nothing here reads the kernel or the clock: time is what the events carry.
package path
