package node

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumpTries bounds how often an interrupted dump is asked for again.
const dumpTries = 4

// dumped repeats a netlink dump that a concurrent change interrupted. The
// second result is false if even the last try was interrupted, so that the
// values may be incomplete.
func dumped[T any](f func() (T, error)) (v T, complete bool, err error) {
	for range dumpTries {
		v, err = f()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return v, err == nil, err
		}
	}
	return v, false, nil
}
