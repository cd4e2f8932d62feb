package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// TargetRole says as what an address belongs to an endpoint.
type TargetRole string

const (
	RolePod          TargetRole = "pod"
	RoleNode         TargetRole = "node"
	RoleClusterIP    TargetRole = "cluster-ip"
	RoleExternalIP   TargetRole = "external-ip"
	RoleLoadBalancer TargetRole = "load-balancer"
	RoleNodePort     TargetRole = "node-port"
	RoleBackend      TargetRole = "backend" // a Service's endpoint
	RoleRange        TargetRole = "range"   // an address or CIDR as written
	RoleDNS          TargetRole = "dns"
)

// Target is one address range, and port, that packets of an endpoint carry.
type Target struct {
	Prefix netip.Prefix
	Port   uint16 // 0: any
	Proto  uint8  // 0: any
	Role   TargetRole
}

// Resolved is what an EndpointSpec stands for in one snapshot.
type Resolved struct {
	Spec EndpointSpec
	// Targets is empty if Any or Internet is set.
	Targets []Target
	// Pods are the pods among or behind the targets, by name.
	Pods []*Pod
	// Any: every address. Internet: every address outside Snapshot.Inside. Port
	// then still counts.
	Any, Internet bool
	Port          uint16
	// Description is one phrase for people.
	Description string
	// Notes are sentences that the person should read before trusting the
	// result.
	Notes []string
}

// Prefixes returns the distinct address ranges of the targets.
func (r *Resolved) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, t := range r.Targets {
		out = append(out, t.Prefix)
	}
	sortPrefixes(out)
	return slices.Compact(out)
}

// ResolveOptions says in which role an endpoint is resolved.
type ResolveOptions struct {
	// Source: traffic is followed from here, so the pods must be on Node.
	Source bool
	// Node is the traced node; "" switches the check off.
	Node string
	// Selector narrows to pods with these labels; nil for all.
	Selector labels.Selector
	// LookupHost resolves DNS names; nil: they cannot be resolved. Names of
	// Services (NAME.NAMESPACE.svc...) never ask it.
	LookupHost func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Resolve looks an endpoint up. Errors are of type *NotFoundError,
// *WrongNodeError, *NoIPError or *SelectionError, or come from LookupHost.
func (s *Snapshot) Resolve(ctx context.Context, spec EndpointSpec, opt ResolveOptions) (Resolved, error) {
	r := resolver{s: s, opt: opt, out: Resolved{Spec: spec, Port: spec.Port}}
	if opt.Selector != nil && opt.Selector.Empty() {
		r.opt.Selector = nil
	}
	var err error
	switch spec.Kind {
	case SpecAny:
		err = r.any()
	case SpecInternet:
		r.out.Internet, r.out.Description = true, "everything outside the cluster"
		err = r.refuseSelector()
	case SpecPrefix:
		err = r.prefix()
	case SpecDNS:
		err = r.dns(ctx)
	case SpecNode:
		err = r.node()
	case SpecService:
		err = r.service(ctx)
	default:
		err = r.pods()
	}
	if err != nil {
		return Resolved{}, err
	}
	slices.SortFunc(r.out.Pods, func(a, b *Pod) int { return compareKeys(a.Key(), b.Key()) })
	r.out.Pods = slices.Compact(r.out.Pods)
	return r.out, nil
}

// resolver builds one Resolved.
type resolver struct {
	s   *Snapshot
	opt ResolveOptions
	out Resolved
}

func (r *resolver) note(format string, args ...any) {
	r.out.Notes = append(r.out.Notes, fmt.Sprintf(format, args...))
}

func (r *resolver) what() string {
	spec := r.out.Spec
	spec.Port, spec.PortName = 0, ""
	return spec.String()
}

func (r *resolver) refuseSelector() error {
	if r.opt.Selector == nil {
		return nil
	}
	return &SelectionError{What: r.what(), Reason: "a label selector narrows pods only"}
}

func (r *resolver) matches(p *Pod) bool {
	return r.opt.Selector == nil || r.opt.Selector.Matches(labels.Set(p.Labels))
}

func (r *resolver) any() error {
	if r.opt.Selector == nil {
		r.out.Any, r.out.Description = true, "any address"
		return nil
	}
	return r.take(r.filter(func(*Pod) bool { return true }), "pods with "+r.opt.Selector.String())
}

func (r *resolver) prefix() error {
	p := r.out.Spec.Prefix
	if r.opt.Selector != nil {
		in := func(pod *Pod) bool { return slices.ContainsFunc(pod.IPs, p.Contains) }
		return r.take(r.filter(in), fmt.Sprintf("pods in %s with %s", p, r.opt.Selector))
	}
	r.add(p, r.out.Spec.Port, 0, RoleRange)
	r.out.Description = p.String()
	if !p.IsSingleIP() {
		return nil
	}
	e := r.s.Endpoint(p.Addr(), r.out.Spec.Port, 0)
	r.out.Description = p.Addr().String()
	if e.Name != "" {
		r.out.Description += fmt.Sprintf(" (%s %s)", e.Kind, Key{e.Namespace, e.Name})
	}
	if pod, ok := r.s.PodByIP(p.Addr()); ok {
		r.out.Pods = []*Pod{pod}
		if r.opt.Source && r.opt.Node != "" && pod.Node != r.opt.Node {
			r.note("%s is pod %s on node %s: only what reaches %s of its traffic is seen here", p.Addr(), pod.Key(), pod.Node, r.opt.Node)
		}
	}
	return nil
}

func (r *resolver) dns(ctx context.Context) error {
	if err := r.refuseSelector(); err != nil {
		return err
	}
	if key, ok := serviceName(r.out.Spec.Name); ok {
		r.out.Spec.Kind, r.out.Spec.Namespace, r.out.Spec.Name = SpecService, key.Namespace, key.Name
		return r.service(ctx)
	}
	r.out.Description = r.out.Spec.Name
	return r.host(ctx, r.out.Spec.Name)
}

// host adds the addresses of a DNS name.
func (r *resolver) host(ctx context.Context, name string) error {
	if r.opt.LookupHost == nil {
		return &SelectionError{What: name, Reason: "DNS names cannot be resolved here; give the address"}
	}
	addrs, err := r.opt.LookupHost(ctx, name)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", name, err)
	}
	if len(addrs) == 0 {
		return &NotFoundError{What: name, Why: "the name has no address"}
	}
	for _, a := range addrs {
		r.addAddr(a.Unmap(), r.out.Spec.Port, 0, RoleDNS)
	}
	r.note("%s was resolved on this machine; a pod may get another answer", name)
	return nil
}

// serviceName reads the DNS name of a Service: NAME.NAMESPACE.svc[.DOMAIN].
func serviceName(host string) (Key, bool) {
	parts := strings.SplitN(host, ".", 4)
	if len(parts) < 3 || parts[2] != "svc" {
		return Key{}, false
	}
	return Key{parts[1], parts[0]}, true
}

func (r *resolver) node() error {
	if err := r.refuseSelector(); err != nil {
		return err
	}
	name := r.out.Spec.Name
	n, ok := r.s.Node(name)
	if !ok {
		return &NotFoundError{What: r.what(), Near: r.nearNodes(name)}
	}
	if r.opt.Source && r.opt.Node != "" && name != r.opt.Node {
		r.note("%s is another node: only what reaches %s of its traffic is seen here", name, r.opt.Node)
	}
	if len(n.IPs) == 0 {
		return &NoIPError{What: r.what(), Reason: "status.addresses lists none"}
	}
	for _, ip := range n.IPs {
		r.addAddr(ip, r.out.Spec.Port, 0, RoleNode)
	}
	r.out.Description = "node " + name
	return nil
}

func (r *resolver) nearNodes(name string) []string {
	var have []Key
	for n := range r.s.nodes.byName {
		have = append(have, Key{Name: n})
	}
	var out []string
	for _, k := range nearest(Key{Name: name}, have) {
		out = append(out, "node/"+k.Name)
	}
	return out
}

func (r *resolver) addAddr(ip netip.Addr, port uint16, proto uint8, role TargetRole) {
	r.add(netip.PrefixFrom(ip, ip.BitLen()), port, proto, role)
}

func (r *resolver) add(p netip.Prefix, port uint16, proto uint8, role TargetRole) {
	t := Target{p, port, proto, role}
	if !slices.Contains(r.out.Targets, t) {
		r.out.Targets = append(r.out.Targets, t)
	}
}

// Inside returns the ranges that are the cluster's own: pods, Services and
// nodes. What lies outside is "internet".
func (s *Snapshot) Inside() []netip.Prefix {
	var out []netip.Prefix
	for p := range s.nodes.podCIDRs {
		out = append(out, p)
	}
	out = append(out, s.ranges...)
	for ip := range s.nodes.byIP {
		out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
	}
	for ip := range s.podIPs.all() {
		if s.nodes.podCIDR(ip) == "" {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	for ip := range s.vips.all() {
		if !s.InServiceRange(ip) {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	sortPrefixes(out)
	return slices.Compact(out)
}

// LocalNode finds the node that a machine is, by its name or its host name;
// host names are often fully qualified where node names are not, or the other
// way round. The error is a *NotFoundError.
func (s *Snapshot) LocalNode(name string) (string, error) {
	if _, ok := s.nodes.byName[name]; ok {
		return name, nil
	}
	short, _, _ := strings.Cut(strings.ToLower(name), ".")
	var found []string
	for n := range s.nodes.byName {
		if have, _, _ := strings.Cut(n, "."); have == short {
			found = append(found, n)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	r := resolver{s: s}
	why := "is no node of this cluster; name the node with --node"
	return "", &NotFoundError{What: "node/" + name, Why: why, Near: r.nearNodes(name)}
}
