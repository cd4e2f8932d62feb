// Package session keeps one run of podpath in one file: the events, the facts
// and the clock, in the order in which the analyser consumed them, so that the
// same analyser gives the same verdicts again without root, kernel or cluster.
//
// It decides nothing and drops nothing silently: what could not be written is
// an error, what could not be read is a DamagedError that says how much could.
//
// # Format
//
// A file is a sequence of zstd frames (RFC 8878) whose content is JSON lines;
// `zstdcat FILE` shows it, and a file of the bare lines is read too. The first
// line is the Header, every other line a Record. Each frame carries a checksum
// and holds whole lines, either at most FrameBytes of them or a single longer
// one, so that no line of a damaged frame is ever handed out and a writer that
// is killed loses only what it had not flushed.
//
// Record kinds and fields that a reader does not know are skipped, so that
// adding is compatible; anything else is a new Version.
package session
