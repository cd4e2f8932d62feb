package node

import (
	"fmt"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attribute is one netlink attribute without its flag bits.
type attribute struct {
	typ   uint16
	value []byte
}

// parseAttrs splits attributes. nl.ParseRouteAttr is not used because it
// panics where the last one is cut off.
func parseAttrs(b []byte) ([]attribute, error) {
	as, err := mdl.UnmarshalAttributes(b)
	if err != nil {
		return nil, fmt.Errorf("parse netlink attributes: %w", err)
	}
	out := make([]attribute, 0, len(as))
	for _, a := range as {
		out = append(out, attribute{a.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER), a.Data})
	}
	return out, nil
}
