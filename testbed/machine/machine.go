// Package machine lists what a test can leave behind on the machine that it ran
// on: mounts, processes, namespaces, rules, devices, settings, BPF programs,
// control groups and files.
package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// State is everything that was there at one moment, as "kind name" with its
// value.
type State map[string]string

// Look reads the machine. It needs root. mark is an environment variable, as
// NAME=VALUE or the beginning of that: of processes only those that have it are
// listed, as on any machine others come and go.
func Look(mark string) (State, error) {
	s := State{}
	var errs []error
	for _, look := range []func() error{
		func() error { return s.processes(mark) }, s.mounts, s.network, s.settings, s.programs, s.groups, s.files,
	} {
		errs = append(errs, look())
	}
	return s, errors.Join(errs...)
}

// Left lists what is there now and was not, is different, or is gone, but for
// what ends by itself: programs of others, and what belongs to them.
func (s State) Left(now State) []string {
	var all []string
	for what, value := range now {
		if before, ok := s[what]; !ok {
			all = append(all, "new: "+what)
		} else if before != value {
			all = append(all, fmt.Sprintf("changed: %s: %q, was %q", what, value, before))
		}
	}
	for what := range s {
		if _, ok := now[what]; !ok && !ends(what) {
			all = append(all, "gone: "+what)
		}
	}
	slices.Sort(all)
	return all
}

func ends(what string) bool {
	for _, kind := range []string{"process ", "namespace ", "BPF ", "cgroup ", "file /tmp/", "file /run/"} {
		if strings.HasPrefix(what, kind) {
			return true
		}
	}
	return false
}

// Await looks until nothing is left, and then gives nothing; or, when the time is
// over, what was left all the while. What others on the machine do meanwhile
// comes and goes.
func (s State) Await(mark string, limit time.Duration) ([]string, error) {
	var left []string
	for begun, first := time.Now(), true; ; first = false {
		now, err := Look(mark)
		if err != nil {
			return nil, err
		}
		found := s.Left(now)
		if first {
			left = found
		} else {
			left = slices.DeleteFunc(left, func(l string) bool { return !slices.Contains(found, l) })
		}
		if len(left) == 0 || time.Since(begun) > limit {
			return left, nil
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// processes are those with the mark, and the namespaces that any process is in.
func (s State) processes(mark string) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		if err != nil {
			continue // it ended
		}
		marked := slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return strings.HasPrefix(string(v), mark) })
		if !marked || dir == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		args, _ := os.ReadFile(dir + "/cmdline")
		s["process "+filepath.Base(dir)+" "+strings.ReplaceAll(string(args), "\x00", " ")] = ""
		for _, kind := range []string{"net", "mnt", "pid"} {
			if ns, err := os.Readlink(dir + "/ns/" + kind); err == nil {
				s["namespace "+ns] = ""
			}
		}
	}
	return nil
}

func (s State) mounts() error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 9 {
			s["mount "+f[4]+" "+strings.Join(f[8:10], " ")] = ""
		}
	}
	return nil
}

// network is what the machine's own network namespace has.
func (s State) network() error {
	for name, argv := range map[string][]string{
		"device":             {"ip", "-oneline", "link", "show"},
		"address":            {"ip", "-oneline", "address", "show"},
		"route":              {"ip", "route", "show", "table", "all"},
		"route6":             {"ip", "-6", "route", "show", "table", "all"},
		"routing rule":       {"ip", "rule", "show"},
		"nft rule":           {"nft", "--stateless", "list", "ruleset"},
		"iptables-legacy":    {"iptables-legacy-save"},
		"ip6tables-legacy":   {"ip6tables-legacy-save"},
		"ipset":              {"ipset", "list", "-name"},
		"network namespace":  {"ip", "netns", "list"},
		"traffic controller": {"tc", "qdisc", "show"},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
		}
		for line := range strings.Lines(string(out)) {
			if text := lasting(line); text != "" {
				s[name+" "+text] = ""
			}
		}
	}
	return nil
}

// lasting is a line without what counts or runs down.
func lasting(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	if i := strings.Index(line, "["); i >= 0 && strings.HasPrefix(line, ":") {
		line = strings.TrimSpace(line[:i]) // counters of a chain
	}
	var words []string
	fields := strings.Fields(line)
	for i := 0; i < len(fields); i++ {
		if fields[i] == "expires" || fields[i] == "valid_lft" || fields[i] == "preferred_lft" {
			i++
			continue
		}
		words = append(words, fields[i])
	}
	return strings.Join(words, " ")
}

// settings are the sysctls, without those that only report.
func (s State) settings() error {
	return filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a device's folder went away with it
		}
		info, err := d.Info()
		if err != nil || info.Mode()&0o200 == 0 || reports(path) {
			return nil
		}
		if b, err := os.ReadFile(path); err == nil {
			s["setting "+strings.TrimPrefix(path, "/proc/sys/")] = strings.TrimSpace(string(b))
		}
		return nil
	})
}

// reports: the kernel changes the value by itself.
func reports(path string) bool {
	for _, part := range []string{"/random/", "/fs/dentry-state", "/fs/inode", "/fs/file-nr", "/kernel/ns_last_pid", "/kernel/pty/", "/binfmt_misc/", "/net/ipv4/route/flush", "/net/ipv6/route/flush"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// programs are those of the whole kernel.
func (s State) programs() error {
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("list BPF programs: %w", err)
		}
		id = next
		s["BPF program "+strconv.Itoa(int(id))] = ""
	}
	return s.links()
}

func (s State) links() error {
	for last := link.ID(0); ; {
		it := link.Iterator{ID: last}
		for it.Next() {
			last = it.ID
			s["BPF link "+strconv.Itoa(int(last))] = ""
		}
		err := it.Err()
		it.Close() // or the last link would not end
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
		time.Sleep(time.Millisecond) // the next one is just ending
	}
}

func (s State) groups() error {
	return filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			s["cgroup "+path] = ""
		}
		return nil
	})
}

// files are the names of those in places that daemons of a node write to, and of
// our own temporary ones.
func (s State) files() error {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	for _, root := range []string{"/etc", "/opt", "/run", "/usr/libexec", "/usr/lib/cni", "/var/lib", "/var/log", home + "/.kube", home + "/.local"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // it went away, or is not there at all
			}
			if d.IsDir() && slices.Contains([]string{"/var/lib/apt", "/var/lib/dpkg", "/run/user"}, path) {
				return fs.SkipDir
			}
			s["file "+path] = ""
			return nil
		})
		if err != nil {
			return err
		}
	}
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "podpath-*"))
	for _, f := range found {
		s["file "+f] = ""
	}
	return err
}
