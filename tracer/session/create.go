package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// createFile makes a new file of mode 0600 at path. A recording holds a
// cluster's objects and is made by root, often in /tmp, so it never writes into
// a file that someone else prepared: it is created under a fresh name and then
// moved to path. What stood there is replaced if it was a regular file;
// anything else, above all a symbolic link, is refused.
func createFile(path string) (*os.File, error) {
	switch st, err := os.Lstat(path); {
	case err == nil && !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is %s, not a regular file", path, typeName(st.Mode()))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	// CreateTemp opens with O_EXCL and mode 0600, and so follows no link.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	// rename replaces a link that appeared meanwhile, it does not follow it.
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

func typeName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
