package rules

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// A list of devices that changes interrupted is asked for again, and what is absent
// from one that stays incomplete proves nothing.
func TestInterruptedLinks(t *testing.T) {
	errList := errors.New("no such namespace")
	ipvs := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}}
	for _, tt := range []struct {
		name     string
		failing  int // tries that are interrupted, and show nothing
		err      error
		asked    int
		complete bool
		ipvs     bool
	}{
		{name: "at once", asked: 1, complete: true, ipvs: true},
		{name: "after two interruptions", failing: 2, asked: 3, complete: true, ipvs: true},
		{name: "never", failing: readTries, asked: readTries},
		{name: "not at all", err: errList, asked: 1, complete: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			s := &space{nft: &ruleset{}}
			err := s.readLinks(func() ([]netlink.Link, error) {
				asked++
				switch {
				case tt.err != nil:
					return nil, tt.err
				case asked <= tt.failing:
					return nil, netlink.ErrDumpInterrupted
				}
				return []netlink.Link{ipvs}, nil
			})
			if !errors.Is(err, tt.err) || asked != tt.asked {
				t.Fatalf("asked %d times: %v", asked, err)
			}
			found := implementations(s.nft, s, famIP)
			if s.failed == tt.complete || slices.Contains(found, "ipvs") != tt.ipvs || (len(s.blind) == 0) != tt.complete {
				t.Errorf("found %v, failed %t, blind %+v", found, s.failed, s.blind)
			}
		})
	}
}
