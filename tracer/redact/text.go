package redact

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Redactor replaces what one recording must not tell. It belongs to one
// goroutine.
type Redactor struct {
	addrs *addresses
	names *names
	macs  map[string]string
}

// New draws a mapping.
func New() (*Redactor, error) {
	a, err := newAddresses()
	if err != nil {
		return nil, err
	}
	return &Redactor{addrs: a, names: newNames(), macs: map[string]string{}}, nil
}

var (
	// chunkPattern is what blanks, quotes and brackets leave together.
	chunkPattern = regexp.MustCompile("[^\\s\"'`(){}<>|,;=!&]+")
	// bracketed is how IPv6 stands before a port.
	bracketed   = regexp.MustCompile(`^\[([^\[\]]+)\](:[0-9]{1,5})?$`)
	zonePattern = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,15}$`)
	macPattern  = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$`)
	// numberPattern is a number, or a range or mask of two.
	numberPattern = regexp.MustCompile(`^(0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10})$`)
	rangePattern  = regexp.MustCompile(`^[0-9]{1,5}[-:][0-9]{1,5}$`)
	// quantity is a number of Kubernetes (apimachinery resource.Quantity).
	quantity     = regexp.MustCompile(`^[0-9]{1,10}[kMGTPE]?$`)
	durationLike = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)
)

// text is a sentence, a rule, a path: addresses and names anywhere in it are
// replaced, podpath's own words, numbers and signs stay.
func (r *Redactor) text(s string) string {
	if out, ok := r.address(s); ok {
		return out
	}
	if _, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return s
	}
	return chunkPattern.ReplaceAllStringFunc(s, reading{r, r.names.own, true}.chunk)
}

// sentence is what somebody else wrote, and where any word and any number can be a
// name: only addresses are told from words in it. Its words are not taken for names
// elsewhere, for most are none.
func (r *Redactor) sentence(s string) string {
	if out, ok := r.address(s); ok {
		return out
	}
	return chunkPattern.ReplaceAllStringFunc(s, reading{r: r}.chunk)
}

// reading is a way to read a text: which words stay, besides those that everybody
// has, and whether numbers do.
type reading struct {
	r       *Redactor
	kept    map[string]bool
	numbers bool
}

// chunk is a run of text without blanks. What closes a sentence is no part of it.
func (t reading) chunk(s string) string {
	r := t.r
	body := strings.TrimRight(s, ".:?")
	if out, ok := r.address(s); ok { // "fd00::" ends in colons
		return out
	}
	if out, ok := r.address(body); ok {
		return out + s[len(body):]
	}
	if t.numbers && (numberPattern.MatchString(body) || rangePattern.MatchString(body) || durationLike.MatchString(body)) {
		return s
	}
	// A range of addresses; a path, a name with its namespace, an address with a
	// mask; one with a port or a word in front.
	for _, sep := range []string{"-", "/", ":"} {
		parts := strings.Split(s, sep)
		if len(parts) == 1 || sep == "-" && !hasAddress(parts) {
			continue
		}
		if out, ok := t.beside(s); sep == ":" && ok {
			return out
		}
		for i, p := range parts {
			parts[i] = t.part(p)
		}
		return strings.Join(parts, sep)
	}
	return t.part(s)
}

// maxColons bounds the search in what is no address at all.
const maxColons = 32

// beside finds an IPv6 address that a colon joins with something else.
func (t reading) beside(s string) (string, bool) {
	if strings.Count(s, ":") > maxColons {
		return "", false
	}
	for i := range len(s) {
		if s[i] != ':' {
			continue
		}
		if out, ok := t.r.address(s[i+1:]); ok {
			return t.part(s[:i]) + ":" + out, true
		}
	}
	for i := len(s) - 1; i > 0; i-- {
		if s[i] != ':' {
			continue
		}
		if out, ok := t.r.address(s[:i]); ok {
			return out + ":" + t.part(s[i+1:]), true
		}
	}
	return "", false
}

// part is a piece of a chunk; alone it may be a number, among words it may not,
// because numbers joined with dashes or dots can be an address.
func (t reading) part(s string) string {
	if out, ok := t.r.address(s); ok {
		return out
	}
	if s == "" || t.numbers && (numberPattern.MatchString(s) || rangePattern.MatchString(s)) {
		return s
	}
	if strings.ContainsAny(s, ":/") || strings.Contains(s, "-") && hasAddress(strings.Split(s, "-")) {
		return t.chunk(s)
	}
	return wordPattern.ReplaceAllStringFunc(s, func(w string) string { return t.r.names.word(w, t.kept) })
}

func hasAddress(parts []string) bool {
	for _, p := range parts {
		if _, err := netip.ParseAddr(p); err == nil {
			return true
		}
	}
	return false
}

// address replaces s if the whole of it is an address, with or without a port, a
// range, or a hardware address.
func (r *Redactor) address(s string) (string, bool) {
	if macPattern.MatchString(s) {
		return r.mac(s), true
	}
	if m := bracketed.FindStringSubmatch(s); m != nil {
		out, ok := r.address(m[1])
		return "[" + out + "]" + m[2], ok
	}
	if a, err := netip.ParseAddr(s); err == nil && (a.Zone() == "" || zonePattern.MatchString(a.Zone())) {
		return r.addr(a).String(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(r.addr(ap.Addr()), ap.Port()).String(), true
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return r.addrs.network(p).String(), true
	}
	return "", false
}

func (r *Redactor) addr(a netip.Addr) netip.Addr {
	out := r.addrs.addr(a)
	if z := a.Zone(); z != "" {
		return out.WithZone(r.names.name(z))
	}
	return out
}

// mac numbers hardware addresses: bridges, veth pairs and cards hold addresses,
// serial numbers and vendors in them. Those of nobody and of everybody stay.
func (r *Redactor) mac(s string) string {
	low := strings.ToLower(s)
	if low == "00:00:00:00:00:00" || low == "ff:ff:ff:ff:ff:ff" {
		return s
	}
	out, ok := r.macs[low]
	if !ok {
		n := len(r.macs) + 1
		out = fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		r.macs[low] = out
	}
	return out
}

// name is a name of the cluster, or an address in the place of one.
func (r *Redactor) name(s string) string {
	if out, ok := r.address(s); ok {
		return out
	}
	return r.names.name(s)
}

// endpoint is one end of a trace as the person wrote it: the port stays, and of an
// address its kind.
func (r *Redactor) endpoint(s string) string {
	if out, ok := r.address(s); ok {
		return out
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return r.name(s)
	}
	if _, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil {
		return r.name(s)
	}
	return r.name(s[:i]) + s[i:]
}

// held is the address of a device, with the length of its network.
func (r *Redactor) held(s string) string {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return r.text(s)
	}
	return netip.PrefixFrom(r.addr(p.Addr()), p.Bits()).String()
}

// id is the pseudonym of what identifies without meaning, as a kernel's pointers:
// a number of 48 bits. It remembers nothing, because there can be very many.
func (r *Redactor) id(s string) uint64 {
	return r.addrs.number(sha256.Sum256([]byte(s)))
}
