package rules

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// The stacks are of Linux 6.18, nearest first.
func TestBridgeHook(t *testing.T) {
	for _, tc := range []struct {
		name  string
		stack []string
		want  uint32
	}{
		{"taken in", []string{"nf_hook_slow", "br_handle_frame", "__netif_receive_skb_core"}, hookPrerouting},
		{"passed on", []string{"nf_hook_slow", "__br_forward", "br_handle_frame_finish", "br_handle_frame"}, hookForward},
		{"passed on, inlined", []string{"nf_hook_slow", "br_forward", "br_handle_frame_finish", "br_handle_frame"}, hookForward},
		{"about to leave", []string{"nf_hook_slow", "br_forward_finish", "__br_forward", "br_handle_frame_finish", "br_handle_frame"}, hookPostrouting},
		{"for the node", []string{"nf_hook_slow", "br_pass_frame_up", "br_handle_frame_finish", "br_handle_frame"}, hookInput},
		{"from the node", []string{"nf_hook_slow", "__br_forward", "br_dev_xmit", "dev_hard_start_xmit"}, hookOutput},
		{"nobody known", nil, hookForward},
	} {
		if got := bridgeHook(tc.stack); got != tc.want {
			t.Errorf("%s: hook %s, want %s", tc.name, hookNames[got], hookNames[tc.want])
		}
	}
}

// deviceChain is a base chain at a device, as the kernel sends it.
func deviceChain(f family, hook uint32, dev string) *chain {
	h := nest(attr(unix.NFTA_HOOK_HOOKNUM, be32(hook)), attr(unix.NFTA_HOOK_PRIORITY, be32(0)), attr(nftaHookDev, append([]byte(dev), 0)))
	a, err := parseAttrs(nest(attr(unix.NFTA_CHAIN_NAME, []byte("at-"+dev+"\x00")), attr(unix.NFTA_CHAIN_HOOK, h), attr(unix.NFTA_CHAIN_TYPE, []byte("filter\x00"))))
	if err != nil {
		panic(err)
	}
	c := decodeChain(f, &a)
	c.rules = []*rule{{chain: c, raw: dropIt.bytes(), index: 1}}
	return c
}

// A rule at a device drops what passes that device, in that direction, and
// nothing else does.
func TestDeviceRules(t *testing.T) {
	tb := newTable(tableKey{famNetdev, "guard"})
	for _, c := range []*chain{deviceChain(famNetdev, 0, "veth1"), deviceChain(famNetdev, 0, "veth2"), deviceChain(famNetdev, 1, "veth1x")} {
		tb.addChain(c)
	}
	both := newTable(tableKey{famINet, "both"})
	both.addChain(deviceChain(famINet, hookIngress, "veth3"))
	rs := &ruleset{tables: []*table{tb, both}}
	for _, tc := range []struct {
		name string
		site tracer.Stage
		dev  string
		want string
	}{
		{"entered by veth1", tracer.StageIngress, "veth1", "netdev guard at-veth1 ingress"},
		{"entered by veth2", tracer.StageIngress, "veth2", "netdev guard at-veth2 ingress"},
		{"entered by another", tracer.StageIngress, "eth0", ""},
		{"left by veth1", tracer.StageEgress, "veth1", ""},
		{"left by veth1x", tracer.StageEgress, "veth1x", "netdev guard at-veth1x egress"},
		{"a chain of both families", tracer.StageIngress, "veth3", "inet both at-veth3 ingress"},
		{"in a hook of IP", tracer.StagePrerouting, "veth1", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := samplePackets()[0]
			hook, f, ok := hookOf(tracer.DropSite{Tuple: p.Tuple, Drop: tracer.Drop{Stage: tc.site}})
			if !ok {
				t.Fatal("no hook")
			}
			p.iif, p.oif = device{index: 7, name: tc.dev}, device{none: true}
			if tc.site == tracer.StageEgress {
				p.iif, p.oif = device{none: true}, p.iif
			}
			got := ""
			for _, h := range dropHits(rs, p, fakeEnv{}, f, hook, "nftables") {
				r := h.fact("computed")
				got += r.Family + " " + r.Table + " " + r.Chain + " " + r.Hook
			}
			if got != tc.want {
				t.Errorf("dropped by %q, want %q", got, tc.want)
			}
		})
	}
}
