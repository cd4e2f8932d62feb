package verdict

import (
	"regexp"
	"slices"
	"testing"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/redact"
)

// hostDevice adds a device of the node.
func hostDevice(index uint32, name, kind string, role tracer.DeviceRole) change {
	return func(s *scene) {
		s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, index), Name: name, Kind: kind, Role: role, Up: true})
	}
}

// rename gives a device of the node another name.
func rename(index uint32, name string) change {
	return func(s *scene) {
		for i := range s.Inventory.Devices {
			if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, index) {
				d.Name = name
			}
		}
	}
}

func isDown(index uint32) change {
	return func(s *scene) {
		for i := range s.Inventory.Devices {
			if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, index) {
				d.Up = false
			}
		}
	}
}

func proxies(names ...string) change {
	return func(s *scene) { s.n.Services = &tracer.ServiceRules{Implementations: names} }
}

// asCalico: the pods' ends are Calico's and in no bridge.
func asCalico(s *scene) {
	rename(vethWeb, "cali1")(s)
	rename(vethAPI, "cali2")(s)
}

const more uint32 = 40 // and above: devices that tests add

func TestNetworksHere(t *testing.T) {
	vx := func(name string) change { return hostDevice(more, name, "vxlan", tracer.RoleTunnel) }
	tunl0 := hostDevice(more+1, "tunl0", "ipip", tracer.RoleTunnel)
	for name, c := range map[string]struct {
		with []change
		want []string
	}{
		"flannel":                         {[]change{rename(bridge, "cni0"), vx("flannel.1")}, []string{"flannel"}},
		"flannel with another VNI":        {[]change{vx("flannel.4096")}, []string{"flannel"}},
		"flannel without tunnels":         {[]change{rename(bridge, "cni0"), rule("flannel", "masquerade")}, []string{"flannel"}},
		"calico":                          {[]change{asCalico}, []string{"calico"}},
		"calico's VXLAN":                  {[]change{vx("vxlan.calico")}, []string{"calico"}},
		"calico's rules and tunnel":       {[]change{tunl0, rule("calico", "drop")}, []string{"calico"}},
		"canal":                           {[]change{asCalico, vx("flannel.1")}, []string{"flannel", "calico"}},
		"cilium":                          {[]change{hostDevice(more, "cilium_host", "veth", tracer.RoleOther)}, []string{"cilium"}},
		"cilium by its programs":          {[]change{rename(vethWeb, "lxc12"), program("cilium", "tcx ingress", on(hostNS, vethWeb))}, []string{"cilium"}},
		"aws":                             {[]change{rename(vethWeb, "eni0a1b")}, []string{"aws-vpc-cni"}},
		"aws with Calico's policies":      {[]change{rename(vethWeb, "eni0a1b"), rule("calico", "drop")}, []string{"aws-vpc-cni"}},
		"kindnet":                         {[]change{rule("kindnet", "masquerade")}, []string{"kindnet"}},
		"antrea":                          {[]change{hostDevice(more, "antrea-gw0", "openvswitch", tracer.RoleBridge)}, []string{"antrea"}},
		"ovn":                             {[]change{hostDevice(more, "ovn-k8s-mp0", "openvswitch", tracer.RoleBridge)}, []string{"ovn-kubernetes"}},
		"the bridge plugin":               {[]change{rename(bridge, "cni0")}, []string{"bridge"}},
		"another bridge":                  {nil, nil},
		"a VXLAN device of somebody's":    {[]change{vx("vx-lab")}, nil},
		"a veth named like flannel's":     {[]change{hostDevice(more, "flannel.1", "veth", tracer.RoleOther)}, nil},
		"an uplink named like AWS's pods": {[]change{rename(uplink, "eni1")}, nil},
		"the module's tunl0":              {[]change{tunl0}, nil},
		"calico's policies alone":         {[]change{rule("calico", "drop"), rule("calico", "accept")}, nil},
		"left over and down":              {[]change{vx("flannel.1"), isDown(more)}, nil},
		"cilium translates, and no more":  {[]change{proxies("cilium")}, nil},
	} {
		in := given(c.with...)
		if got := networkNames(in.networksHere()); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestByKubeProxy(t *testing.T) {
	for _, c := range []struct {
		rules *tracer.ServiceRules
		want  bool
	}{
		{nil, false},
		{&tracer.ServiceRules{}, false},
		{&tracer.ServiceRules{Implementations: []string{"kube-proxy-nftables"}}, true},
		{&tracer.ServiceRules{Implementations: []string{"kube-proxy-iptables", "ipvs"}}, true},
		{&tracer.ServiceRules{Implementations: []string{"cilium"}}, false},
		{&tracer.ServiceRules{Implementations: []string{"kube-proxy-iptables", "ovn"}}, false},
	} {
		in := &Input{Node: &tracer.NodeFacts{Services: c.rules}}
		if got := in.byKubeProxy(); got != c.want {
			t.Errorf("%+v: %t", c.rules, got)
		}
	}
}

// Every network of the table can be told, and every way is one that can be taken.
func TestNetworksTable(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range networks() {
		if seen[n.name] {
			t.Errorf("%s is there twice", n.name)
		}
		seen[n.name] = true
		weak := 0
		for _, s := range n.signs {
			if s.weak {
				weak++
			}
			if set := len(s.device) + len(s.owner) + len(s.services); set == 0 {
				t.Errorf("%s has an empty sign", n.name)
			}
		}
		if weak == len(n.signs) && weak < 2 {
			t.Errorf("%s cannot be told", n.name)
		}
		if len(n.pods) == 0 || n.pods[0].role != tracer.RolePod || n.pods[0].hook != tracer.EventTX {
			t.Errorf("%s: a way out of a pod begins in it, not with %v", n.name, n.pods)
		}
		for _, c := range n.nodes {
			if c.by == "" || len(c.leg) == 0 {
				t.Errorf("%s has a way to other nodes that says nothing: %v", n.name, c)
			}
			for _, s := range c.leg {
				if s.hook != tracer.EventTX {
					t.Errorf("%s: a way to another node leaves this one, %v does not", n.name, s)
				}
			}
		}
	}
}

// By these names a network's agent and plugins are told, also in a redacted recording.
func TestNamesOfNetworks(t *testing.T) {
	for _, n := range networks() {
		names := append([]string{n.name, n.daemonSet}, n.agents...)
		for _, name := range append(names, n.plugins...) {
			for _, w := range regexp.MustCompile(`[\p{L}\p{N}]+`).FindAllString(name, -1) {
				if !redact.WellKnown(w) {
					t.Errorf("%s of %s: %q is replaced in a redacted recording: list it in tracer/redact/name.go", name, n.name, w)
				}
			}
		}
	}
}
