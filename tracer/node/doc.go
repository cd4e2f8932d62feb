// Package node reads what one node says about its network: namespaces and
// devices, FIB, neighbours, sockets, sysctls, counters and attached BPF
// programs. It decides nothing about faults and changes nothing: it sends only
// netlink "get" requests and reads files in /proc.
//
// Which namespaces belong to the node is the one judgement it makes; see
// classify for the rule.
package node
