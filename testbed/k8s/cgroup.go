package k8s

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// hierarchies are the folders in which a group can be made: one for each of
// cgroup v1's, or the only one of v2.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		dir := filepath.Join(cgroupMount, e.Name())
		if _, err := os.Stat(dir + "/cgroup.procs"); e.IsDir() && err == nil {
			found = append(found, dir)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no cgroups below %s", cgroupMount)
	}
	return found, nil
}

func unified() bool {
	_, err := os.Stat(cgroupMount + "/cgroup.controllers")
	return err == nil
}

// makeGroup makes a group in every hierarchy, in which containers can be
// started.
func makeGroup(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, top := range all {
		dir := top
		for part := range strings.SplitSeq(name, "/") {
			if unified() {
				if err := passOn(dir); err != nil {
					return err
				}
			}
			dir = filepath.Join(dir, part)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
			if err := inheritSets(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// passOn gives a v2 group's controllers to those below it.
func passOn(dir string) error {
	err := os.WriteFile(dir+"/cgroup.subtree_control", []byte("+cpuset +cpu +memory +pids +io"), 0)
	if err != nil {
		return fmt.Errorf("pass on controllers of %s: %w", dir, err)
	}
	return nil
}

// inheritSets fills in what a new group of v1's cpuset lacks: without
// processors and memory nothing can run in it.
func inheritSets(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if unified() || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0); err != nil {
			return fmt.Errorf("set %s of %s: %w", name, dir, err)
		}
	}
	return nil
}

// removeGroup removes a group and all below it. Processes that were killed
// leave it a little later: it tries until limit is over.
func removeGroup(name string, limit time.Duration) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for begun := time.Now(); ; time.Sleep(pollEvery) {
		var left error
		for _, top := range all {
			left = errors.Join(left, removeBelow(filepath.Join(top, name)))
		}
		if left == nil || time.Since(begun) > limit {
			return left
		}
	}
}

func removeBelow(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, d := range slices.Backward(dirs) {
		if e := unix.Rmdir(d); e != nil && e != unix.ENOENT {
			err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", d, e))
		}
	}
	return err
}
