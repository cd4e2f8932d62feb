package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// pod is one pod as the cluster's objects describe it. space is nil for pods
// that no namespace of the lab stands for.
type pod struct {
	ns, app, name, hash, uid string
	labels                   map[string]string
	owner                    string // kind of the owner: "ReplicaSet", "DaemonSet"
	node                     string
	ip4, ip6                 netip.Addr
	hostNetwork, notReady    bool
	isNew                    bool   // created just now
	terminating              bool   // being deleted, and still serving
	waiting                  string // reason a container is waiting, "" if it runs
	ports                    []podPort
	hostVeth                 string
	space                    *space
}

type podPort struct {
	name  string
	port  uint16
	proto string // "TCP", "UDP"
	host  uint16 // hostPort, 0 for none
}

func (p *pod) ip(six bool) netip.Addr {
	if six {
		return p.ip6
	}
	return p.ip4
}

// ref is the pod in the grammar of --from and --to.
func (p *pod) ref() string { return p.ns + "/pod/" + p.name }

// service is one Service; the endpoints follow from its selector.
type service struct {
	ns, name, uid string
	selector      map[string]string
	ip4, ip6      netip.Addr
	ports         []servicePort
	// fixed endpoints, for a Service without selector
	fixed []netip.Addr
	// stale is where the node's rules still point instead of the endpoints.
	stale []netip.Addr
	// affinity is how long a client stays with its endpoint, 0 if it does not; pinned
	// are clients that stay with the first of stale.
	affinity time.Duration
	pinned   []netip.Addr
	// unwritten: the node has no rules for this Service, while it has for others.
	unwritten bool
	// internalLocal is internalTrafficPolicy: Local.
	internalLocal bool
	// lb4 and lb6 are a load balancer's addresses, ranges who may use them.
	lb4, lb6 netip.Addr
	ranges   []netip.Prefix
	// nodePort is where every node serves it, for each protocol; 0 for nowhere.
	nodePort uint16
}

type servicePort struct {
	name   string
	proto  string
	port   uint16
	target uint16
}

func (s *service) ip(six bool) netip.Addr {
	if six {
		return s.ip6
	}
	return s.ip4
}

func (s *service) balancer(six bool) netip.Addr {
	if six {
		return s.lb6
	}
	return s.lb4
}

func (s *service) ref(port uint16) string { return fmt.Sprintf("%s/svc/%s:%d", s.ns, s.name, port) }

// policy is a NetworkPolicy in the few terms that the lab needs. It becomes
// both the object in the dump and the rules on the node.
type policy struct {
	ns, name string
	app      string // podSelector: label app; "" selects all
	ingress  bool
	egress   bool
	// allow lists the rules of the one direction that is set.
	allow []allowRule
}

type allowRule struct {
	// namespaces is the namespaceSelector; nil for the policy's own namespace.
	namespaces map[string]string
	// pods is the podSelector; nil for all.
	pods  map[string]string
	block netip.Prefix
	ports []allowPort
}

type allowPort struct {
	proto string
	port  uint16
	// name, if set, is what the policy says instead of the number; the pods
	// have no port of that name.
	name string
}

// adminPolicy is an AdminNetworkPolicy that denies what some namespaces send to
// others.
type adminPolicy struct {
	name            string
	priority        int32
	subject, denied map[string]string
}

// ciliumPolicy is a CiliumNetworkPolicy that lets one app in to another.
type ciliumPolicy struct{ ns, name, app, from string }

// namespace is a Namespace and its labels.
type namespace struct {
	name   string
	labels map[string]string
}

// cluster is what the API server would say. Faults change it where the fault is
// one of the cluster's objects.
type cluster struct {
	p          *plan
	namespaces []namespace
	pods       []*pod
	services   []*service
	policies   []policy
	// adminPolicies and ciliumPolicies are of kinds that not every cluster has.
	adminPolicies  []adminPolicy
	ciliumPolicies []ciliumPolicy
	// read are the kinds that are known to have been looked for; nil if that is not
	// known, as of what kubectl prints.
	read []string
}

func (c *cluster) pod(ns, app string, i int) *pod {
	for _, p := range c.pods {
		if p.ns == ns && p.labels["app"] == app {
			if i == 0 {
				return p
			}
			i--
		}
	}
	return nil
}

func (c *cluster) service(ns, name string) *service {
	for _, s := range c.services {
		if s.ns == ns && s.name == name {
			return s
		}
	}
	return nil
}

func (c *cluster) namespace(name string) namespace {
	i := slices.IndexFunc(c.namespaces, func(n namespace) bool { return n.name == name })
	return c.namespaces[i]
}

// endpoint is one address of a Service.
type endpoint struct {
	addr        netip.Addr
	pod         *pod
	ready       bool
	terminating bool
}

// endpoints are the addresses of one family that an EndpointSlice lists.
func (c *cluster) endpoints(s *service, six bool) []endpoint {
	var out []endpoint
	for _, a := range s.fixed {
		if a.Is6() == six {
			out = append(out, endpoint{addr: a, ready: true})
		}
	}
	for _, p := range c.pods {
		if s.selector != nil && p.ns == s.ns && selects(s.selector, p.labels) {
			out = append(out, endpoint{addr: p.ip(six), pod: p, ready: !p.notReady && !p.terminating, terminating: p.terminating})
		}
	}
	return out
}

// targets are the addresses that the node's rules translate to.
func (c *cluster) targets(s *service, six bool) []netip.Addr {
	var out []netip.Addr
	if s.stale != nil {
		for _, a := range s.stale {
			if a.Is6() == six {
				out = append(out, a)
			}
		}
		return out
	}
	all := c.endpoints(s, six)
	for _, e := range all {
		if e.ready && c.local(s, e) {
			out = append(out, e.addr)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, e := range all { // the last resort since KEP-1669
		if e.terminating && c.local(s, e) {
			out = append(out, e.addr)
		}
	}
	return out
}

// local: the Service's traffic policy lets this node use the endpoint.
func (c *cluster) local(s *service, e endpoint) bool {
	return !s.internalLocal || e.pod != nil && e.pod.node == c.p.node
}

// elsewhere: the Service has endpoints, none of which this node may use.
func (c *cluster) elsewhere(s *service, six bool) bool {
	return s.internalLocal && len(c.endpoints(s, six)) > 0
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// selected lists the pods of this node that a policy applies to. Pods on the
// host network are beyond every policy.
func (c *cluster) selected(pol policy) []*pod {
	var out []*pod
	for _, p := range c.pods {
		if p.ns == pol.ns && !p.hostNetwork && p.node == c.p.node && (pol.app == "" || p.labels["app"] == pol.app) {
			out = append(out, p)
		}
	}
	return out
}

// peers lists the addresses of one family that a rule allows, nil for any.
func (c *cluster) peers(pol policy, r allowRule, six bool) []netip.Prefix {
	if r.block.IsValid() {
		if r.block.Addr().Is6() != six {
			return []netip.Prefix{}
		}
		return []netip.Prefix{r.block}
	}
	out := []netip.Prefix{}
	for _, p := range c.pods {
		inNS := p.ns == pol.ns
		if r.namespaces != nil {
			inNS = selects(r.namespaces, c.namespace(p.ns).labels)
		}
		if inNS && !p.hostNetwork && selects(r.pods, p.labels) {
			a := p.ip(six)
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}
