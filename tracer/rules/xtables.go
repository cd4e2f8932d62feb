package rules

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What ip_tables and ip6_tables answer to getsockopt, from
// linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h: enough to
// tell that a table did not change, and to read its counters. What a rule means,
// iptables-save says.
const (
	xtGetInfo    = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	xtGetEntries = 65
	xtNameLen    = 32
	xtHooks      = 5
	xtInfoLen    = xtNameLen + 4 + 2*4*xtHooks + 4 + 4
	// xtEntriesHead is struct ipt_get_entries without the entries.
	xtEntriesHead = 40
	// xtTargetHead is struct xt_entry_target: its size, name and revision.
	xtTargetHead = 32
)

// xtLayout is where struct ipt_entry or ip6t_entry has what is asked for.
type xtLayout struct {
	socket, level                 int
	target, next, counters, entry int
}

var xtLayouts = map[family]xtLayout{
	famIP:  {unix.AF_INET, unix.SOL_IP, 88, 90, 96, 112},
	famIP6: {unix.AF_INET6, unix.SOL_IPV6, 140, 142, 152, 168},
}

// xtable is one table at a moment.
type xtable struct {
	// sum differs if anything but counters does. It compares with those of the same
	// seed.
	sum    uint64
	info   xtInfo
	chains []xchain
}

// xtInfo is struct ipt_getinfo: how many entries there are, how long they are, and
// where the chains of hooks begin and end.
type xtInfo [xtInfoLen]byte

// xchain has the packets that each rule of a chain counted.
type xchain struct {
	name    string
	packets []uint64
}

var errEntries = errors.New("the entries of ip_tables have an unknown shape")

// readXtable reads a table of the calling thread's namespace. It must exist: the
// kernel makes one that is asked for.
func readXtable(f family, name string, seed maphash.Seed) (x *xtable, err error) {
	l := xtLayouts[f]
	err = l.asking(name, func(fd int) error {
		for range readTries {
			if x, err = l.read(fd, name, seed); !errors.Is(err, unix.EAGAIN) {
				return err
			}
		}
		return errChanging
	})
	return x, err
}

// readXtinfo reads what a table looks like from outside.
func readXtinfo(f family, name string) (info xtInfo, err error) {
	l := xtLayouts[f]
	err = l.asking(name, func(fd int) error {
		info, err = l.readInfo(fd, name)
		return err
	})
	return info, err
}

func (l xtLayout) asking(name string, ask func(fd int) error) error {
	fd, err := unix.Socket(l.socket, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to ask for table %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	return ask(fd)
}

func (l xtLayout) readInfo(fd int, name string) (info xtInfo, err error) {
	copy(info[:xtNameLen-1], name)
	if err := getsockopt(fd, l.level, xtGetInfo, info[:]); err != nil {
		return info, fmt.Errorf("ask for table %s: %w", name, err)
	}
	return info, nil
}

// read fails with EAGAIN where the table is being replaced.
func (l xtLayout) read(fd int, name string, seed maphash.Seed) (*xtable, error) {
	info, err := l.readInfo(fd, name)
	if err != nil {
		return nil, err
	}
	size := int(native.Uint32(info[xtInfoLen-4:]))
	// Outside of Go's memory: it is big, and not needed any more in a moment.
	b, err := unix.Mmap(-1, 0, xtEntriesHead+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("make room for table %s: %w", name, err)
	}
	defer func() { _ = unix.Munmap(b) }()
	copy(b[:xtNameLen-1], name)
	native.PutUint32(b[xtNameLen:], uint32(size))
	if err := getsockopt(fd, l.level, xtGetEntries, b); err != nil {
		return nil, fmt.Errorf("read table %s: %w", name, err)
	}
	x, err := l.decode(info[:], b[xtEntriesHead:])
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", name, err)
	}
	x.info = info
	x.sum = maphash.Bytes(seed, b[xtEntriesHead:]) ^ maphash.Bytes(seed, info[:])
	return x, nil
}

func getsockopt(fd, level, opt int, b []byte) error {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(opt), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return errno
	}
	if int(n) != len(b) {
		return errEntries
	}
	return nil
}

// decode takes the counters out of entries and leaves zeros in their place. The
// chains of hooks begin and end where info says; each of the others begins with an
// entry that holds its name and ends with one that returns.
func (l xtLayout) decode(info, b []byte) (*xtable, error) {
	begins, ends := map[int]uint32{}, map[int]bool{}
	hooks := native.Uint32(info[xtNameLen:])
	for h := range uint32(xtHooks) {
		if hooks&(1<<h) != 0 {
			at := info[xtNameLen+4+4*h:]
			begins[int(native.Uint32(at))] = h
			ends[int(native.Uint32(at[4*xtHooks:]))] = true
		}
	}
	out := &xtable{}
	packets := make([]uint64, 0, min(int(native.Uint32(info[xtInfoLen-8:])), len(b)/l.entry))
	name, from, user := "", 0, false
	end := func() {
		to := len(packets)
		if user && to > from {
			to-- // the return at its end
		}
		if name != "" {
			out.chains = append(out.chains, xchain{name, packets[from:to:to]})
		}
		name = ""
	}
	for at := 0; at < len(b); {
		next, count, target, ok := l.oneEntry(b[at:])
		if !ok {
			return nil, errEntries
		}
		if h, ok := begins[at]; ok {
			end()
			name, from, user = strings.ToUpper(hookNames[h]), len(packets), false
		}
		switch {
		case string(bytes.TrimRight(target[2:xtTargetHead-1], "\x00")) == "ERROR":
			end()
			name, from, user = cString(target[xtTargetHead:]), len(packets), true
		case ends[at]: // the policy
			end()
		case name == "":
			return nil, errEntries
		default:
			packets = append(packets, count)
		}
		at += next
	}
	return out, nil
}

// oneEntry reads the first of entries.
func (l xtLayout) oneEntry(b []byte) (next int, count uint64, target []byte, ok bool) {
	if len(b) < l.entry {
		return 0, 0, nil, false
	}
	from := int(native.Uint16(b[l.target:]))
	next = int(native.Uint16(b[l.next:]))
	if from < l.entry || next < from+xtTargetHead || next > len(b) {
		return 0, 0, nil, false
	}
	count = native.Uint64(b[l.counters:])
	clear(b[l.counters : l.counters+16])
	return next, count, b[from:next], true
}
