package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/netns"
)

// listen kicks for every notification about links and addresses of the node's
// namespace and, where the kernel allows it, of the namespaces that are joined to
// it, until the context ends. What the notifications say is not read: whoever is
// kicked looks for himself.
func (n *Node) listen(ctx context.Context, kick chan<- struct{}) error {
	var socket *os.File
	err := netns.Do(int(n.host.Fd()), func() (err error) {
		socket, err = n.openNotifications()
		return err
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = socket.Close() })
	go func() {
		buf := make([]byte, 32<<10)
		for {
			_, err := socket.Read(buf)
			// ENOBUFS: a storm, of which some was missed. The socket goes on.
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				if ctx.Err() == nil {
					n.log.WarnContext(ctx, "watching devices by polling only", slog.Any("error", err))
				}
				return
			}
			notify(kick)
		}
	}()
	return nil
}

// openNotifications runs in the node's namespace.
func (n *Node) openNotifications() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a socket for device notifications: %w", err)
	}
	// A CNI gives a pod its address inside the pod's namespace. The kernel tells
	// of those that are joined to this one, with CAP_NET_BROADCAST (4.2 and
	// later); without it Watch looks again after a while.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
		n.log.Debug("no notifications from inside pods", slog.Any("error", err))
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to device notifications: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

func notify(kick chan<- struct{}) {
	select {
	case kick <- struct{}{}:
	default:
	}
}
