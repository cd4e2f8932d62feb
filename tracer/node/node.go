package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// Config says which node to read.
type Config struct {
	// Logger gets debug records about namespaces that vanish; nil discards.
	Logger *slog.Logger
	// HostNetNS is a path to the node's own namespace; "" is the caller's.
	HostNetNS string
	// ProcRoot is where the node's procfs is mounted; "" is "/proc".
	ProcRoot string
	// OwnProgram recognises BPF programs that podpath attached itself, so that
	// they are not reported; nil recognises none. It may be called at any time.
	OwnProgram func(id uint32) bool
}

// Node reads one node. It is safe for concurrent use. It holds one descriptor,
// that of the node's own namespace: pods' namespaces are opened for the length
// of one call only, because an open descriptor keeps a namespace, and with it
// the veth pair of a deleted pod, alive.
type Node struct {
	log  *slog.Logger
	proc string
	own  func(uint32) bool

	host      *os.File
	hostInode uint32
	// confined: other namespaces may not be entered.
	confined bool

	mu      sync.Mutex
	unknown int               // devices whose other end was not found by the last inventory
	paths   map[uint32]string // last known way to open a namespace
	last    tracer.Inventory
	hints   map[netip.Addr]bool
	base    []reading // oldest first; the first one stays
}

// New opens the node's namespace. Close releases it.
func New(c Config) (*Node, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ProcRoot == "" {
		c.ProcRoot = "/proc"
	}
	path := c.HostNetNS
	if path == "" {
		path = c.ProcRoot + "/self/ns/net"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	inode, err := netns.Inode(int(f.Fd()))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open the node's network namespace %s: %w", path, err)
	}
	// The node's own rules and routes are the least to be read.
	if err := netns.Do(int(f.Fd()), func() error { return nil }); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("read the node's network namespace %s: %w", path, err)
	}
	own := c.OwnProgram
	if own == nil {
		own = func(uint32) bool { return false }
	}
	return &Node{
		log: c.Logger, proc: c.ProcRoot, own: own,
		host: f, hostInode: inode, confined: netns.Allowed() != nil,
		paths: map[uint32]string{inode: path},
		hints: map[netip.Addr]bool{},
	}, nil
}

// Close releases the node's namespace.
func (n *Node) Close() error { return n.host.Close() }

// HostNetNS is the inode of the node's own namespace.
func (n *Node) HostNetNS() uint32 { return n.hostInode }

// Last is the inventory that Inventory returned last; zero before the first.
func (n *Node) Last() tracer.Inventory {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

// inventoryWith returns the last inventory, reading a new one if a namespace that
// is wanted is not in it.
func (n *Node) inventoryWith(ctx context.Context, want ...uint32) (tracer.Inventory, error) {
	inv := n.Last()
	if inv.HostNetNS != 0 && hasNetNS(&inv, want) {
		return inv, nil
	}
	return n.Inventory(ctx)
}

func hasNetNS(inv *tracer.Inventory, want []uint32) bool {
	have := map[uint32]bool{0: true}
	for _, ns := range inv.NetNS {
		have[ns.Inode] = true
	}
	for _, w := range want {
		if !have[w] {
			return false
		}
	}
	return true
}
