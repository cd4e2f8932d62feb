package probe

import (
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// inhabited is a namespace with a process in it, as a pod's is.
func inhabited(t *testing.T) (ns tracer.NetNS, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	path := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net"
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return tracer.NetNS{Inode: uint32(st.Ino), Path: path}, sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	})
}

// A process that ends while its namespace is entered is gone, whatever the
// kernel says at that moment: it is no missing privilege.
func TestEnterVanishing(t *testing.T) {
	needPrivilege(t)
	entered := 0
	for range 300 {
		ns, end := inhabited(t)
		done := make(chan struct{})
		go func() { defer close(done); end() }()
		err := error(nil)
		for err == nil {
			err = inNetNS(ns, func() { entered++ })
		}
		<-done
		if !vanished(err) {
			t.Fatalf("a process that ended gave: %v", err)
		}
	}
	if entered == 0 {
		t.Error("no namespace was entered before it went")
	}
}

// Namespaces that end before, while and after programs are attached in them are
// no error, and leave no link behind.
func TestAttachVanishing(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
		stay := inventory(t, n.all()...)
		// Some kernels put devices of their own into every namespace.
		held := len(r.probe.devices)
		for range 40 {
			ns, end := inhabited(t)
			inv := stay
			inv.NetNS = append(inv.NetNS[:len(inv.NetNS):len(inv.NetNS)], ns)
			inv.Devices = append(inv.Devices[:len(inv.Devices):len(inv.Devices)],
				tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: ns.Inode, IfIndex: 2}, Name: "eth0"},
				tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: ns.Inode, IfIndex: 3}, Name: "eth1"})
			n.plug(t, ns)
			var wg sync.WaitGroup
			wg.Go(end)
			if err := r.probe.SetInventory(inv); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
		}
		if err := r.probe.SetInventory(stay); err != nil {
			t.Fatal(err)
		}
		if len(r.probe.devices) != held || tier == TierTCX && held < 4 {
			t.Errorf("%d devices are held, want the %d that stayed", len(r.probe.devices), held)
		}
		if len(r.probe.netns) != 3 {
			t.Errorf("%d namespaces are held, want the 3 that stayed", len(r.probe.netns))
		}
		n.server.listenUDP(server4 + ":7000")
		n.client.sendUDP(server4+":7000", 1)
		r.wait("a packet between those that stayed", at(tracer.EventRX, n.server.key("eth0")))
	})
}

// plug joins a namespace to the node by two pairs.
func (n topology) plug(t *testing.T, ns tracer.NetNS) {
	t.Helper()
	f, err := os.Open(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, peer := range []string{"eth0", "eth1"} {
		// Any name: the pair of the namespace before may still be there.
		n.node.must(addVeth(n.node, peer+"-"+strconv.Itoa(int(ns.Inode)), int(f.Fd()), peer))
	}
}
