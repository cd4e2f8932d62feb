package kube

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Snapshot is the cluster at one moment. It never changes, so any number of
// goroutines may read it, and everything that is derived for one flow comes
// from one state of the cluster. Objects and lists that it returns are shared:
// read them only.
type Snapshot struct {
	taken time.Time
	// at and later are set by Store.At: the moment that was asked for, and the
	// newest state, to recognise what the API reported late.
	at    time.Time
	later *Snapshot

	pods       index[Key, *Pod]
	placed     index[bucket, []*Pod]
	podIPs     index[netip.Addr, []*Pod]
	hostPorts  index[hostPort, []*Pod]
	published  index[publishedPort, []*Pod]
	former     index[netip.Addr, Former]
	services   index[Key, *Service]
	vips       index[netip.Addr, []vip]
	nodePorts  index[nodePort, []*Service]
	slices     index[Key, *EndpointSlice]
	ofService  index[Key, []*EndpointSlice]
	namespaces index[Key, *Namespace]
	policies   index[Key, *NetworkPolicy]
	ofNS       index[string, []*NetworkPolicy]
	replicas   index[Key, *ReplicaSet]
	cidrs      index[Key, *ServiceCIDR]
	events     index[Key, *Event]
	ofPod      index[Key, []*Event]
	// Policies that are custom objects, by kind, and as they are looked up.
	clusterWide [kindClusterPolicy - kindAdminPolicy + 1]index[Key, *ClusterPolicy]
	ofCNI       [kinds - kindGlobalPolicy]index[Key, *CNIPolicy]
	tiers       [policyTiers][]*ClusterPolicy
	cniPolicies map[string][]*CNIPolicy // by namespace

	nodes nodeTable
	near  *neighbours
	down  *downAgents
	// unread are the kinds that could not be read.
	unread [kinds]bool
	// read are the kinds that only some clusters have, and that could be read.
	read [kinds]bool
	// eventsOf are the pods of which the Events are known, also that there are none,
	// with the UID that each had.
	eventsOf map[Key]string
	// ranges are the Service ranges, guessed from the ClusterIPs unless
	// rangesKnown.
	ranges      []netip.Prefix
	rangesKnown bool
	// changes are what changed of Services of late.
	changes []ServiceChange
}

// hostPort is a port that a hostNetwork pod declares on a node's address.
type hostPort struct {
	ip    netip.Addr
	port  uint16
	proto uint8
}

// publishedPort is a port of a node that a pod of it wants to lead to it.
type publishedPort struct {
	node  string
	port  uint16
	proto uint8
}

type nodePort struct {
	port  uint16
	proto uint8
}

// vip is an address that belongs to a Service.
type vip struct {
	service *Service
	kind    FrontendKind
}

// Former is the last pod that had an address, after the API stopped saying so.
type Former struct {
	Pod *Pod
	// Gone is when the deletion, the end or the change of address was learned.
	Gone time.Time
}

// op is one change: the new version of an object, or nil for a deletion; or, if
// all is not nil, every object of a kind that there is; or that a kind cannot be
// read.
type op struct {
	kind   kind
	key    Key
	obj    object
	all    []object
	unread bool
	// of are the pods that the objects are about, where all is of these only (Event).
	of map[Key]string
	// listed: it is one of all there are.
	listed bool
	at     time.Time
}

// kind numbers the kinds that a snapshot holds.
type kind uint8

const (
	kindPod kind = iota
	kindService
	kindSlice
	kindNode
	kindNamespace
	kindPolicy
	kindReplicaSet
	kindServiceCIDR
	kindEvent
	kindAdminPolicy
	kindBaselinePolicy
	kindClusterPolicy
	kindGlobalPolicy
	kindCalicoPolicy
	kindCiliumPolicy
	kindCiliumClusterwidePolicy
	kinds
)

func (k kind) String() string {
	return [kinds]string{
		"Pod", "Service", "EndpointSlice", "Node", "Namespace", "NetworkPolicy", "ReplicaSet", "ServiceCIDR", "Event",
		"AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy",
		tracer.KindGlobalPolicy, tracer.KindCalicoPolicy, "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy",
	}[k]
}

// custom: not every cluster has it.
func (k kind) custom() bool { return k > kindEvent }

func kindOf(o object) kind {
	switch o := o.(type) {
	case *Pod:
		return kindPod
	case *Service:
		return kindService
	case *EndpointSlice:
		return kindSlice
	case *Node:
		return kindNode
	case *Namespace:
		return kindNamespace
	case *NetworkPolicy:
		return kindPolicy
	case *ReplicaSet:
		return kindReplicaSet
	case *ClusterPolicy:
		return o.kind
	case *CNIPolicy:
		return o.kind
	case *Event:
		return kindEvent
	default:
		return kindServiceCIDR
	}
}

// builder makes the next snapshot out of one and a batch of changes.
type builder struct {
	next    Snapshot
	changed [kinds]bool
	count   int
	// formerSet are the addresses that lost their pod in this batch.
	formerSet map[netip.Addr]time.Time

	pods       *editor[Key, *Pod]
	placed     *editor[bucket, []*Pod]
	podIPs     *editor[netip.Addr, []*Pod]
	hostPorts  *editor[hostPort, []*Pod]
	published  *editor[publishedPort, []*Pod]
	former     *editor[netip.Addr, Former]
	services   *editor[Key, *Service]
	vips       *editor[netip.Addr, []vip]
	nodePorts  *editor[nodePort, []*Service]
	slices     *editor[Key, *EndpointSlice]
	ofService  *editor[Key, []*EndpointSlice]
	namespaces *editor[Key, *Namespace]
	policies   *editor[Key, *NetworkPolicy]
	ofNS       *editor[string, []*NetworkPolicy]
	replicas   *editor[Key, *ReplicaSet]
	cidrs      *editor[Key, *ServiceCIDR]
	events     *editor[Key, *Event]
	ofPod      *editor[Key, []*Event]
	nodes      map[Key]*Node

	clusterWide [kindClusterPolicy - kindAdminPolicy + 1]*editor[Key, *ClusterPolicy]
	ofCNI       [kinds - kindGlobalPolicy]*editor[Key, *CNIPolicy]

	changes []ServiceChange // in this batch
}

func newBuilder(s *Snapshot) *builder {
	b := &builder{
		next: *s, formerSet: make(map[netip.Addr]time.Time),
		pods: s.pods.edit(), placed: s.placed.edit(), podIPs: s.podIPs.edit(), hostPorts: s.hostPorts.edit(), published: s.published.edit(), former: s.former.edit(),
		services: s.services.edit(), vips: s.vips.edit(), nodePorts: s.nodePorts.edit(),
		slices: s.slices.edit(), ofService: s.ofService.edit(), namespaces: s.namespaces.edit(),
		policies: s.policies.edit(), ofNS: s.ofNS.edit(), replicas: s.replicas.edit(), cidrs: s.cidrs.edit(),
		events: s.events.edit(), ofPod: s.ofPod.edit(),
	}
	b.next.at, b.next.later = time.Time{}, nil
	for i := range b.clusterWide {
		b.clusterWide[i] = s.clusterWide[i].edit()
	}
	for i := range b.ofCNI {
		b.ofCNI[i] = s.ofCNI[i].edit()
	}
	return b
}

// apply takes one change in. Versions that say nothing new are passed over.
func (b *builder) apply(o op) {
	switch {
	case o.unread:
		b.next.unread[o.kind], b.next.read[o.kind] = true, false
		b.about(o)
		b.note(o.kind)
		return
	case o.all != nil:
		b.next.unread[o.kind] = false
		b.about(o)
		b.replace(o)
		return
	}
	switch o.kind {
	case kindPod:
		change(b, b.pods, o, b.unindexPod, b.indexPod)
	case kindService:
		change(b, b.services, b.date(o), b.unindexService, b.indexService)
	case kindSlice:
		change(b, b.slices, b.date(o),
			func(s *EndpointSlice, _ op) { removeFrom(b.ofService, s.serviceKey(), s) },
			func(s *EndpointSlice, _ op) { addTo(b.ofService, s.serviceKey(), s) })
	case kindPolicy:
		change(b, b.policies, o,
			func(p *NetworkPolicy, _ op) { removeFrom(b.ofNS, p.Namespace, p) },
			func(p *NetworkPolicy, _ op) { addTo(b.ofNS, p.Namespace, p) })
	case kindNamespace:
		change(b, b.namespaces, o, nil, nil)
	case kindReplicaSet:
		change(b, b.replicas, o, nil, nil)
	case kindServiceCIDR:
		change(b, b.cidrs, o, nil, nil)
	case kindEvent:
		change(b, b.events, o,
			func(e *Event, _ op) { removeFrom(b.ofPod, e.Pod, e) },
			func(e *Event, _ op) { addTo(b.ofPod, e.Pod, e) })
	case kindNode:
		b.applyNode(o)
	case kindAdminPolicy, kindBaselinePolicy, kindClusterPolicy:
		b.have(o.kind)
		change(b, b.clusterWide[o.kind-kindAdminPolicy], o, nil, nil)
	default:
		b.have(o.kind)
		change(b, b.ofCNI[o.kind-kindGlobalPolicy], o, nil, nil)
	}
}

// changedPolicies reports whether policies of any kind are others now.
func (b *builder) changedPolicies() bool {
	for k := kindAdminPolicy; k < kinds; k++ {
		if b.changed[k] {
			return true
		}
	}
	return b.changed[kindPolicy]
}

// replace removes the objects of a kind that are not among all there are, and
// takes in those that are.
func (b *builder) replace(o op) {
	stay := make(map[Key]bool, len(o.all))
	for _, obj := range o.all {
		stay[obj.Key()] = true
	}
	b.have(o.kind)
	for _, k := range b.keys(o.kind) {
		if !stay[k] {
			b.apply(op{kind: o.kind, key: k, at: o.at})
		}
	}
	for _, obj := range o.all {
		b.apply(op{kind: o.kind, key: obj.Key(), obj: obj, at: o.at, listed: true})
	}
}

// have notes that a kind which not every cluster has could be read.
func (b *builder) have(k kind) {
	if k.custom() && !b.next.read[k] {
		b.next.read[k] = true
		b.note(k)
	}
}

// about notes of which pods the Events are known now, if it is Events.
func (b *builder) about(o op) {
	if o.kind == kindEvent {
		b.next.eventsOf = o.of
		b.note(o.kind)
	}
}

// keys are the names of all objects of a kind.
func (b *builder) keys(k kind) []Key {
	switch k {
	case kindPod:
		return b.pods.ix.keys()
	case kindService:
		return b.services.ix.keys()
	case kindSlice:
		return b.slices.ix.keys()
	case kindPolicy:
		return b.policies.ix.keys()
	case kindNamespace:
		return b.namespaces.ix.keys()
	case kindReplicaSet:
		return b.replicas.ix.keys()
	case kindServiceCIDR:
		return b.cidrs.ix.keys()
	case kindEvent:
		return b.events.ix.keys()
	case kindNode:
		b.ownNodes()
		return slices.Collect(maps.Keys(b.nodes))
	case kindAdminPolicy, kindBaselinePolicy, kindClusterPolicy:
		return b.clusterWide[k-kindAdminPolicy].ix.keys()
	}
	return b.ofCNI[k-kindGlobalPolicy].ix.keys()
}

// change replaces or removes one object and keeps its indexes in step.
func change[T interface {
	comparable
	object
}](b *builder, e *editor[Key, T], o op, out, in func(T, op)) {
	old, had := e.get(o.key)
	if o.obj == nil {
		if !had {
			return
		}
		if out != nil {
			out(old, o)
		}
		e.del(o.key)
		b.note(o.kind)
		return
	}
	neu := o.obj.(T)
	if had {
		if same(old, neu) {
			return
		}
		if out != nil {
			out(old, o)
		}
	}
	e.set(o.key, neu)
	if in != nil {
		in(neu, o)
	}
	b.note(o.kind)
}

func (b *builder) note(k kind) {
	b.changed[k] = true
	b.count++
}

func (b *builder) indexPod(p *Pod, _ op) {
	addTo(b.placed, bucketOf(p), p)
	p.eachPublished(func(k publishedPort) { addTo(b.published, k, p) })
	for _, ip := range p.IPs {
		switch {
		case p.ownsIPs():
			addTo(b.podIPs, ip, p)
			b.former.del(ip)
		case p.HostNetwork && !p.Finished():
			for _, c := range p.Ports {
				addTo(b.hostPorts, hostPort{ip, c.Port, c.Proto}, p)
			}
		}
	}
}

func (b *builder) unindexPod(p *Pod, o op) {
	removeFrom(b.placed, bucketOf(p), p)
	p.eachPublished(func(k publishedPort) { removeFrom(b.published, k, p) })
	for _, ip := range p.IPs {
		if p.ownsIPs() {
			removeFrom(b.podIPs, ip, p)
			if now, _ := o.obj.(*Pod); now == nil || !now.ownsIPs() || !now.HasIP(ip) {
				b.former.set(ip, Former{Pod: p, Gone: o.at})
				b.formerSet[ip] = o.at
			}
			continue
		}
		for _, c := range p.Ports {
			removeFrom(b.hostPorts, hostPort{ip, c.Port, c.Proto}, p)
		}
	}
}

func (b *builder) indexService(s *Service, _ op) {
	s.eachVIP(func(ip netip.Addr, k FrontendKind) { addTo(b.vips, ip, vip{s, k}) })
	for _, p := range s.Ports {
		if p.NodePort != 0 {
			addTo(b.nodePorts, nodePort{p.NodePort, p.Proto}, s)
		}
	}
}

func (b *builder) unindexService(s *Service, _ op) {
	s.eachVIP(func(ip netip.Addr, k FrontendKind) { removeFrom(b.vips, ip, vip{s, k}) })
	for _, p := range s.Ports {
		if p.NodePort != 0 {
			removeFrom(b.nodePorts, nodePort{p.NodePort, p.Proto}, s)
		}
	}
}

func (s *Service) eachVIP(f func(netip.Addr, FrontendKind)) {
	for _, ip := range s.ClusterIPs {
		f(ip, FrontendClusterIP)
	}
	for _, ip := range s.ExternalIPs {
		f(ip, FrontendExternalIP)
	}
	for _, ip := range s.LoadBalancerIPs {
		f(ip, FrontendLoadBalancer)
	}
}

func (s *EndpointSlice) serviceKey() Key { return Key{s.Namespace, s.Service} }

// ownNodes copies the nodes, which are not in an index.
func (b *builder) ownNodes() {
	if b.nodes != nil {
		return
	}
	b.nodes = make(map[Key]*Node, len(b.next.nodes.byName)+1)
	for name, n := range b.next.nodes.byName {
		b.nodes[Key{Name: name}] = n
	}
}

func (b *builder) applyNode(o op) {
	b.ownNodes()
	old, had := b.nodes[o.key]
	switch {
	case o.obj == nil && had:
		delete(b.nodes, o.key)
	case o.obj != nil && !(had && same(old, o.obj)):
		b.nodes[o.key] = o.obj.(*Node)
	default:
		return
	}
	b.note(kindNode)
}

// done seals the snapshot.
func (b *builder) done(taken time.Time) *Snapshot {
	s := b.next
	s.taken, s.changes = taken, b.recentChanges(taken)
	s.pods, s.placed, s.podIPs, s.hostPorts, s.published, s.former = b.pods.done(), b.placed.done(), b.podIPs.done(), b.hostPorts.done(), b.published.done(), b.former.done()
	s.services, s.vips, s.nodePorts = b.services.done(), b.vips.done(), b.nodePorts.done()
	s.slices, s.ofService = b.slices.done(), b.ofService.done()
	s.namespaces, s.replicas, s.cidrs = b.namespaces.done(), b.replicas.done(), b.cidrs.done()
	s.events, s.ofPod = b.events.done(), b.ofPod.done()
	if b.changed[kindPod] || s.near == nil {
		s.near, s.down = &neighbours{}, &downAgents{}
	}
	if b.changed[kindPolicy] {
		b.sortPolicies()
	}
	s.policies, s.ofNS = b.policies.done(), b.ofNS.done()
	if b.changedPolicies() {
		for i := range b.clusterWide {
			s.clusterWide[i] = b.clusterWide[i].done()
		}
		for i := range b.ofCNI {
			s.ofCNI[i] = b.ofCNI[i].done()
		}
		s.sortTiers()
		s.sortCNIPolicies()
	}
	if b.changed[kindNode] {
		s.nodes = newNodeTable(b.nodes)
	}
	if b.changed[kindService] || b.changed[kindServiceCIDR] {
		s.ranges, s.rangesKnown = serviceRanges(&s)
	}
	return &s
}

// sortPolicies orders the policies of each namespace by name, so that what is
// said about them does not depend on the order they arrived in.
func (b *builder) sortPolicies() {
	type sorted struct {
		ns   string
		list []*NetworkPolicy
	}
	var todo []sorted
	byName := func(x, y *NetworkPolicy) int { return strings.Compare(x.Name, y.Name) }
	for ns, list := range b.ofNS.ix.all() {
		if !slices.IsSortedFunc(list, byName) {
			c := slices.Clone(list)
			slices.SortFunc(c, byName)
			todo = append(todo, sorted{ns, c})
		}
	}
	for _, t := range todo {
		b.ofNS.set(t.ns, t.list)
	}
}

// newSnapshot builds a snapshot from scratch.
func newSnapshot(objs []object, taken time.Time) *Snapshot {
	b := newBuilder(&Snapshot{})
	for _, o := range objs {
		b.apply(op{kind: kindOf(o), key: o.Key(), obj: o, at: taken, listed: true})
	}
	return b.done(taken)
}
