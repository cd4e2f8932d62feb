package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kallsyms = `ffffffff81000000 T _stext
ffffffff81000010 D data_is_no_place
ffffffff81000100 t __netif_receive_skb_core.constprop.0
ffffffff81000200 T nf_hook_slow
ffffffffc0000000 t veth_xmit	[veth]
`

func TestSymbols(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kallsyms")
	if err := os.WriteFile(path, []byte(kallsyms), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSymbols(path, "")
	for addr, want := range map[uint64]string{
		0xffffffff81000100: "__netif_receive_skb_core",
		0xffffffff810001ff: "__netif_receive_skb_core",
		0xffffffff81000200: "nf_hook_slow",
		0xffffffff81000050: "_stext",
		0xffffffffc0000123: "veth_xmit",
		0x10:               "0x10",
	} {
		if got := s.name(addr); got != want {
			t.Errorf("%x: got %q, want %q", addr, got, want)
		}
	}
}

// A module that is loaded later has its functions named by the next probe.
func TestSymbolsOfNewModules(t *testing.T) {
	dir := t.TempDir()
	path, modules := filepath.Join(dir, "kallsyms"), filepath.Join(dir, "modules")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, kallsyms)
	write(modules, "veth 1 2 - Live 0xffffffffc0000000\n")
	s := newSymbols(path, modules)
	expect := func(want string) {
		t.Helper()
		s.load()
		if got := s.name(0xffffffffd0000010); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("veth_xmit")
	write(path, kallsyms+"ffffffffd0000000 t nft_do_chain\t[nf_tables]\n")
	write(modules, "veth 1 7 - Live 0xffffffffc0000000\n") // only its count of users
	expect("veth_xmit")
	write(modules, "nf_tables 1 2 - Live 0xffffffffd0000000\nveth 1 2 - Live 0xffffffffc0000000\n")
	expect("nft_do_chain")
}

func TestSymbolsHidden(t *testing.T) {
	if _, err := parseSymbols(strings.NewReader("0000000000000000 T _stext\n")); !errors.Is(err, errHidden) {
		t.Errorf("got %v", err)
	}
	if got := newSymbols(filepath.Join(t.TempDir(), "none"), "").name(0xffffffff81000100); got != "0xffffffff81000100" {
		t.Errorf("got %q", got)
	}
}

func TestPlainName(t *testing.T) {
	for in, want := range map[string]string{
		"ip_rcv_core.isra.0": "ip_rcv_core", "f.part.0.cold": "f", "f.llvm.123": "f", "plain": "plain", ".text": ".text",
	} {
		if got := plainName(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func FuzzSymbols(f *testing.F) {
	f.Add(kallsyms)
	f.Add("x")
	f.Add("0 T ")
	f.Fuzz(func(t *testing.T, s string) {
		table, err := parseSymbols(strings.NewReader(s))
		if err != nil {
			return
		}
		table.lookup(1)
		table.lookup(^uint64(0))
	})
}
