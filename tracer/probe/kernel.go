package probe

import (
	"github.com/cilium/ebpf/btf"
)

// tracepointArgs is the number of parameters of a raw tracepoint, without the
// private pointer that comes first. Counted, because distributions backport.
func tracepointArgs(kernel *btf.Spec, name string) uint8 {
	var def *btf.Typedef
	if err := kernel.TypeByName(name, &def); err != nil {
		return 0
	}
	ptr, ok := def.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return 0
	}
	return uint8(min(len(proto.Params)-1, 255))
}

// kernelReadsDirectly looks for what bpf/include/direct.h needs.
func kernelReadsDirectly(kernel *btf.Spec) bool {
	var cast *btf.Func
	var window *btf.Struct
	return kernel.TypeByName("bpf_rdonly_cast", &cast) == nil &&
		kernel.TypeByName("bpf_raw_tracepoint_args", &window) == nil
}

// kernelHasTCX looks for the type that every attachment point holds
// (include/net/tcx.h, 6.6, CONFIG_NET_XGRESS).
func kernelHasTCX(kernel *btf.Spec) bool {
	var entry *btf.Struct
	return kernel.TypeByName("tcx_entry", &entry) == nil
}
