package redact

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// addresses is a random, prefix-preserving permutation of the addresses of a
// family: two addresses share exactly as many leading bits afterwards as they did
// before (Xu, Fan, Ammar, Moon: Prefix-Preserving IP Address Anonymization, ICNP
// 2002). Subnets, pod ranges and the scope of policies stay what they are.
//
// Ranges that mean something stay themselves: at a bit that leads to one nothing
// is exchanged. The price is that a public IPv4 address keeps up to seven of its
// leading bits.
type addresses struct {
	prf   cipher.Block
	known map[netip.Addr]netip.Addr
}

// maxKnown bounds the memory for answers; they can be computed again.
const maxKnown = 1 << 16

func newAddresses() (*addresses, error) {
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	prf, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return &addresses{prf: prf, known: map[netip.Addr]netip.Addr{}}, nil
}

// place is a range that addresses do not leave, and that nothing enters.
type place struct {
	netip.Prefix
	// same: its addresses are everybody's, and stay what they are.
	same bool
}

// places are those that podpath's rules, or a reader, tell apart (IANA special
// purpose registries).
var places = func() (out []place) {
	for _, s := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
		"fe80::/64", "fc00::/8", "fd00::/8", "2000::/3", "ff02::1:ff00:0/104",
	} {
		out = append(out, place{netip.MustParsePrefix(s), false})
	}
	for _, s := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"::/127", "ff01::/112", "ff02::/112", "ff05::/112",
	} {
		out = append(out, place{netip.MustParsePrefix(s), true})
	}
	return out
}()

// embedded are IPv6 ranges whose last 32 bits are an IPv4 address.
var embedded = []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("64:ff9b::/96")}

// addr is the pseudonym of an address; a zone is the caller's to replace.
func (a *addresses) addr(ip netip.Addr) netip.Addr {
	if !ip.IsValid() {
		return ip
	}
	ip = ip.WithZone("")
	if out, ok := a.known[ip]; ok {
		return out
	}
	out := a.compute(ip)
	if len(a.known) >= maxKnown {
		clear(a.known)
	}
	a.known[ip] = out
	return out
}

func (a *addresses) compute(ip netip.Addr) netip.Addr {
	for _, e := range embedded {
		if e.Contains(ip) || ip.Is4In6() {
			b := ip.As16()
			low := a.addr(netip.AddrFrom4([4]byte(b[12:]))).As4()
			copy(b[12:], low[:])
			return netip.AddrFrom16(b)
		}
	}
	in := ip.AsSlice()
	out := make([]byte, len(in))
	copy(out, in)
	for i := range ip.BitLen() {
		if a.exchanged(ip, in, i) {
			out[i/8] ^= 0x80 >> (i % 8)
		}
	}
	res, _ := netip.AddrFromSlice(out)
	return res
}

// exchanged: the halves of the range that the first i bits of ip make are.
func (a *addresses) exchanged(ip netip.Addr, raw []byte, i int) bool {
	here, err := ip.Prefix(i)
	if err != nil {
		return false
	}
	for _, p := range places {
		if p.Addr().BitLen() != ip.BitLen() {
			continue
		}
		if p.Bits() > i && here.Contains(p.Addr()) || p.same && p.Contains(ip) {
			return false
		}
	}
	for _, p := range embedded {
		if ip.Is6() && p.Bits() > i && here.Contains(p.Addr()) {
			return false
		}
	}
	var block [aes.BlockSize]byte
	copy(block[:], raw)
	for j := i; j < len(block)*8; j++ { // the first i bits and nothing else
		block[j/8] &^= 0x80 >> (j % 8)
	}
	return a.bit(block, byte(i), ip.Is4())
}

// bit is the pseudorandom function: of a prefix, its length and the family.
func (a *addresses) bit(block [aes.BlockSize]byte, length byte, four bool) bool {
	if four {
		block[15] = 1
	}
	a.prf.Encrypt(block[:], block[:])
	block[0] ^= length
	a.prf.Encrypt(block[:], block[:])
	return block[0]&1 == 1
}

// number is the pseudorandom function of a hash, as 48 bits.
func (a *addresses) number(hash [32]byte) uint64 {
	var block [aes.BlockSize]byte
	a.prf.Encrypt(block[:], hash[:aes.BlockSize])
	return binary.BigEndian.Uint64(block[:]) >> 16
}

// network is the pseudonym of a range: of an address with the length of its
// network it is the address that counts.
func (a *addresses) network(p netip.Prefix) netip.Prefix {
	out := netip.PrefixFrom(a.addr(p.Addr()), p.Bits())
	if p.Masked() == p {
		return out.Masked()
	}
	return out
}
