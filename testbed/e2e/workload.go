package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/podpath/podpath/testbed/workload"
)

// workloadCommand is what runs in the pods.
func workloadCommand() *cobra.Command {
	c := &cobra.Command{Use: "workload", Hidden: true}
	var network, name string
	var rcode uint16
	listen := &cobra.Command{Use: "listen ADDR:PORT", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		at, err := netip.ParseAddrPort(args[0])
		if err != nil {
			return err
		}
		if network == "dns" {
			return workload.Resolve(c.Context(), at, dnsmessage.RCode(rcode))
		}
		return workload.Serve(c.Context(), network, at, name)
	}}
	listen.Flags().Uint16Var(&rcode, "rcode", 0, "of dns: the failure that every lookup is answered with")
	listen.Flags().StringVar(&name, "name", "server", "what it calls itself")
	var count, size int
	var every, limit time.Duration
	var lookup string
	var six, forget bool
	dial := &cobra.Command{Use: "dial HOST:PORT", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		try := func() workload.Try {
			if lookup != "" {
				return workload.Lookup(c.Context(), network, args[0], lookup, six, limit)
			}
			return workload.Dial(c.Context(), network, args[0], size, limit, forget)
		}
		out := json.NewEncoder(os.Stdout)
		for t := range workload.Overlapping(count, every, try) {
			if err := out.Encode(t); err != nil {
				return err
			}
		}
		return nil
	}}
	dial.Flags().IntVar(&count, "count", 1, "tries")
	dial.Flags().StringVar(&lookup, "lookup", "", "a name to ask for, of the DNS server at HOST:PORT")
	dial.Flags().BoolVar(&six, "six", false, "look IPv6 addresses up")
	dial.Flags().IntVar(&size, "bytes", 64, "bytes to send")
	dial.Flags().BoolVar(&forget, "forget", false, "reset the connection of a try that failed, and leave nothing to be sent")
	dial.Flags().DurationVar(&every, "every", 200*time.Millisecond, "how long after one try the next begins, whether or not that has ended")
	dial.Flags().DurationVar(&limit, "limit", 3*time.Second, "time for a try")
	c.AddCommand(noiseCommand(), &cobra.Command{Use: "wait", Args: cobra.NoArgs, Run: func(c *cobra.Command, _ []string) { <-c.Context().Done() }})
	for _, sub := range []*cobra.Command{listen, dial} {
		sub.Flags().StringVar(&network, "network", "tcp", "tcp or udp, or, to listen, dns")
		c.AddCommand(sub)
	}
	return c
}

// noiseCommand is what others do beside a flow that is traced.
func noiseCommand() *cobra.Command {
	var n workload.Noise
	var group string
	c := &cobra.Command{Use: "noise ADDR:PORT", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		var err error
		if n.Server, err = netip.ParseAddrPort(args[0]); err != nil {
			return err
		}
		if n.Group, err = netip.ParseAddrPort(group); err != nil {
			return err
		}
		return n.Make(c.Context())
	}}
	c.Flags().Uint16Var(&n.Closed, "closed", 0, "a port on which nobody listens")
	c.Flags().Uint16Var(&n.Dropped, "dropped", 0, "a port to which nothing gets through")
	c.Flags().StringVar(&group, "group", "", "a multicast ADDR:PORT")
	return c
}
