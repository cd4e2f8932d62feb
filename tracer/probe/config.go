package probe

import "log/slog"

// Tier is which kernel hooks see the packets at devices.
type Tier string

const (
	// TierAuto takes TCX where the kernel has it and the devices are few, else
	// tracepoints.
	TierAuto Tier = ""
	// TierTCX attaches to each device (kernel 6.6 and later); devices that
	// nobody asked for cost nothing.
	TierTCX Tier = "tcx"
	// TierTracepoint sees every device of the node (5.10 and later).
	TierTracepoint Tier = "tracepoint"
)

// Config says what to load. The zero value works.
type Config struct {
	// Logger receives what happens to attachments; nil discards it.
	Logger *slog.Logger
	// Symbols are the kernel's; nil reads them for this probe alone.
	Symbols *Symbols
	Tier    Tier
	// MaxTCXDevices is how many devices TierAuto attaches to at the start before
	// it takes tracepoints instead; 0 means 20. Every attachment and every
	// detachment waits for an RCU grace period under the RTNL lock, some 10 ms
	// (kernel/bpf/tcx.c, 6.6 to 6.18), and a device has two.
	MaxTCXDevices int
	// Wide watches every device in every namespace of the node, by tracepoint.
	Wide bool
	// DropsOnly loads nothing but the drop hook.
	DropsOnly bool
	// DropsAll counts every drop in the node's namespaces. Otherwise only those
	// of selected flows are looked at.
	DropsAll bool
	// FirstEvents is how many packets of a flow are events at each device and
	// hook before only their number counts; 0 means 8.
	FirstEvents uint32
	// DropEvents limits events a second for one dropped flow; 0 means 100.
	DropEvents uint32
	// ARPEvents limits events a second for one pair of addresses; 0 means 4.
	ARPEvents uint32
	// SampleEvents limits, a second and CPU, the example events of drops whose
	// flow is not selected; 0 means 200.
	SampleEvents uint32
	// MaxEvents limits events a second of all flows together, of which the last
	// quarter is for drops, resets, ICMP errors and retransmissions; 0 is no limit.
	MaxEvents uint32
	// RingBytes is the size of the ring buffer, rounded up to a power of two;
	// 0 means 8 MiB.
	RingBytes int
	// VXLANPorts are UDP ports that carry VXLAN, four at most; nil means 8472
	// (Linux, flannel, Cilium) and 4789 (IANA, Calico).
	VXLANPorts []uint16
	// GenevePort carries Geneve; 0 means 6081.
	GenevePort uint16

	// copyReads reads the kernel as those before 6.2 have to be read.
	copyReads bool
}

func orDefault[T uint16 | uint32 | int](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
