package lab

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// objects is a dump, decoded.
type objects struct {
	pods     map[string]corev1.Pod
	services map[string]corev1.Service
	slices   []discoveryv1.EndpointSlice
	policies []networkingv1.NetworkPolicy
	nodes    []corev1.Node
	spaces   map[string]corev1.Namespace
}

func decode(t *testing.T, l *Lab) objects {
	t.Helper()
	b, err := l.ClusterDump()
	if err != nil {
		t.Fatal(err)
	}
	var raw struct {
		Kind, APIVersion string
		Items            []json.RawMessage
	}
	if err := json.Unmarshal(b, &raw); err != nil || raw.Kind != "List" || raw.APIVersion != "v1" {
		t.Fatalf("dump is a %s/%s: %v", raw.APIVersion, raw.Kind, err)
	}
	o := objects{pods: map[string]corev1.Pod{}, services: map[string]corev1.Service{}, spaces: map[string]corev1.Namespace{}}
	for _, item := range raw.Items {
		o.add(t, item)
	}
	return o
}

func (o *objects) add(t *testing.T, item json.RawMessage) {
	t.Helper()
	var head struct{ Kind, APIVersion string }
	into(t, item, &head)
	switch head.APIVersion + " " + head.Kind {
	case "v1 Pod":
		x := into(t, item, &corev1.Pod{})
		o.pods[x.Namespace+"/"+x.Name] = *x
	case "v1 Service":
		x := into(t, item, &corev1.Service{})
		o.services[x.Namespace+"/"+x.Name] = *x
	case "discovery.k8s.io/v1 EndpointSlice":
		o.slices = append(o.slices, *into(t, item, &discoveryv1.EndpointSlice{}))
	case "networking.k8s.io/v1 NetworkPolicy":
		o.policies = append(o.policies, *into(t, item, &networkingv1.NetworkPolicy{}))
	case "v1 Node":
		o.nodes = append(o.nodes, *into(t, item, &corev1.Node{}))
	case "v1 Namespace":
		x := into(t, item, &corev1.Namespace{})
		o.spaces[x.Name] = *x
	default:
		t.Errorf("dump has a %s %s", head.APIVersion, head.Kind)
	}
}

func into[T any](t *testing.T, item json.RawMessage, x *T) *T {
	t.Helper()
	if err := json.Unmarshal(item, x); err != nil {
		t.Fatal(err)
	}
	return x
}

// paperLab is a lab without namespaces: enough for everything about objects.
func paperLab(seed uint64) *Lab {
	l := &Lab{p: newPlan(seed)}
	l.c = newCluster(l.p)
	return l
}

// TestDumpAgreesWithItself checks the references between the objects.
func TestDumpAgreesWithItself(t *testing.T) {
	for _, seed := range []uint64{0, 1, 99} {
		l := paperLab(seed)
		o := decode(t, l)
		if len(o.nodes) != 2 || len(o.pods) != len(l.c.pods) || len(o.services) != len(l.c.services) {
			t.Fatalf("seed %d: %d nodes, %d pods, %d services", seed, len(o.nodes), len(o.pods), len(o.services))
		}
		for name, x := range o.pods {
			checkPod(t, o, name, x)
		}
		for _, s := range o.slices {
			checkSlice(t, o, s)
		}
	}
}

func checkPod(t *testing.T, o objects, name string, x corev1.Pod) {
	t.Helper()
	if _, ok := o.spaces[x.Namespace]; !ok {
		t.Errorf("%s: no namespace %s", name, x.Namespace)
	}
	i := slices.IndexFunc(o.nodes, func(n corev1.Node) bool { return n.Name == x.Spec.NodeName })
	if i < 0 {
		t.Fatalf("%s: no node %s", name, x.Spec.NodeName)
	}
	node := o.nodes[i]
	for k, ip := range x.Status.PodIPs {
		a := netip.MustParseAddr(ip.IP)
		in := netip.MustParsePrefix(node.Spec.PodCIDRs[k]).Contains(a)
		if in == x.Spec.HostNetwork {
			t.Errorf("%s: address %s, host network %v, range of the node %s", name, a, x.Spec.HostNetwork, node.Spec.PodCIDRs[k])
		}
		if x.Spec.HostNetwork && node.Status.Addresses[k].Address != ip.IP {
			t.Errorf("%s: on the host network with %s, not the node's %s", name, ip.IP, node.Status.Addresses[k].Address)
		}
	}
	if x.OwnerReferences[0].Kind == "ReplicaSet" && x.OwnerReferences[0].Name != x.Spec.Containers[0].Name+"-"+x.Labels["pod-template-hash"] {
		t.Errorf("%s: owner %s, template hash %s", name, x.OwnerReferences[0].Name, x.Labels["pod-template-hash"])
	}
}

func checkSlice(t *testing.T, o objects, s discoveryv1.EndpointSlice) {
	t.Helper()
	svc, ok := o.services[s.Namespace+"/"+s.Labels[discoveryv1.LabelServiceName]]
	if !ok {
		t.Fatalf("slice %s/%s of no Service", s.Namespace, s.Name)
	}
	if len(s.Endpoints) == 0 {
		t.Errorf("slice %s/%s is empty in a healthy cluster", s.Namespace, s.Name)
	}
	for _, e := range s.Endpoints {
		if e.TargetRef == nil {
			continue
		}
		x, ok := o.pods[e.TargetRef.Namespace+"/"+e.TargetRef.Name]
		if !ok || x.UID != e.TargetRef.UID || x.Spec.NodeName != *e.NodeName {
			t.Errorf("slice %s/%s: endpoint %s is no pod", s.Namespace, s.Name, e.TargetRef.Name)
		}
		if !selects(svc.Spec.Selector, x.Labels) {
			t.Errorf("slice %s/%s: %s is not selected", s.Namespace, s.Name, x.Name)
		}
		if !slices.Contains(x.Status.PodIPs, corev1.PodIP{IP: e.Addresses[0]}) {
			t.Errorf("slice %s/%s: %s is not an address of %s", s.Namespace, s.Name, e.Addresses[0], x.Name)
		}
	}
}

// TestDumpTellsTheFault checks that the objects say what is wrong with them, and
// that they say nothing about what is wrong with the node only.
func TestDumpTellsTheFault(t *testing.T) {
	ready := func(t *testing.T, l *Lab, o objects) int {
		n := 0
		for _, s := range o.slices {
			if s.Namespace != l.p.serverNS || s.Labels[discoveryv1.LabelServiceName] != l.p.server || s.AddressType != discoveryv1.AddressTypeIPv4 {
				continue
			}
			for _, e := range s.Endpoints {
				if *e.Conditions.Ready {
					n++
				}
			}
		}
		return n
	}
	for _, tt := range []struct {
		fault           string
		ready, policies int
	}{
		{"healthy", 2, 0}, {"no-endpoints", 0, 0}, {"no-endpoints-nftables", 0, 0}, {"stale-endpoint", 2, 0},
		{"not-listening", 1, 0}, {"policy-ingress", 2, 1}, {"foreign-drop", 2, 1}, {"healthy-policy-allows", 2, 3},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			l := newLab(t, Options{Seed: 5})
			before := decode(t, l)
			if _, err := l.Break(t.Context(), tt.fault); err != nil {
				t.Fatal(err)
			}
			o := decode(t, l)
			if got := ready(t, l, o); got != tt.ready {
				t.Errorf("%d ready endpoints, want %d", got, tt.ready)
			}
			if len(o.policies) != tt.policies {
				t.Errorf("%d policies, want %d", len(o.policies), tt.policies)
			}
			if err := l.Undo(t.Context()); err != nil {
				t.Fatal(err)
			}
			if after := decode(t, l); len(after.policies) != len(before.policies) || ready(t, l, after) != ready(t, l, before) {
				t.Error("the objects are not as before after undo")
			}
		})
	}
}
