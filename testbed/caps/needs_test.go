package caps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/node"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/rules"
)

// podInode tells the limited process which namespace it ought to find.
const podInode = "PODPATH_TEST_POD_NETNS"

func TestMain(m *testing.M) {
	lab.ServeIfChild()
	if want := os.Getenv(podInode); want != "" {
		for _, line := range look(context.Background(), want) {
			fmt.Println(line)
		}
		return
	}
	os.Exit(m.Run())
}

// look does what podpath does on a node, and returns what of it failed, as
// "ability: why".
func look(ctx context.Context, pod string) []string {
	var failed []string
	check := func(ability string, err error) {
		if err != nil {
			failed = append(failed, ability+": "+strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	p, err := probe.Open(probe.Config{DropsAll: true})
	check("load", err)
	if err == nil {
		defer func() { check("load", p.Close()) }()
		for _, b := range p.Blind() {
			check("symbols", errors.New(b.What))
		}
	}
	n, err := node.New(node.Config{})
	if err != nil {
		return append(failed, "node: "+err.Error())
	}
	defer func() { check("node", n.Close()) }()
	inv, err := n.Inventory(ctx)
	check("node", err)
	if !slices.ContainsFunc(inv.NetNS, func(ns tracer.NetNS) bool { return fmt.Sprint(ns.Inode) == pod }) {
		check("pods", fmt.Errorf("netns %s is not found", pod))
	}
	if p != nil {
		check("attach", p.SetInventory(inv))
	}
	r, err := rules.New(rules.Config{})
	if err != nil {
		return append(failed, "rules: "+err.Error())
	}
	defer func() { check("rules", r.Close()) }()
	res := r.Collect(ctx, tracer.Query{Flow: tracer.Tuple{
		Src: netip.MustParseAddrPort("10.99.0.2:40000"), Dst: netip.MustParseAddrPort("10.99.1.1:80"), Proto: tracer.ProtoTCP,
	}})
	if !res.MasqueradeRead {
		check("rules", fmt.Errorf("not read: %v", res.Blind))
	}
	return failed
}

// manifest reads what the debug pod asks for.
func manifest(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/debug-pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(raw, &pod); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range pod.Spec.Containers[0].SecurityContext.Capabilities.Add {
		names = append(names, string(c))
	}
	return names
}

// nodeWithPod makes a namespace that plays the node, and one that plays a pod
// whose process belongs to another user, joined by a veth pair. It returns a
// path to the first and the inode of the second.
func nodeWithPod(t *testing.T) (string, string) {
	t.Helper()
	type made struct {
		path, inode string
		err         error
	}
	ready, done := make(chan made), make(chan struct{})
	ended := make(chan struct{})
	t.Cleanup(func() { close(done); <-ended })
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the namespace goes with the thread
		var m made
		if m.err = unix.Unshare(unix.CLONE_NEWNET); m.err != nil {
			ready <- m
			return
		}
		m.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		pod := exec.Command("sleep", "600")
		pod.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
			Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
		}
		if m.err = pod.Start(); m.err != nil {
			ready <- m
			return
		}
		defer func() { _ = pod.Process.Kill(); _ = pod.Wait() }()
		m.inode, m.err = join(pod.Process.Pid)
		ready <- m
		<-done
	}()
	m := <-ready
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m.path, m.inode
}

// join puts a veth pair between this thread's namespace and that of a process.
func join(pid int) (string, error) {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "pod0"}, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return "", fmt.Errorf("add veth: %w", err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return "", fmt.Errorf("set veth up: %w", err)
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)) // net:[4026532000]
	return strings.Trim(link, "net:[]"), err
}

// failures runs look with limited capabilities and returns the abilities that
// it lost.
func failures(t *testing.T, netns, pod string, capabilities []string) []string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), podInode+"="+pod)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := (Limits{Capabilities: capabilities, NetNS: netns}).Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	t.Logf("with %v:\n%s", capabilities, out.String())
	var lost []string
	for line := range strings.Lines(out.String()) {
		ability, _, _ := strings.Cut(line, ":")
		lost = append(lost, ability)
	}
	return lost
}

// The debug pod's capabilities are enough, and without any of them something is
// lost: what docs/requirements.md says.
func TestManifestAsksForWhatIsNeeded(t *testing.T) {
	needRoot(t)
	all := manifest(t)
	netns, pod := nodeWithPod(t)
	if lost := failures(t, netns, pod, all); len(lost) > 0 {
		t.Errorf("not enough for %v", lost)
	}
	want := map[string]string{"SYS_ADMIN": "load", "NET_ADMIN": "rules", "SYS_PTRACE": "pods", "SYSLOG": "symbols"}
	for i, c := range all {
		lost := failures(t, netns, pod, slices.Delete(slices.Clone(all), i, i+1))
		if want[c] == "" || !slices.Contains(lost, want[c]) {
			t.Errorf("without %s %v is lost, want %q", c, lost, want[c])
		}
	}
}
