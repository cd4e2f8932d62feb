package k8s

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// conflist is the file in which the node's runtime finds its CNI.
func (n *Node) conflist() string { return n.file("net.d/10-pods.conflist") }

// HideCNI takes the node's CNI configuration away, restore writes it again. A
// containerd notices that a file was removed or written, and not that one was moved
// to its place.
func (n *Node) HideCNI() (restore func() error, err error) {
	b, err := os.ReadFile(n.conflist())
	if err != nil {
		return nil, err
	}
	restore = func() error { return os.WriteFile(n.conflist(), b, 0o644) }
	return restore, os.Remove(n.conflist())
}

// ReplacePlugin has the node's CNI configuration name another program in place of
// the bridge plugin, as if that had been installed.
func (n *Node) ReplacePlugin(name string) (restore func() error, err error) {
	b, err := os.ReadFile(n.conflist())
	if err != nil {
		return nil, err
	}
	other := strings.Replace(string(b), `"type": "bridge"`, fmt.Sprintf(`"type": %q`, name), 1)
	if other == string(b) {
		return nil, fmt.Errorf("%s: no bridge plugin in it", n.conflist())
	}
	restore = func() error { return os.WriteFile(n.conflist(), b, 0o644) }
	return restore, os.WriteFile(n.conflist(), []byte(other), 0o644)
}

// TakeAddresses reserves every free address of the node's range, as pods that are gone
// leave them behind: host-local keeps each as a file with the owner in it.
func (n *Node) TakeAddresses() (restore func() error, err error) {
	s, err := n.subnet()
	if err != nil {
		return nil, err
	}
	own, err := netip.ParsePrefix(s["FLANNEL_SUBNET"])
	if err != nil {
		return nil, fmt.Errorf("flannel's subnet: %w", err)
	}
	leases := filepath.Join(n.file("ipam"), networkName)
	if err := os.MkdirAll(leases, 0o755); err != nil { // of a node that has had no pod
		return nil, err
	}
	var taken []string
	restore = func() error {
		var errs []error
		for _, file := range taken {
			errs = append(errs, os.Remove(file))
		}
		return errors.Join(errs...)
	}
	for a := own.Masked().Addr().Next(); own.Contains(a); a = a.Next() {
		file := filepath.Join(leases, a.String())
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue // a pod has it
		}
		if err != nil {
			return restore, err
		}
		taken = append(taken, file)
		_, err = f.WriteString("a pod that is gone\r\neth0")
		if err = errors.Join(err, f.Close()); err != nil {
			return restore, err
		}
	}
	return restore, nil
}
