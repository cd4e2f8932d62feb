package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// successors is how many pods have the address one after the other.
const successors = 6

// TestReuse: one address and one interface index, and as it comes the same
// namespace number, belong to one pod after the other. What each of them did is its own, also
// if it is judged only when all are gone.
func TestReuse(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"tcx", "tracepoint"} {
		t.Run(hook, func(t *testing.T) { reused(t, hook) })
	}
}

func reused(t *testing.T, hook string) {
	const unheard = 9
	s := newScene(t, 64)
	s.to.drops(unheard)
	ip := s.freeAddrs()[0]
	tr := s.trace(ip.String(), "any", "--hook", hook)
	asked, silent := map[uint16]string{}, map[uint16]string{}
	places := map[string]int{}
	index := 0 // the first pod's, then everybody's
	for n := range successors {
		var at string
		at, index = s.inherit(tr, ip, fmt.Sprintf("heir%d", n), index, unheard, asked, silent)
		places[at]++
	}
	tr.stop()
	judged := map[string]int{}
	for _, v := range tr.verdicts() {
		for kind, ports := range map[string]map[uint16]string{"asked": asked, "silent": silent} {
			who := ports[v.Flow.Source.Port]
			if who == "" || (v.Flow.Destination.Port == unheard) != (kind == "silent") {
				continue
			}
			judged[kind]++
			if !strings.HasSuffix(v.Flow.Source.Name, who) {
				t.Errorf("%s of %s is called %q: %s %s", kind, who, v.Flow.Source.Name, v.Code, v.Summary)
			}
			for _, h := range v.Hops {
				if strings.Contains(h.Pod, "heir") && !strings.HasSuffix(h.Pod, who) {
					t.Errorf("%s of %s has a hop at %s", kind, who, h.Where)
				}
			}
			if kind == "asked" && v.Code != tracer.CodeOK {
				t.Errorf("%s of %s: %s: %s", kind, who, v.Code, v.Summary)
			}
		}
	}
	if judged["asked"] < successors || judged["silent"] < successors {
		t.Errorf("judged %v of %d each", judged, successors)
	}
	t.Logf("judged %v; namespaces and indexes: %v", judged, places)
}

// inherit is one pod's life. It asks until it is known by its name, which the API
// tells a little after the address is in use, then once more what nobody answers.
// The node's end of its veth has the index, if that is not 0. It returns its
// namespace and interface, and that index.
func (s *scene) inherit(tr *liveTrace, ip netip.Addr, name string, index int, unheard uint16, asked, silent map[uint16]string) (string, int) {
	s.t.Helper()
	pod := sibling(s.client, name, ip)
	s.api.put(s.t, pod)
	veth := "v" + name
	tr.await("the device before is gone", func() bool {
		_, err := s.node.nl.LinkByIndex(index)
		return index == 0 || errors.As(err, new(netlink.LinkNotFoundError))
	})
	b, err := s.bearAt(veth, ip, index)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.die()
	defer s.api.remove(s.t, pod)
	p := &place{t: s.t, path: fmt.Sprintf("/proc/%d/ns/net", b.cmd.Process.Pid)}
	tr.await(name+" is known", func() bool {
		s.announce(ip)
		_ = p.ask("tcp", s.vip, time.Second)
		for _, v := range tr.verdicts() {
			if v.Flow.Source.Name == pod.Name {
				return true
			}
		}
		return false
	})
	tr.await(name+" is answered", func() bool {
		s.announce(ip)
		port, err := p.portAsked(s.vip)
		if err == nil {
			asked[port] = name
		}
		return err == nil
	})
	port := s.portSilent(p, net.JoinHostPort(s.ip(s.server).String(), strconv.Itoa(int(unheard))))
	silent[port] = name
	tr.await(name+" is seen", func() bool {
		for _, v := range tr.verdicts() {
			if asked[v.Flow.Source.Port] == name {
				return true
			}
		}
		return false
	})
	eth0, err := b.nl.LinkByName("eth0")
	if err != nil {
		s.t.Fatal(err)
	}
	end, err := s.node.nl.LinkByName(veth)
	s.must(err)
	inode, err := os.Readlink(p.path)
	if err != nil {
		s.t.Fatal(err)
	}
	return inode + " " + strconv.Itoa(eth0.Attrs().Index), end.Attrs().Index
}

// forget drops what the namespace knows of a neighbour's address.
func (p *place) forget(ip netip.Addr) {
	p.t.Helper()
	list, err := p.nl.NeighList(0, netlink.FAMILY_V4)
	p.must(err)
	for _, n := range list {
		if n.IP.Equal(ip.AsSlice()) {
			if err := p.nl.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
				p.t.Fatal(err)
			}
		}
	}
}

// announce does what a CNI's announcement of an address does. The namespace of the
// owner before may take a moment to go, and be heard of until then.
func (s *scene) announce(ip netip.Addr) {
	s.node.forget(ip)
	s.to.forget(ip)
}

// portAsked asks, is answered, and returns the port it asked from.
func (p *place) portAsked(to string) (uint16, error) {
	c, err := p.dial("tcp", to, time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		return 0, err
	}
	if _, err := c.Read(make([]byte, 512)); err != nil {
		return 0, err
	}
	return c.LocalAddr().(*net.TCPAddr).AddrPort().Port(), nil
}

// portSilent sends one SYN that is not answered, and returns the port it is from.
func (s *scene) portSilent(p *place, to string) (port uint16) {
	s.t.Helper()
	fd, addr := -1, netip.MustParseAddrPort(to)
	defer func() { _ = unix.Close(fd) }()
	s.must(p.do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
		if errors.Is(err, unix.EINPROGRESS) {
			return nil
		}
		return fmt.Errorf("connect: %w", err)
	}))
	sa, err := unix.Getsockname(fd)
	s.must(err)
	in4, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		s.t.Fatalf("a socket of %T", sa)
	}
	return uint16(in4.Port)
}

// drops lets nobody in by TCP at a port, in the pod's own namespace, and says
// nothing.
func (p *place) drops(port uint16) {
	p.t.Helper()
	ns, err := netns.GetFromPath(p.path)
	p.must(err)
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	p.must(err)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "test-drop"})
	chain := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	p.must(c.Flush())
}
