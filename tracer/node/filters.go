package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// tcSide is where filters of a device stand.
type tcSide struct {
	name   string
	parent uint32
}

var tcIngress, tcEgress = tcSide{"ingress", netlink.HANDLE_MIN_INGRESS}, tcSide{"egress", netlink.HANDLE_MIN_EGRESS}

// tcSides are those that a device has filters at. The discipline "ingress" gives its
// own filters for whatever side it is asked for (net/sched/sch_ingress.c).
func tcSides(qs []netlink.Qdisc, index int) []tcSide {
	var out []tcSide
	for _, q := range qs {
		if q.Attrs().LinkIndex != index {
			continue
		}
		switch q.Type() {
		case "clsact":
			return []tcSide{tcIngress, tcEgress}
		case "ingress":
			out = []tcSide{tcIngress}
		}
	}
	return out
}

// tcFilter is one that is no BPF program. netlink.FilterList is not used: it leaves
// out the actions that it does not know, and all those of the kinds of filters that it
// does not know, so that the one that dropped would be missing.
type tcFilter struct {
	kind          string
	chain, handle uint32
	priority      uint16
	actions       []tcAction
}

type tcAction struct {
	kind      string
	index     uint32
	drops     bool
	rateBytes uint64
	to        int // index of a device
	redirects bool
	lost      uint64
}

// mayDrop: it is set to, or did.
func (f *tcFilter) mayDrop() bool {
	for i := range f.actions {
		if a := &f.actions[i]; a.drops || a.redirects || a.lost > 0 {
			return true
		}
	}
	return false
}

// actionsOf is the attribute of a kind of filter that holds its actions
// (linux/pkt_cls.h).
var actionsOf = map[string]uint16{"u32": 7, "fw": 4, "flower": 3, "matchall": 2, "basic": 3, "cgroup": 1, "flow": 9, "route": 6}

// parametersOf is the attribute of a kind of action that begins with struct tc_gen
// (linux/tc_act/*.h). A policer has its own.
var parametersOf = map[string]uint16{"gact": 2, "mirred": 2, "skbedit": 2, "bpf": 2, "vlan": 2, "pedit": 2, "tunnel_key": 2, "sample": 2,
	"simple": 2, "mpls": 2, "skbmod": 2, "connmark": 1, "csum": 1, "ct": 1, "nat": 1, "ife": 1}

// Attributes of tc (linux/rtnetlink.h, pkt_cls.h, gen_stats.h, tc_act/tc_gact.h).
const (
	tcaKind, tcaOptions, tcaChain              = 1, 2, 11
	tcaActKind, tcaActOptions, tcaActStats     = 1, 2, 4
	tcaStatsBasic, tcaStatsQueue               = 1, 3
	tcaGactProb, tcaPoliceTBF, tcaPoliceResult = 3, 1, 5
	tcaPoliceRate64                            = 8

	tcActShot = 2
)

// maxFilters bounds what is read of one side of one device: a switch that hands its
// flows over to tc has one filter for each.
const maxFilters = 4096

var errManyFilters = fmt.Errorf("there are more than %d", maxFilters)

// tcFilters reads those of one side of a device, in the calling thread's namespace.
func tcFilters(index int, s tcSide) (out []tcFilter, err error) {
	out, complete, err := dumped(func() ([]tcFilter, error) { return dumpFilters(index, s) })
	if err == nil && !complete {
		err = errors.New("they changed while being read")
	}
	return out, err
}

func dumpFilters(index int, s tcSide) ([]tcFilter, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETTFILTER, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: s.parent})
	var out []tcFilter
	var bad error
	seen := 0
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER, func(m []byte) bool {
		if seen++; seen > maxFilters {
			bad = errManyFilters
			return false
		}
		f, err := decodeFilter(m)
		if err != nil {
			bad = err
			return false
		}
		if f.kind != "bpf" && len(f.actions) > 0 {
			out = append(out, f)
		}
		return true
	})
	return out, errors.Join(err, bad)
}

var errFilter = errors.New("a tc filter is cut short")

// decodeFilter takes a message with struct tcmsg in front.
func decodeFilter(m []byte) (tcFilter, error) {
	if len(m) < nl.SizeofTcMsg {
		return tcFilter{}, errFilter
	}
	h := nl.DeserializeTcMsg(m)
	f := tcFilter{handle: h.Handle, priority: uint16(h.Info >> 16)}
	as, err := parseAttrs(m[nl.SizeofTcMsg:])
	if err != nil {
		return f, err
	}
	var options []byte
	for _, a := range as {
		switch {
		case a.typ == tcaKind:
			f.kind = cString(a.value)
		case a.typ == tcaOptions:
			options = a.value
		case a.typ == tcaChain && len(a.value) >= 4:
			f.chain = binary.NativeEndian.Uint32(a.value)
		}
	}
	want, known := actionsOf[f.kind]
	if !known {
		return f, nil
	}
	as, err = parseAttrs(options)
	if err != nil {
		return f, err
	}
	for _, a := range as {
		if a.typ == want {
			f.actions, err = decodeActions(a.value)
		}
	}
	return f, err
}

func decodeActions(b []byte) ([]tcAction, error) {
	list, err := parseAttrs(b)
	if err != nil {
		return nil, err
	}
	out := make([]tcAction, 0, len(list))
	for _, one := range list {
		as, err := parseAttrs(one.value)
		if err != nil {
			return nil, err
		}
		var a tcAction
		var count tcCount
		for _, x := range as {
			switch x.typ {
			case tcaActKind:
				a.kind = cString(x.value)
			case tcaActOptions:
				err = a.options(x.value)
			case tcaActStats:
				count, err = decodeCount(x.value)
			}
			if err != nil {
				return nil, err
			}
		}
		a.lost = a.lostOf(count)
		out = append(out, a)
	}
	return out, nil
}

// options come after the kind (tcf_action_dump_1, net/sched/act_api.c).
func (a *tcAction) options(b []byte) error {
	as, err := parseAttrs(b)
	if err != nil {
		return err
	}
	for _, x := range as {
		if a.kind == "police" {
			a.police(x)
			continue
		}
		u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(x.value[at:]) }
		switch {
		case x.typ == parametersOf[a.kind] && len(x.value) >= 20:
			a.index = u32(0)
			a.drops = a.drops || u32(8) == tcActShot
			if a.kind == "mirred" && len(x.value) >= 28 { // struct tc_mirred
				a.redirects = u32(20) == uint32(netlink.TCA_EGRESS_REDIR) || u32(20) == uint32(netlink.TCA_INGRESS_REDIR)
				a.to = int(u32(24))
			}
		case a.kind == "gact" && x.typ == tcaGactProb && len(x.value) >= 8: // struct tc_gact_p
			a.drops = a.drops || u32(4) == tcActShot
		}
	}
	return nil
}

// police reads struct tc_police, what becomes of what conforms, and the rate.
func (a *tcAction) police(x attribute) {
	const rateAt = 20 + 8 // after index, action, limit, burst and mtu: the last field of struct tc_ratespec
	v := x.value
	switch {
	case x.typ == tcaPoliceTBF && len(v) >= rateAt+4:
		a.index = binary.NativeEndian.Uint32(v)
		a.drops = a.drops || binary.NativeEndian.Uint32(v[4:]) == tcActShot
		a.rateBytes = max(a.rateBytes, uint64(binary.NativeEndian.Uint32(v[rateAt:])))
	case x.typ == tcaPoliceResult && len(v) >= 4:
		a.drops = a.drops || binary.NativeEndian.Uint32(v) == tcActShot
	case x.typ == tcaPoliceRate64 && len(v) >= 8:
		a.rateBytes = max(a.rateBytes, binary.NativeEndian.Uint64(v))
	}
}

// tcCount is what the kernel counts of an action.
type tcCount struct{ packets, drops, overlimits uint32 }

func decodeCount(b []byte) (c tcCount, err error) {
	as, err := parseAttrs(b)
	for _, x := range as {
		switch {
		case x.typ == tcaStatsBasic && len(x.value) >= 12: // struct gnet_stats_basic
			c.packets = binary.NativeEndian.Uint32(x.value[8:])
		case x.typ == tcaStatsQueue && len(x.value) >= 20: // struct gnet_stats_queue
			c.drops, c.overlimits = binary.NativeEndian.Uint32(x.value[8:]), binary.NativeEndian.Uint32(x.value[16:])
		}
	}
	return c, err
}

// lostOf is how many packets an action dropped. gact and police count them as such
// (and police all that exceeds as overlimits, dropped or not). What another action
// could not do it counts as one or the other; what it was set to drop when done, it
// counts as packets only.
func (a *tcAction) lostOf(c tcCount) uint64 {
	switch {
	case a.kind == "gact" || a.kind == "police":
		return uint64(c.drops)
	case a.drops:
		return uint64(c.packets)
	}
	return uint64(c.drops) + uint64(c.overlimits)
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
