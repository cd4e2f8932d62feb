package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// childEnv marks a process that New started to live in a namespace.
const childEnv = "PODPATH_LAB_NAMESPACE"

// ServeIfChild turns this process into the inhabitant of one of the lab's
// namespaces if it was started as such; then it never returns. Call it first in
// main and in TestMain of every program that uses New.
func ServeIfChild() {
	if os.Getenv(childEnv) == "" {
		return
	}
	c := &child{out: json.NewEncoder(os.Stdout), open: map[uint64]io.Closer{}}
	c.serve(os.Stdin)
	os.Exit(0)
}

// child serves the requests of its parent until its stdin ends, which it does
// when the parent is gone, for whatever reason.
type child struct {
	mu   sync.Mutex
	out  *json.Encoder
	open map[uint64]io.Closer
	next uint64
}

func (c *child) serve(in io.Reader) {
	c.reply(response{Hello: true})
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var req request
		if err := json.Unmarshal(line, &req); err != nil {
			c.reply(response{Err: "decode request: " + err.Error()})
			continue
		}
		go c.handle(req)
	}
}

func (c *child) reply(r response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A parent that does not read any more is gone; stdin will tell.
	_ = c.out.Encode(r)
}

func (c *child) handle(req request) {
	res := response{ID: req.ID}
	var err error
	switch {
	case req.Sysctl != nil:
		res.Old, err = swapSysctl(req.Sysctl.Key, req.Sysctl.Value)
	case req.Listen != nil:
		res.Listener, err = c.listen(*req.Listen)
	case req.Hold != nil:
		res.Listener, err = c.hold(*req.Hold)
	case req.Close != 0:
		err = c.close(req.Close)
	case req.Dial != nil:
		a := dial(*req.Dial)
		res.Attempt = &a
	case req.Cast != nil:
		err = cast(*req.Cast)
	default:
		err = errors.New("empty request")
	}
	if err != nil {
		res.Err = err.Error()
	}
	c.reply(res)
}

func (c *child) listen(a listenArgs) (uint64, error) {
	s, err := startServer(a)
	if err != nil {
		return 0, err
	}
	return c.remember(s), nil
}

func (c *child) remember(x io.Closer) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	c.open[c.next] = x
	return c.next
}

func (c *child) hold(a holdArgs) (uint64, error) {
	conn, err := net.DialTimeout(network(a.Proto, a.To.Addr()), a.To.String(), attemptTimeout)
	if err != nil {
		return 0, err
	}
	if a.Proto == "udp" {
		if _, err := conn.Write([]byte("hold")); err != nil {
			return 0, errors.Join(err, conn.Close())
		}
	}
	return c.remember(conn), nil
}

func (c *child) close(handle uint64) error {
	c.mu.Lock()
	s, ok := c.open[handle]
	delete(c.open, handle)
	c.mu.Unlock()
	if !ok {
		return fmt.Errorf("close listener %d: no such listener", handle)
	}
	return s.Close()
}

// swapSysctl writes a key of this process's network namespace. /proc/sys/net
// shows the reader's own namespace, so nothing outside is touched.
func swapSysctl(key, value string) (string, error) {
	if !strings.HasPrefix(key, "net/") || strings.Contains(key, "..") {
		return "", fmt.Errorf("write sysctl %s: not a key of a network namespace", key)
	}
	path := filepath.Join("/proc/sys", key)
	old, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return "", fmt.Errorf("write sysctl: %w", err)
	}
	return strings.TrimSpace(string(old)), nil
}

// cast sends one datagram and waits for nothing.
func cast(to netip.AddrPort) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("noise"))
	return err
}
