package k8s

import (
	"context"
	"fmt"
	"time"
)

func (c *Cluster) step(ctx context.Context, name string, do func(context.Context) error) error {
	begun := time.Now()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(c.say, "%s: %.1f s\n", name, time.Since(begun).Seconds())
	return nil
}

// wire makes the namespaces of the underlay, the outside, the control plane and
// the nodes, each with a device in one bridge.
func (c *Cluster) wire() error {
	var err error
	if c.fabric, err = newSpace("fabric"); err != nil {
		return err
	}
	// The switch is no router: it must not look into what it carries.
	for _, cmd := range [][]string{
		{"ip", "link", "add", "br0", "type", "bridge"},
		{"ip", "link", "set", "br0", "up"},
		{"sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"},
		{"sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0"},
	} {
		if err := c.fabric.Run(cmd[0], cmd[1:]...); err != nil {
			return err
		}
	}
	if c.Outside, err = c.host("outside", c.Flavour.both(gatewayAddr, gatewayAddr6), true); err != nil {
		return err
	}
	for _, addr := range c.Flavour.both(outsideAddr+"/32", outsideAddr6+"/128") {
		if err := c.Outside.Run("ip", "address", "add", addr, "dev", "lo"); err != nil {
			return err
		}
	}
	if c.control, err = c.host("control", c.Flavour.both(controlAddr, underlay6+"1"), false); err != nil {
		return err
	}
	for i, cfg := range c.Flavour.Nodes {
		four, six := fmt.Sprintf("%s%d", underlay, 11+i), fmt.Sprintf("%s%d", underlay6, 11+i)
		n := &Node{NodeConfig: cfg, Addr: c.Flavour.spoken(four, six), addrs: c.Flavour.both(four, six), Daemons: map[string]*Process{}, cluster: c}
		if n.Space, err = c.host(cfg.Name, n.addrs, false); err != nil {
			return err
		}
		if err := c.forward(n.Space); err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

func (c *Cluster) forward(s *Space) error {
	return s.Run("sysctl", append([]string{"-qw"}, c.Flavour.both("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")...)...)
}

// host is a namespace with eth0 in the underlay; all but the router have a
// default route to it. Without one a node could not even try a Service.
func (c *Cluster) host(name string, addrs []string, router bool) (*Space, error) {
	s, err := newSpace(name)
	if err != nil {
		return nil, err
	}
	port := "to-" + name
	cmds := [][]string{
		{"ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"ip", "link", "set", port, "master", "br0", "up"},
	}
	for _, cmd := range cmds {
		if err := c.fabric.Run(cmd[0], cmd[1:]...); err != nil {
			return nil, err
		}
	}
	if err := s.Run("ip", "link", "set", "eth0", "up"); err != nil {
		return nil, err
	}
	for i, addr := range addrs {
		args := []string{"address", "add", addr + "/24", "dev", "eth0"}
		if i > 0 {
			// Nobody else has it: no second of looking for one who does.
			args = []string{"address", "add", addr + "/64", "dev", "eth0", "nodad"}
		}
		if err := s.Run("ip", args...); err != nil {
			return nil, err
		}
	}
	if router {
		return s, c.forward(s)
	}
	for _, via := range c.Flavour.both(gatewayAddr, gatewayAddr6) {
		if err := s.Run("ip", "route", "add", "default", "via", via); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Plug connects a node to the switch, or pulls its plug.
func (c *Cluster) Plug(n *Node, in bool) error {
	state := "down"
	if in {
		state = "up"
	}
	return c.fabric.Run("ip", "link", "set", "to-"+n.Name, state)
}
