package cluster

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// app is a workload with its pods, and the Service in front of it.
type app struct {
	namespace, name string
	kind            string // Deployment, StatefulSet or DaemonSet
	replicas        int
	hostNetwork     bool
	dual            bool
	labels          map[string]string
	hash            string // of the current ReplicaSet
	spec            corev1.PodSpec
	pods            []*corev1.Pod
}

var parts = []string{
	"api", "web", "worker", "gateway", "cache", "queue", "ledger", "mailer", "index", "sync", "auth", "feed", "report", "stream",
	"router", "scorer", "importer", "exporter", "scheduler", "notifier",
}

// planApps decides which workloads there are and how many pods each has: first
// the agents of every node, then many small workloads and a few large ones, one
// for most Services, until the pods are used up.
func (m *maker) planApps() {
	left := m.size.Pods
	for i, name := range []string{"kube-proxy", "cni-agent", "node-exporter", "log-agent"} {
		if left < 4*m.size.Nodes {
			break
		}
		a := m.newApp(0, name, "DaemonSet")
		a.replicas, a.hostNetwork = m.size.Nodes, i < 3
		left -= m.size.Nodes
	}
	dns := m.newApp(0, "coredns", "Deployment")
	dns.labels["k8s-app"] = "kube-dns"
	dns.replicas = min(2, left)
	left -= dns.replicas
	most := max(1, m.size.Services-len(m.apps))
	for i := 0; left > 0; i++ {
		kind := "Deployment"
		if m.some(0.1) {
			kind = "StatefulSet"
		}
		ns := i % m.size.Namespaces
		a := m.newApp(ns, fmt.Sprintf("%s-%s-%d", m.pick(parts), m.pick(parts), i), kind)
		a.replicas = min(left, m.replicas())
		if i >= most-1 {
			a.replicas = left
		}
		left -= a.replicas
	}
}

// replicas is mostly one to three, seldom dozens.
func (m *maker) replicas() int {
	switch f := m.rnd.Float64(); {
	case f < 0.45:
		return 1
	case f < 0.80:
		return 2
	case f < 0.95:
		return 3
	case f < 0.995:
		return 4 + m.rnd.IntN(8)
	}
	return 20 + m.rnd.IntN(60)
}

func (m *maker) newApp(namespace int, name, kind string) *app {
	a := &app{
		namespace: m.Namespaces[namespace].Name, name: name, kind: kind, dual: m.some(m.size.Dual), hash: m.suffix(10),
		labels: map[string]string{
			"app": name, "app.kubernetes.io/name": name, "app.kubernetes.io/instance": name,
			"app.kubernetes.io/managed-by": "Helm", "tier": m.pick([]string{"front", "back", "data"}),
		},
	}
	a.spec = m.podSpec(a)
	m.apps = append(m.apps, a)
	return a
}
