// Command flanneld runs flannel's packages on one node: the subnet manager that
// asks Kubernetes, the backends vxlan and host-gw, and the iptables or nftables
// rules. Upstream's own main also links backends that do not build without cgo
// or whose modules cannot be fetched.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
)

// The flags have the names and the meaning that flannel's own have.
type options struct {
	kubeconfig, device, subnetFile, netConf string
}

// Seconds between two looks at its own rules: flannel's default.
const resync = 5

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig-file", "", "kubeconfig")
	flag.StringVar(&o.device, "iface", "eth0", "device to the other nodes")
	flag.StringVar(&o.subnetFile, "subnet-file", "", "file to write this node's subnet and MTU to")
	flag.StringVar(&o.netConf, "net-config-path", "", "network configuration")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "flanneld:", err)
		os.Exit(1)
	}
}

// run needs the name of the node in NODE_NAME, as flannel's DaemonSet sets it.
func run(ctx context.Context, o options) error {
	sm, err := kube.NewSubnetManager(ctx, "", o.kubeconfig, "flannel.alpha.coreos.com", o.netConf, true)
	if err != nil {
		return fmt.Errorf("subnet manager: %w", err)
	}
	config, err := sm.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("network configuration: %w", err)
	}
	var wg sync.WaitGroup
	network, err := register(ctx, &wg, sm, config, o.device)
	if err != nil {
		return err
	}
	if err := rules(ctx, config, network); err != nil {
		return err
	}
	l := network.Lease()
	if err := sm.HandleSubnetFile(o.subnetFile, config, true, l.Subnet, l.IPv6Subnet, network.MTU()); err != nil {
		return fmt.Errorf("write %s: %w", o.subnetFile, err)
	}
	wg.Go(func() { network.Run(ctx) })
	err = sm.CompleteLease(ctx, l, &wg)
	wg.Wait()
	return err
}

func register(ctx context.Context, wg *sync.WaitGroup, sm subnet.Manager, config *subnet.Config, device string) (backend.Network, error) {
	families, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, err
	}
	dev, err := ipmatch.LookupExtIface(device, "", "", families, ipmatch.PublicIPOpts{})
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", device, err)
	}
	be, err := backend.NewManager(ctx, sm, dev).GetBackend(config.BackendType)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", config.BackendType, err)
	}
	network, err := be.RegisterNetwork(ctx, wg, config)
	if err != nil {
		return nil, fmt.Errorf("register network: %w", err)
	}
	return network, nil
}

func rules(ctx context.Context, config *subnet.Config, network backend.Network) error {
	var m trafficmngr.TrafficManager = &iptables.IPTablesManager{}
	if config.EnableNFTables {
		m = &nftables.NFTablesManager{}
	}
	if err := m.Init(ctx); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	// A node of the testbed is new: there is no earlier network to clear away.
	var none4 ip.IP4Net
	none6 := ip.IP6Net{IP: (*ip.IP6)(big.NewInt(0))}
	err := m.SetupAndEnsureMasqRules(ctx, config.Network, none4, none4, config.IPv6Network, none6, none6,
		network.Lease(), resync, false)
	if err != nil {
		return fmt.Errorf("masquerade rules: %w", err)
	}
	m.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resync)
	return nil
}
