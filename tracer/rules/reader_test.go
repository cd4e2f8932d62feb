package rules

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// A proxy is told by its device, and the absence of one that could not be asked for
// proves nothing.
func TestUnreadableLinks(t *testing.T) {
	for _, tt := range []struct {
		name           string
		answer         netlink.Link
		err            error
		complete, ipvs bool
	}{
		{name: "it is there", answer: &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}}, complete: true, ipvs: true},
		{name: "it is not there", err: netlink.LinkNotFoundError{}, complete: true},
		{name: "another device has the name, too", answer: &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}, complete: true},
		{name: "it cannot be asked for", err: errors.New("no buffer space available")},
		{name: "a list that was interrupted", err: netlink.ErrDumpInterrupted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &space{nft: &ruleset{}}
			s.linkNamed = func(name string) (netlink.Link, error) {
				if name != "kube-ipvs0" {
					return nil, netlink.LinkNotFoundError{}
				}
				return tt.answer, tt.err
			}
			found := implementations(s.nft, s, famIP)
			if s.failed == tt.complete || slices.Contains(found, "ipvs") != tt.ipvs || (len(s.blind) == 0) != tt.complete {
				t.Errorf("found %v, failed %t, blind %+v", found, s.failed, s.blind)
			}
		})
	}
}
