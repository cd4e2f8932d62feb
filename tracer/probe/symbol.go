package probe

import (
	"bufio"
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

type symbol struct {
	addr uint64
	name string
}

// symbols resolves kernel text addresses. It reads the table at first use, or
// by load, and remembers the names it gave.
type symbols struct {
	path string

	mu    sync.Mutex
	read  bool
	table []symbol
	names map[uint64]string
}

func newSymbols(path string) *symbols {
	return &symbols{path: path, names: map[uint64]string{}}
}

// name is the function that holds an address, without compiler suffixes; the
// address in hexadecimal if it cannot be resolved.
func (s *symbols) name(addr uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.names[addr]; ok {
		return n
	}
	s.readLocked()
	n := lookup(s.table, addr)
	if n == "" {
		n = fmt.Sprintf("0x%x", addr)
	}
	s.names[addr] = n
	return n
}

// load reads the table unless that was done.
func (s *symbols) load() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readLocked()
}

func (s *symbols) readLocked() {
	if s.read {
		return
	}
	s.read = true
	// An unreadable table is reported once, as blindness.
	_ = s.loadLocked()
}

func (s *symbols) loadLocked() error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	s.table, err = parseSymbols(f)
	return err
}

// parseSymbols reads the format of /proc/kallsyms and keeps functions.
func parseSymbols(r io.Reader) ([]symbol, error) {
	table := make([]symbol, 0, 1<<16)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		addr, name, ok := parseSymbol(lines.Text())
		if !ok {
			continue
		}
		if addr == 0 {
			return nil, errHidden
		}
		table = append(table, symbol{addr: addr, name: strings.Clone(name)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	slices.SortStableFunc(table, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	return table, nil
}

func parseSymbol(line string) (uint64, string, bool) {
	hex, rest, ok := strings.Cut(line, " ")
	if !ok || len(rest) < 3 || rest[1] != ' ' || !strings.ContainsRune("tTwW", rune(rest[0])) {
		return 0, "", false
	}
	addr, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return 0, "", false
	}
	name, _, _ := strings.Cut(rest[2:], "\t")
	return addr, name, name != ""
}

// lookup finds the last symbol at or below addr.
func lookup(table []symbol, addr uint64) string {
	i, found := slices.BinarySearchFunc(table, addr, func(s symbol, a uint64) int { return cmp.Compare(s.addr, a) })
	if !found {
		if i == 0 {
			return ""
		}
		i--
	}
	return plainName(table[i].name)
}

// plainName takes off what a compiler appends to the clones of a function
// (".constprop.0", ".isra.0", ".part.0", ".cold", ".llvm.123").
func plainName(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}
