// Package policy says what the cluster's NetworkPolicies (networking.k8s.io/v1)
// allow for one flow, and if they deny it, which rule came closest and what it
// missed.
//
// It judges the first packet of a connection; replies are never judged. It
// refuses to guess: hostNetwork pods get no decision, because policies do not
// apply to them, and traffic that implementations usually exempt is marked
// instead of being called allowed. Other policy APIs (AdminNetworkPolicy, those
// of the CNIs) are not read.
package policy
