// Package crosscheck holds podpath's evaluation of policies against that of
// cyclonus (github.com/mattfenwick/cyclonus), the engine behind Kubernetes' own
// tests of NetworkPolicy. It is a module of its own, so that none of what
// cyclonus requires becomes podpath's.
//
// cyclonus knows no cluster-wide policies. For those it says of each rule whether
// it matches a flow, as a NetworkPolicy with that one rule; only the order of
// tiers, priorities and rules is written down here, after the API's text
// (policy.networking.k8s.io, ClusterNetworkPolicySpec).
package crosscheck
