package probe

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

const reasonPrefix = "SKB_DROP_REASON_"

// reasons names the values of the running kernel's enum skb_drop_reason; they
// move between versions. Nil before kernel 5.17.
type reasons map[uint32]string

func kernelReasons(kernel *btf.Spec) reasons {
	var enum *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil
	}
	names := make(reasons, len(enum.Values))
	for _, v := range enum.Values {
		names[uint32(v.Value)] = strings.TrimPrefix(v.Name, reasonPrefix)
	}
	return names
}

// name is "" on a kernel without reasons. The upper half of a reason is the
// subsystem that defines it (include/net/dropreason.h); 0 is the core.
func (r reasons) name(reason uint32) string {
	if r == nil {
		return ""
	}
	if name, ok := r[reason]; ok {
		return name
	}
	if sub := reason >> 16; sub != 0 {
		return fmt.Sprintf("SUBSYS_%d:%d", sub, reason&0xffff)
	}
	return fmt.Sprintf("REASON_%d", reason)
}

// sharedHook reports whether nf_tables' drops may look like everybody's. They
// have a place of their own since 6.7, which brought no name to tell it by;
// this one came with 6.8. Where that was backported alone, less is claimed.
func (r reasons) sharedHook() bool {
	for _, name := range r {
		if name == "TC_COOKIE_ERROR" {
			return false
		}
	}
	return true
}
