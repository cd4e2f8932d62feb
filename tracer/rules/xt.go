package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// xtComment is -m comment: it matches everything and says something.
type xtComment string

// native is the byte order of this machine; xtables structures are C structs.
var native = binary.NativeEndian

// decodeMatch understands the xtables matches that iptables-nft hands to the
// kernel as they are (nft_compat). Others are unknown.
func decodeMatch(name string, rev uint32, info []byte) any {
	switch name {
	case "comment":
		return xtComment(strings.TrimRight(cString(info), "\x00"))
	case "tcp":
		if rev == 0 && len(info) >= 12 {
			return tcpMatch(info)
		}
	case "udp":
		if rev == 0 && len(info) >= 9 {
			return udpMatch(info)
		}
	case "mark":
		if rev == 1 && len(info) >= 9 {
			return markMatch(native.Uint32(info), native.Uint32(info[4:]), info[8] != 0)
		}
	case "conntrack":
		if rev >= 1 && rev <= 3 {
			return conntrackMatch(info, rev)
		}
	case "multiport":
		if rev == 1 && len(info) >= 48 {
			return multiportMatch(info)
		}
	case "addrtype":
		if rev == 1 && len(info) >= 8 {
			return addrtypeMatch(info)
		}
	case "state":
		if rev == 0 && len(info) >= 4 {
			return stateMatch(uint16(native.Uint32(info)), false)
		}
	case "connmark":
		if rev == 1 && len(info) >= 9 {
			return connmarkMatch(native.Uint32(info), native.Uint32(info[4:]), info[8] != 0)
		}
	case "set":
		return setInfo(rev, info)
	case "iprange":
		if rev == 1 && len(info) >= 65 {
			return iprangeMatch(info)
		}
	}
	if name == "recent" && len(info) >= recentName {
		return recentMatch(info)
	}
	if byChance(name) {
		return maybe{"-m " + name}
	}
	return unknown{name: "-m " + name}
}

// recentName is where the name stands in struct xt_recent_mtinfo: seconds,
// hit_count, check_set, invert, name[200]. Revision 1 has a mask after it.
const recentName = 10

func recentMatch(b []byte) any {
	x := stays{text: "-m recent"}
	if b[9] == 0 && b[8]&recentChecks != 0 {
		x.within = time.Duration(native.Uint32(b)) * time.Second
	}
	return x
}

// recentChecks are XT_RECENT_CHECK and XT_RECENT_UPDATE, which look for the client.
const recentChecks = 1 | 4

// byChance are matches that other packets, time or chance decide.
func byChance(name string) bool {
	switch name {
	case "statistic", "limit", "hashlimit", "recent", "connlimit", "quota", "time":
		return true
	}
	return false
}

func cString(b []byte) string {
	if i := strings.IndexByte(string(b), 0); i >= 0 {
		return string(b[:i])
	}
	return string(b)
}

func ports(lo, hi uint16) string {
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d:%d", lo, hi)
}

func inRange(v, lo, hi uint16, invert bool) tri { return yesIf((v >= lo && v <= hi) != invert) }

func not(invert bool) string {
	if invert {
		return "! "
	}
	return ""
}

// tcpMatch is struct xt_tcp: spts[2], dpts[2], option, flg_mask, flg_cmp,
// invflags.
func tcpMatch(b []byte) any {
	s0, s1 := native.Uint16(b), native.Uint16(b[2:])
	d0, d1 := native.Uint16(b[4:]), native.Uint16(b[6:])
	option, mask, want, inv := b[8], b[9], b[10], b[11]
	if inv&^7 != 0 { // an option that must be absent
		option = 1
	}
	var text []string
	if s0 != 0 || s1 != 0xffff {
		text = append(text, not(inv&1 != 0)+"tcp sport "+ports(s0, s1))
	}
	if d0 != 0 || d1 != 0xffff {
		text = append(text, not(inv&2 != 0)+"tcp dport "+ports(d0, d1))
	}
	if mask != 0 {
		text = append(text, fmt.Sprintf("%stcp flags & %#x == %#x", not(inv&4 != 0), mask, want))
	}
	return test{strings.Join(text, " "), func(m *machine) tri {
		t := m.pkt.Tuple
		out := and(inRange(t.Src.Port(), s0, s1, inv&1 != 0), inRange(t.Dst.Port(), d0, d1, inv&2 != 0))
		if mask != 0 {
			out = and(out, m.pkt.tcpFlags(mask, want, inv&4 != 0))
		}
		if option != 0 {
			out = and(out, triMaybe)
		}
		return out
	}}
}

// udpMatch is struct xt_udp: spts[2], dpts[2], invflags.
func udpMatch(b []byte) any {
	s0, s1 := native.Uint16(b), native.Uint16(b[2:])
	d0, d1, inv := native.Uint16(b[4:]), native.Uint16(b[6:]), b[8]
	var text []string
	if s0 != 0 || s1 != 0xffff {
		text = append(text, not(inv&1 != 0)+"udp sport "+ports(s0, s1))
	}
	if d0 != 0 || d1 != 0xffff {
		text = append(text, not(inv&2 != 0)+"udp dport "+ports(d0, d1))
	}
	return test{strings.Join(text, " "), func(m *machine) tri {
		t := m.pkt.Tuple
		return and(inRange(t.Src.Port(), s0, s1, inv&1 != 0), inRange(t.Dst.Port(), d0, d1, inv&2 != 0))
	}}
}

func markMatch(value, mask uint32, invert bool) any {
	text := fmt.Sprintf("mark & %#x %s %#x", mask, map[bool]string{false: "==", true: "!="}[invert], value)
	return test{text, func(m *machine) tri {
		if !m.markKnown {
			return triMaybe
		}
		return yesIf((m.mark&mask == value) != invert)
	}}
}

func connmarkMatch(value, mask uint32, invert bool) any {
	text := fmt.Sprintf("ct mark & %#x %s %#x", mask, map[bool]string{false: "==", true: "!="}[invert], value)
	return test{text, func(m *machine) tri {
		if m.pkt.ct == nil || m.ctMarked {
			return triMaybe
		}
		return yesIf((m.pkt.ct.Mark&mask == value) != invert)
	}}
}

// connmarkTarget is struct xt_connmark_tginfo1 (ctmark, ctmask, nfmask, mode),
// and 2, which may also shift.
func connmarkTarget(b []byte, rev uint32) any {
	const restore = 2
	mode, shift := b[12], byte(0)
	switch {
	case rev == 2 && len(b) >= 15: // shift_dir, shift_bits and mode
		shift, mode = b[13], b[14]
	case rev != 1:
		return unknown{"-j CONNMARK", true}
	}
	if mode > restore {
		return unknown{"-j CONNMARK", true}
	}
	return connmark{restore: mode == restore, ctMask: native.Uint32(b[4:]), nfMask: native.Uint32(b[8:]), known: shift == 0}
}

// iprangeMatch is struct xt_iprange_mtinfo: the first and the last source, the
// first and the last destination, 16 bytes each, and flags.
func iprangeMatch(b []byte) any {
	const src, dst, notSrc, notDst = 1, 2, 16, 32
	flags := b[64]
	if flags&^(src|dst|notSrc|notDst) != 0 {
		return unknown{name: "-m iprange"}
	}
	one := func(m *machine, a netip.Addr, lo, hi []byte, flag, invert byte) tri {
		if flags&flag == 0 {
			return triYes
		}
		n := 4
		if m.pkt.v6() {
			n = 16
		}
		v := a.Unmap().AsSlice()
		return yesIf((bytes.Compare(v, lo[:n]) >= 0 && bytes.Compare(v, hi[:n]) <= 0) != (flags&invert != 0))
	}
	return test{"iprange", func(m *machine) tri {
		return and(one(m, m.pkt.Src.Addr(), b, b[16:], src, notSrc), one(m, m.pkt.Dst.Addr(), b[32:], b[48:], dst, notDst))
	}}
}

// stateMatch is struct xt_state_info.
func stateMatch(mask uint16, invert bool) any {
	return test{not(invert) + "ct state " + xtStates(mask), func(m *machine) tri {
		return m.pkt.stateIn(fromXtStates(mask), m.pkt.xtNAT(mask), invert)
	}}
}

// conntrackMatch is struct xt_conntrack_mtinfo1..3. Only states and directions
// are understood; match_flags names what is compared.
func conntrackMatch(b []byte, rev uint32) any {
	// Four addresses and masks of 16 bytes each come first, then
	// expires_min/max, l4proto, four ports, match_flags, invert_flags,
	// state_mask, status_mask. Rev 1 has 8-bit masks.
	const ports = 128 + 8 + 2 + 8
	if len(b) < ports+6 {
		return unknown{name: "-m conntrack"}
	}
	match, invert := native.Uint16(b[ports:]), native.Uint16(b[ports+2:])
	state, status := uint16(b[ports+4]), uint16(b[ports+5])
	if rev > 1 {
		if len(b) < ports+8 {
			return unknown{name: "-m conntrack"}
		}
		state, status = native.Uint16(b[ports+4:]), native.Uint16(b[ports+6:])
	}
	const flagState, flagStatus, flagDirection = 1, 1 << 6, 1 << 12
	if match&^(flagState|flagStatus|flagDirection) != 0 || match == 0 {
		return unknown{name: "-m conntrack"}
	}
	var text []string
	if match&flagState != 0 {
		text = append(text, not(invert&flagState != 0)+"ct state "+xtStates(state))
	}
	if match&flagStatus != 0 {
		text = append(text, fmt.Sprintf("%sct status %#x", not(invert&flagStatus != 0), status))
	}
	if match&flagDirection != 0 {
		text = append(text, "ct direction")
	}
	return test{strings.Join(text, " "), func(m *machine) tri {
		out := triYes
		if match&flagState != 0 {
			out = and(out, m.pkt.stateIn(fromXtStates(state), m.pkt.xtNAT(state), invert&flagState != 0))
		}
		if match&flagStatus != 0 {
			st, ok := m.pkt.status()
			if !ok {
				out = and(out, triMaybe)
			} else {
				out = and(out, yesIf((st&uint32(status) != 0) != (invert&flagStatus != 0)))
			}
		}
		if match&flagDirection != 0 {
			out = and(out, triMaybe)
		}
		return out
	}}
}

// xt_conntrack.h: XT_CONNTRACK_STATE_BIT(ctinfo) is 1 << (ctinfo%3 + 1).
const (
	xtInvalid     = 1
	xtEstablished = 2
	xtRelated     = 4
	xtNew         = 8
	xtSNAT        = 1 << 6
	xtDNAT        = 1 << 7
	xtUntracked   = 1 << 8
)

// fromXtStates maps to the bits of nft, which happen to be the same but for
// untracked.
func fromXtStates(s uint16) uint32 {
	out := uint32(s & (xtInvalid | xtEstablished | xtRelated | xtNew))
	if s&xtUntracked != 0 {
		out |= stUntracked
	}
	return out
}

func xtStates(s uint16) string {
	var out []string
	for _, x := range []struct {
		bit  uint16
		name string
	}{{xtInvalid, "invalid"}, {xtEstablished, "established"}, {xtRelated, "related"}, {xtNew, "new"}, {xtUntracked, "untracked"}, {xtSNAT, "snat"}, {xtDNAT, "dnat"}} {
		if s&x.bit != 0 {
			out = append(out, x.name)
		}
	}
	return strings.Join(out, ",")
}

// multiportMatch is struct xt_multiport_v1: flags, count, ports[15],
// pflags[15], invert.
func multiportMatch(b []byte) any {
	flags, count := b[0], int(b[1])
	if count > 15 {
		return unknown{name: "-m multiport"}
	}
	invert := b[2+30+15] != 0
	var list []uint16
	var names []string
	for i := range count {
		list = append(list, native.Uint16(b[2+2*i:]))
	}
	ranges := b[2+30:]
	var pairs [][2]uint16
	for i := 0; i < count; i++ {
		p := [2]uint16{list[i], list[i]}
		if ranges[i] != 0 && i+1 < count {
			i++
			p[1] = list[i]
		}
		pairs = append(pairs, p)
		names = append(names, ports(p[0], p[1]))
	}
	where := map[byte]string{0: "sport", 1: "dport", 2: "port"}[flags]
	return test{not(invert) + where + " { " + strings.Join(names, ", ") + " }", func(m *machine) tri {
		hit := false
		for _, p := range pairs {
			in := func(v uint16) bool { return v >= p[0] && v <= p[1] }
			s, d := in(m.pkt.Tuple.Src.Port()), in(m.pkt.Tuple.Dst.Port())
			hit = hit || flags == 0 && s || flags == 1 && d || flags == 2 && (s || d)
		}
		return yesIf(hit != invert)
	}}
}

// addrtypeMatch is struct xt_addrtype_info_v1: source, dest, flags.
func addrtypeMatch(b []byte) any {
	src, dst, flags := native.Uint16(b), native.Uint16(b[2:]), native.Uint32(b[4:])
	if flags&^3 != 0 { // limited to one device
		return unknown{name: "-m addrtype"}
	}
	var text []string
	if src != 0 {
		text = append(text, fmt.Sprintf("%ssaddr type %#x", not(flags&1 != 0), src))
	}
	if dst != 0 {
		text = append(text, fmt.Sprintf("%sdaddr type %#x", not(flags&2 != 0), dst))
	}
	one := func(m *machine, a netip.Addr, mask uint16, invert bool) tri {
		if mask == 0 {
			return triYes
		}
		t, ok := m.env.addrType(a)
		if !ok {
			return triMaybe
		}
		return yesIf((mask&(1<<t) != 0) != invert)
	}
	return test{strings.Join(text, " "), func(m *machine) tri {
		return and(one(m, m.pkt.Tuple.Src.Addr(), src, flags&1 != 0), one(m, m.pkt.Tuple.Dst.Addr(), dst, flags&2 != 0))
	}}
}

// decodeTarget understands xtables targets.
func decodeTarget(name string, rev uint32, info []byte) any {
	switch name {
	case "REJECT":
		x := reject{text: "reject"}
		if len(info) >= 4 {
			x.code = byte(native.Uint32(info))
			x.text = "reject with " + rejectWith(native.Uint32(info))
		}
		return x
	case "DNAT":
		return natTarget(true, rev, info)
	case "SNAT":
		return natTarget(false, rev, info)
	case "MASQUERADE":
		return masq{}
	case "REDIRECT":
		return redir{protoMin: -1}
	case "NFQUEUE":
		x := queue{}
		if len(info) >= 2 {
			x.num = native.Uint16(info)
		}
		return x
	case "DROP":
		return verdict{kind: vDrop}
	case "ACCEPT":
		return verdict{kind: vAccept}
	case "MARK":
		if rev == 2 && len(info) >= 8 {
			return setMark{value: native.Uint32(info), mask: native.Uint32(info[4:])}
		}
		return unknown{"-j MARK", true}
	case "CONNMARK":
		if len(info) >= 13 {
			return connmarkTarget(info, rev)
		}
		return unknown{"-j CONNMARK", true}
	case "CT": // struct xt_ct_target_info begins with its flags and the zone
		x := untrack{text: "-j " + name}
		if len(info) >= 4 {
			flags := native.Uint16(info)
			x.whole, x.zone = flags&xtCTNotrack != 0, xtZone(flags, native.Uint16(info[2:]))
		}
		return x
	case "NOTRACK":
		return untrack{text: "-j " + name, whole: true}
	case "LOG", "NFLOG", "TRACE", "CHECKSUM", "TCPMSS", "CONNSECMARK", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "TEE", "SET", "SECMARK", "RATEEST", "AUDIT":
		return effect{"-j " + name}
	}
	return unknown{"-j " + name, true}
}

// rejectWith is enum ipt_reject_with; IPv6 numbers differ, and are not told
// apart here.
func rejectWith(v uint32) string {
	names := []string{"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable",
		"icmp-echo-reply", "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprint(v)
}

// natTarget is struct nf_nat_ipv4_multi_range_compat (rev 0), nf_nat_range
// (rev 1) or nf_nat_range2 (rev 2).
func natTarget(dnat bool, rev uint32, b []byte) any {
	const mapsAddr = 1
	x := nat{dnat: dnat, addrMin: -1, addrMax: -1, protoMin: -1, protoMax: -1}
	var flags uint32
	var addr, last []byte
	switch {
	case rev == 0 && len(b) >= 20 && native.Uint32(b) == 1:
		flags, addr, last = native.Uint32(b[4:]), b[8:12], b[12:16]
		x.port = binary.BigEndian.Uint16(b[16:])
	case (rev == 1 || rev == 2) && len(b) >= 40:
		flags, addr, last = native.Uint32(b), b[4:20], b[20:36]
		x.port = binary.BigEndian.Uint16(b[36:])
	default:
		return unknown{"-j NAT", true}
	}
	if flags&mapsAddr != 0 && bytes.Equal(addr, last) {
		x.addr = addr // one of several is not known
	}
	return x
}
