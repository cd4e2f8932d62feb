package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcdCommand serves one member from a directory that is thrown away: nothing
// is synced to disk.
func etcdCommand() *cobra.Command {
	var dir, listen string
	c := &cobra.Command{
		Use:  "etcd --data-dir DIR",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return serveEtcd(dir, listen) },
	}
	c.Flags().StringVar(&dir, "data-dir", "", "where it keeps its data (required)")
	c.Flags().StringVar(&listen, "listen-client-url", "http://127.0.0.1:2379", "where clients find it")
	_ = c.MarkFlagRequired("data-dir")
	return c
}

func serveEtcd(dir, listen string) error {
	client, err := url.Parse(listen)
	if err != nil {
		return fmt.Errorf("parse --listen-client-url: %w", err)
	}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.LogLevel = "warn"
	cfg.UnsafeNoFsync = true
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer etcd.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	select {
	case <-stop:
		return nil
	case err := <-etcd.Err():
		return err
	}
}
