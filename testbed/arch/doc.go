// Package arch keeps the package table of docs/architecture.md true: who may
// import whom, which library is used where, and which habits do not enter the
// tree. It parses the sources itself, because `go list` inside a test is
// answered from the test cache and misses an edit.
package arch
