package probe

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// errHidden means that kptr_restrict hides the addresses.
var errHidden = errors.New("symbol addresses are hidden")

// symbolTable holds a hundred thousand names, so they share one piece of memory.
type symbolTable struct {
	places []place
	names  []byte
}

// place is where a function begins, and where in names its own is.
type place struct {
	addr     uint64
	from, to uint32
}

// Symbols are the names of the kernel's functions. Reading them takes most of
// the time that Open does, so that probes of one process may share them. They
// may be used concurrently.
type Symbols struct {
	path    string
	modules string // the list of loaded modules

	mu     sync.Mutex
	read   bool
	loaded string // the modules when the table was read
	table  symbolTable
	names  map[uint64]string
}

// NewSymbols reads nothing yet: the first probe does.
func NewSymbols() *Symbols { return newSymbols("/proc/kallsyms", "/proc/modules") }

func newSymbols(path, modules string) *Symbols {
	return &Symbols{path: path, modules: modules, names: map[uint64]string{}}
}

// name is the function that holds an address, without compiler suffixes; the
// address in hexadecimal if it cannot be resolved.
func (s *Symbols) name(addr uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.names[addr]; ok {
		return n
	}
	s.readLocked()
	n := s.table.lookup(addr)
	if n == "" {
		n = fmt.Sprintf("0x%x", addr)
	}
	s.names[addr] = n
	return n
}

// load reads the table unless that was done, with the modules that are loaded
// now.
func (s *Symbols) load() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if loaded := moduleAddresses(s.modules); loaded != s.loaded {
		s.loaded, s.read = loaded, false
		clear(s.names)
	}
	s.readLocked()
}

// moduleAddresses says which modules are where: the first and the sixth field
// of /proc/modules (kernel/module/procfs.c). Without modules there is no file.
func moduleAddresses(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 5 {
			b.WriteString(f[0] + " " + f[5] + "\n")
		}
	}
	return b.String()
}

func (s *Symbols) readLocked() {
	if s.read {
		return
	}
	s.read = true
	// An unreadable table is reported once, as blindness.
	_ = s.loadLocked()
}

func (s *Symbols) loadLocked() error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	s.table, err = parseSymbols(f)
	return err
}

// parseSymbols reads the format of /proc/kallsyms and keeps functions.
func parseSymbols(r io.Reader) (symbolTable, error) {
	t := symbolTable{places: make([]place, 0, 1<<16), names: make([]byte, 0, 1<<20)}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addr, name, ok := parseSymbol(lines.Bytes())
		if !ok {
			continue
		}
		if addr == 0 {
			return symbolTable{}, errHidden
		}
		from := uint32(len(t.names))
		t.names = append(t.names, name...)
		t.places = append(t.places, place{addr: addr, from: from, to: uint32(len(t.names))})
	}
	if err := lines.Err(); err != nil {
		return symbolTable{}, fmt.Errorf("read kernel symbols: %w", err)
	}
	slices.SortStableFunc(t.places, func(a, b place) int { return cmp.Compare(a.addr, b.addr) })
	return t, nil
}

func parseSymbol(line []byte) (addr uint64, name []byte, ok bool) {
	hex, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 3 || rest[1] != ' ' || bytes.IndexByte([]byte("tTwW"), rest[0]) < 0 {
		return 0, nil, false
	}
	addr, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0, nil, false
	}
	name, _, _ = bytes.Cut(rest[2:], []byte("\t"))
	return addr, name, len(name) > 0
}

// lookup finds the last symbol at or below addr.
func (t *symbolTable) lookup(addr uint64) string {
	i, found := slices.BinarySearchFunc(t.places, addr, func(p place, a uint64) int { return cmp.Compare(p.addr, a) })
	if !found {
		if i == 0 {
			return ""
		}
		i--
	}
	return plainName(string(t.names[t.places[i].from:t.places[i].to]))
}

// plainName takes off what a compiler appends to the clones of a function
// (".constprop.0", ".isra.0", ".part.0", ".cold", ".llvm.123").
func plainName(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}
