// Package render shows verdicts, flows, drops and summaries to people (text,
// wide) and to programs (JSON lines, YAML documents).
//
// Every string that came from a packet, a kernel name or the API passes Escape
// before it reaches a terminal. The JSON types here are the published format:
// fields are added, never changed or removed.
package render
