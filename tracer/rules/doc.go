// Package rules reads the packet filters of a node (nf_tables, which includes
// iptables-nft, and iptables-legacy) and says which rule a dropped packet
// meets, what translates Services, and what masquerades.
//
// It evaluates rules in three values: an expression that it does not know, or
// whose input was not observed, makes a rule undecided, never a match. A rule
// is named only if the evaluation leads to it and nothing undecided could have
// dropped the packet before, or if its counter moved.
//
// Rules are read over raw netlink, not through google/nftables, which leaves
// out expressions it does not know without a trace: a rule would look broader
// than it is.
package rules
