// Package probe loads the kernel programs, attaches them, keeps the selection
// and the set of watched devices current, and turns what the kernel reports
// into tracer.Events. What this kernel cannot show is listed as tracer.Blind.
//
// It decides nothing about flows or faults. It changes nothing on the node:
// every program only looks, and every attachment is a link that dies with the
// process.
package probe
