package verdict

import "github.com/podpath/podpath/tracer"

func dnsEntries() []Entry {
	return []Entry{
		{Code: "dns-nodelocal-broken", Component: tracer.ComponentDNS, Title: "every lookup on one node is refused", Shown: "lab",
			Meaning:    "Pods ask the DNS cache on their own node, which is not running there, while its address still is.",
			Evidence:   "NO_SOCKET in the node's namespace for a query to a link-local address, and the ICMP refusal.",
			LookAlikes: []string{"dns-coredns-down: the cluster's DNS Service is asked", "pol-nodelocal-dns: a policy drops the query before"},
			Remedy:     []string{"kubectl -n kube-system get pods -l k8s-app=node-local-dns -o wide --field-selector spec.nodeName={node}", "restart it: kubectl -n kube-system delete pod -l k8s-app=node-local-dns --field-selector spec.nodeName={node}"}},
		{Code: "dns-throttled", Component: tracer.ComponentDNS, Title: "lookups are lost under load", Shown: "lab",
			Meaning:    "A DNS pod does not read its socket fast enough: it lacks CPU, or gets more queries than it can answer.",
			Evidence:   "SOCKET_RCVBUFF in the namespace of a DNS pod.",
			LookAlikes: []string{"app-udp-rcvbuf: another application's pod"},
			Remedy:     []string{"kubectl -n kube-system top pod {dst.pod}: raise its CPU limit, or add replicas: kubectl -n kube-system scale deployment coredns --replicas=N", "cache on each node (NodeLocal DNSCache); fewer queries per lookup (ndots, names with a final dot)"}},
		{Code: "dns-coredns-down", Component: tracer.ComponentDNS, Title: "no name resolves: cluster DNS has no pod that answers", Shown: "lab",
			Meaning:    "The cluster's DNS Service has no ready endpoint, so the proxy rejects every query; or an endpoint of it has no process that listens.",
			Evidence:   "EndpointSlices of the DNS Service without a ready endpoint, and the REJECT; or the refusal by the DNS pod and its listening sockets.",
			LookAlikes: []string{"pol-dns-egress: the query is dropped, and the DNS pods are ready"},
			Remedy:     []string{"kubectl -n {svc.ns} get pods -l k8s-app=kube-dns -o wide; kubectl -n {svc.ns} logs -l k8s-app=kube-dns", "kubectl -n {svc.ns} describe service {svc}: does its selector match the DNS pods?"}},
	}
}
