// Package policy says what the cluster's policies allow for one flow, and if they
// deny it, which rule does, or which one came closest to allowing it and what it
// missed. It evaluates NetworkPolicy (networking.k8s.io/v1) and the cluster-wide
// kinds of policy.networking.k8s.io: AdminNetworkPolicy,
// BaselineAdminNetworkPolicy and ClusterNetworkPolicy.
//
// It judges the first packet of a connection; replies are never judged. It
// refuses to guess: hostNetwork pods get no decision, because policies do not
// apply to them, traffic that implementations usually exempt is marked instead of
// being called allowed, and what rests on a rule that cannot be decided (a domain
// name, fields of a newer version) is marked as uncertain. Policies of the CNIs'
// own kinds are named if they select the pod, and not evaluated.
package policy
