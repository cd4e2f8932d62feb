// Package redact replaces, in the lines of a recording, every address and every
// name by a pseudonym, the same one wherever it stands, so that the analysis of
// the recording gives the same verdicts about pseudonyms.
//
// What is not known to be harmless is replaced: a new field of a record is, until
// it is listed in keep.go. It works on the encoded lines, the last thing before the
// file, so that nothing gets past it.
//
// The mapping is drawn at random for one Redactor and cannot be had from it: two
// recordings have nothing in common.
package redact
