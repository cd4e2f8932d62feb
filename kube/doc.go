// Package kube holds what the cluster's objects said, as immutable snapshots
// that are looked up by address and moment. The state comes from an API server
// (Watch) or from a dump that kubectl wrote (LoadDump); both fill the same
// Snapshot, and a Snapshot can be written as a dump again (WriteDump).
//
// Objects are reduced to the fields that podpath uses as soon as they arrive.
// The package reports what the API says; it does not judge policies
// (kube/policy) or translations (kube/service), and it never writes to the
// cluster.
package kube
