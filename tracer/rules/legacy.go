package rules

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"strings"

	"github.com/podpath/podpath/tracer/netns"
)

// legacyReader reads what ip_tables and ip6_tables hold in a namespace. The rules
// come from their own tools, which take long; only those of tables that changed
// since old are read. Counters are those of now.
type legacyReader struct {
	ctx  context.Context
	proc string
	seed maphash.Seed
	old  *ruleset
	// recent: old was read a moment ago. A table that looks alike from outside, by
	// its size and where its chains begin, then stands.
	recent bool
	read   ruleset
}

var legacyKinds = []struct {
	names, tool string
	family      family
}{{"ip_tables_names", "iptables-legacy-save", famIP}, {"ip6_tables_names", "ip6tables-legacy-save", famIP6}}

// readLegacy returns nil if there are no such tables, without starting anything.
func (l *legacyReader) readLegacy(space *os.File) (*ruleset, error) {
	var errs []error
	err := netns.Do(int(space.Fd()), func() error {
		for _, k := range legacyKinds {
			b, err := os.ReadFile(l.proc + "/thread-self/net/" + k.names)
			if errors.Is(err, os.ErrPermission) {
				errs = append(errs, fmt.Errorf("only root may see which tables exist: %w", err))
			}
			if err != nil {
				continue
			}
			for _, name := range strings.Fields(string(b)) {
				if err := l.table(tableKey{k.family, name}, k.tool); err != nil {
					errs = append(errs, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(l.read.tables) == 0 {
		return nil, errors.Join(errs...)
	}
	return &l.read, errors.Join(errs...)
}

// table takes over what did not change, and reads it otherwise.
func (l *legacyReader) table(k tableKey, tool string) error {
	t := l.old.legacyTable(k)
	if t != nil && l.recent {
		if info, err := readXtinfo(k.family, k.name); err == nil && info == t.info {
			l.read.tables = append(l.read.tables, t)
			return nil
		}
	}
	now, err := readXtable(k.family, k.name, l.seed)
	if err != nil {
		return err
	}
	for range readTries {
		if t != nil && t.sum == now.sum {
			if err := t.count(now); err != nil {
				return err
			}
			l.read.tables = append(l.read.tables, t)
			return nil
		}
		out, err := l.save(k, tool)
		if err != nil {
			return err
		}
		then := ruleset{}
		parseSaveAfter(l.old, &then, out, k.family)
		if t = then.legacyTable(k); t == nil {
			return fmt.Errorf("run %s: it says nothing of table %s", tool, k.name)
		}
		// What the tool read stands if the table is now as it was before.
		t.sum, t.info = now.sum, now.info
		if now, err = readXtable(k.family, k.name, l.seed); err != nil {
			return err
		}
	}
	return fmt.Errorf("table %s: %w", k.name, errChanging)
}

// save prints the rules. The child inherits the namespace of this thread.
func (l *legacyReader) save(k tableKey, tool string) (string, error) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return "", fmt.Errorf("table %s exists, and %s is not installed to read it", k.name, tool)
	}
	out, err := exec.CommandContext(l.ctx, path, "-t", k.name).Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", tool, err)
	}
	return string(out), nil
}

// count gives the rules the counters that the kernel has for them now.
func (t *table) count(now *xtable) error {
	for _, x := range now.chains {
		c := t.chain(x.name)
		if c == nil || len(c.rules) != len(x.packets) {
			return fmt.Errorf("table %s, chain %s: %w", t.name, x.name, errEntries)
		}
		for i, r := range c.rules {
			r.count = x.packets[i]
		}
	}
	return nil
}
