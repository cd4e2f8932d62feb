package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/podpath/podpath/tracer/netns"
)

// readLegacy reads what ip_tables and ip6_tables hold in a namespace, with
// their own tools: the kernel's interface is a private C structure. It returns
// nil if there are no such tables, without starting anything. Rules of old that
// did not change are taken over.
func readLegacy(ctx context.Context, space *os.File, proc string, old *ruleset) (*ruleset, error) {
	type kind struct {
		names, tool string
		family      family
	}
	rs := &ruleset{}
	var errs []error
	err := netns.Do(int(space.Fd()), func() error {
		for _, k := range []kind{{"ip_tables_names", "iptables-legacy-save", famIP}, {"ip6_tables_names", "ip6tables-legacy-save", famIP6}} {
			b, err := os.ReadFile(proc + "/thread-self/net/" + k.names)
			if errors.Is(err, os.ErrPermission) {
				errs = append(errs, fmt.Errorf("only root may see which tables exist: %w", err))
			}
			if err != nil || strings.TrimSpace(string(b)) == "" {
				continue
			}
			path, err := exec.LookPath(k.tool)
			if err != nil {
				errs = append(errs, fmt.Errorf("tables %s exist, and %s is not installed to read them", strings.Join(strings.Fields(string(b)), ", "), k.tool))
				continue
			}
			// The child inherits the namespace of this thread.
			out, err := exec.CommandContext(ctx, path, "-c").Output()
			if err != nil {
				errs = append(errs, fmt.Errorf("run %s: %w", k.tool, err))
				continue
			}
			parseSaveAfter(old, rs, string(out), k.family)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(rs.tables) == 0 {
		rs = nil
	}
	return rs, errors.Join(errs...)
}
