package verdict

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// networksHere are the networks that left a sure sign on this node, or two weak
// ones. None means that it is not known.
func (in *Input) networksHere() []network {
	var all []network
	for _, n := range in.networks {
		if in.shows(n) {
			all = append(all, n)
		}
	}
	if slices.ContainsFunc(all, func(n network) bool { return !n.plain }) {
		all = slices.DeleteFunc(all, func(n network) bool { return n.plain })
	}
	return all
}

func (in *Input) shows(n network) bool {
	weak := 0
	for _, s := range n.signs {
		switch {
		case !in.signed(s):
		case !s.weak:
			return true
		default:
			weak++
		}
	}
	return weak > 1
}

func (in *Input) signed(s sign) bool {
	switch {
	case s.owner != "":
		return in.writes(s.owner)
	case s.services != "":
		return slices.Contains(in.proxies(), s.services)
	}
	return in.hasDevice(func(d *tracer.Device) bool {
		return named(d.Name, s.device) && (s.kind == "" || d.Kind == s.kind) && (s.role == "" || d.Role == s.role)
	})
}

// hasDevice asks for a device of the node that is up: one that is not carries
// nothing, and is often left over.
func (in *Input) hasDevice(test func(*tracer.Device) bool) bool {
	return slices.ContainsFunc(in.Inventory.Devices, func(d tracer.Device) bool { return in.onHost(d.DeviceKey) && d.Up && test(&d) })
}

// writes: rules or programs that were met are of that owner.
func (in *Input) writes(owner string) bool {
	rule := func(r tracer.RuleFact) bool { return r.Owner == owner }
	return slices.ContainsFunc(in.Node.Rules, rule) || slices.ContainsFunc(in.Node.Masquerade, rule) ||
		slices.ContainsFunc(in.Node.Programs, func(p tracer.BPFProgram) bool { return p.Owner == owner })
}

// proxies are what translates Services on this node.
func (in *Input) proxies() []string {
	if in.Node.Services == nil {
		return nil
	}
	return in.Node.Services.Implementations
}

// byKubeProxy: kube-proxy's rules and IPVS, and nothing else, translate Services
// here: where packets enter the node, and not at a socket, a program or a switch.
func (in *Input) byKubeProxy() bool {
	list := in.proxies()
	return len(list) > 0 && !slices.ContainsFunc(list, func(p string) bool { return !kubeProxys(p) })
}

// kubeProxys: one of kube-proxy's modes.
func kubeProxys(name string) bool {
	switch name {
	case tracer.ProxyNFTables, tracer.ProxyIPTables, tracer.ProxyIPTablesLegacy, tracer.ProxyIPVS:
		return true
	}
	return false
}

// named: a name follows a pattern, of which the rest is free after a *.
func named(name, pattern string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == "" || name == pattern || open && strings.HasPrefix(name, prefix)
}

// networkNames are the names of networks.
func networkNames(list []network) []string {
	var out []string
	for _, n := range list {
		out = append(out, n.name)
	}
	return out
}

// daemonSet is where the CNI that this node shows runs by its own manifests, "" if
// there is none or more than one. flannel with Calico is canal.
func (in *Input) daemonSet() (namespace, name string) {
	names := networkNames(in.networksHere())
	if len(names) == 2 && slices.Contains(names, "flannel") && slices.Contains(names, "calico") {
		return "kube-system", "canal"
	}
	if len(names) != 1 {
		return "", ""
	}
	namespace, name, _ = strings.Cut(in.networksHere()[0].daemonSet, "/")
	return namespace, name
}
