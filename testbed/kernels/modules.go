package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wantedModules are what the lab and the tests use. One that a kernel does not
// have is built in, part of another, or newer.
var wantedModules = strings.Fields(`
	veth macvlan ipvlan bridge br_netfilter vxlan geneve ipip wireguard dummy tun
	nf_conntrack nf_conntrack_netlink nf_nat nf_tables nfnetlink_queue nfnetlink_log nfnetlink_hook
	nft_chain_nat nft_nat nft_masq nft_redir nft_ct nft_counter nft_limit nft_log nft_numgen nft_hash nft_queue nft_objref
	nft_reject nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_reject_bridge nft_reject_netdev nft_meta_bridge
	nft_fib nft_fib_ipv4 nft_fib_ipv6 nft_fib_inet nft_compat nf_log_syslog nf_log_ipv4 nf_log_ipv6
	x_tables ip_tables ip6_tables iptable_filter iptable_nat iptable_mangle iptable_raw ip6table_filter ip6table_nat
	xt_conntrack xt_MASQUERADE xt_nat xt_REDIRECT xt_LOG xt_TRACE xt_comment xt_mark xt_statistic xt_tcpudp xt_multiport
	xt_addrtype xt_set xt_NFQUEUE xt_limit xt_hashlimit xt_recent ipt_REJECT ip6t_REJECT
	ip_set ip_set_hash_ip ip_set_hash_net ip_set_hash_ipport ip_set_hash_ipportip
	ip_set_hash_ipportnet ip_set_hash_netport ip_set_hash_netiface ip_set_bitmap_ip ip_set_bitmap_port ip_set_list_set ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh
	sch_ingress sch_htb sch_tbf sch_netem sch_fq_codel cls_bpf act_bpf cls_u32 cls_flower cls_matchall act_mirred act_gact act_police
	inet_diag tcp_diag udp_diag sctp xfrm_user
`)

// module is one of a kernel's loadable modules, unpacked.
type module struct {
	file  string // inside the machine
	image []byte
	needs []string
}

// moduleTree finds modules below a kernel package.
type moduleTree struct {
	files map[string]string // by name
	taken map[string]bool
	order []module
}

// readTree looks for the modules of an unpacked kernel.
func readTree(root string) (*moduleTree, error) {
	t := &moduleTree{files: map[string]string{}, taken: map[string]bool{}}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(p), ".ko"); ok {
			t.files[plain(name)] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find modules: %w", err)
	}
	return t, nil
}

// has is about loadable modules only.
func (t *moduleTree) has(name string) bool { return t.files[plain(name)] != "" }

// loadOrder reads the wanted modules and what they depend on; dependencies
// first.
func (t *moduleTree) loadOrder(ctx context.Context) ([]module, error) {
	for _, name := range wantedModules {
		if err := t.take(ctx, plain(name)); err != nil {
			return nil, err
		}
	}
	return t.order, nil
}

// plain: files may be called with a dash what is meant with an underscore.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

func (t *moduleTree) take(ctx context.Context, name string) error {
	file, ok := t.files[name]
	if !ok || t.taken[name] {
		return nil
	}
	t.taken[name] = true
	image, err := decompress(ctx, file)
	if err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	m := module{file: "/modules/" + name + ".ko", image: image}
	if m.needs, err = dependencies(image); err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	for _, other := range m.needs {
		if err := t.take(ctx, plain(other)); err != nil {
			return err
		}
	}
	t.order = append(t.order, m)
	return nil
}

func decompress(ctx context.Context, file string) ([]byte, error) {
	if filepath.Ext(file) == ".ko" {
		return os.ReadFile(file)
	}
	tool := strings.TrimPrefix(filepath.Ext(file), ".")
	if tool == "zst" {
		tool = "zstd"
	}
	return exec.CommandContext(ctx, tool, "-dc", file).Output()
}

// dependencies are in a module's section .modinfo: strings "key=value".
func dependencies(image []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := strings.CutPrefix(string(entry), "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
