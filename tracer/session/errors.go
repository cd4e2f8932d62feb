package session

import (
	"errors"
	"fmt"
)

// ErrNotSession: the file is no recording of podpath at all.
var ErrNotSession = errors.New("not a podpath session")

// ErrTooLarge: the recording reached its size limit and stops there.
var ErrTooLarge = errors.New("recording reached its size limit")

// VersionError: the file is a recording, in a format that this podpath does
// not read.
type VersionError struct {
	Got int
	// Podpath is the version of the program that recorded it.
	Podpath string
}

// Error names both versions and what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("session format %d was recorded by podpath %q, this podpath reads format %d: replay it with the podpath that recorded it",
		e.Got, e.Podpath, Version)
}

// DamagedError: the recording can be read only up to a point. What came before
// is intact.
type DamagedError struct {
	// Records is how many records were handed out before the damage.
	Records uint64
	// Truncated: the file just stops, as it does when the recording podpath was
	// killed. Otherwise its content is corrupted.
	Truncated bool
	// Err says where reading stopped.
	Err error
}

// Error says how many records could be used.
func (e *DamagedError) Error() string {
	how := "is corrupted"
	if e.Truncated {
		how = "is cut off"
	}
	return fmt.Sprintf("session %s after %d records: %v", how, e.Records, e.Err)
}

// Unwrap gives the cause.
func (e *DamagedError) Unwrap() error { return e.Err }
