package verdict

import "github.com/podpath/podpath/tracer"

func dnsEntries() []Entry {
	d := tracer.ComponentDNS
	return []Entry{
		{Code: "dns-nxdomain-search", Component: d, Title: "\"no such host\": the name does not exist", Shown: "lab",
			Meaning:    "DNS works, and says that the name does not exist, for every try of the client's search list: a typing error, a wrong namespace, or a Service that is not there.",
			Evidence:   "NXDOMAIN answers that reached the client, and no answer with records to it within two seconds after. Tries of a search list that ends well are healthy.",
			LookAlikes: []string{"dns-servfail: the resolver could not find out", "dns-resolvconf-wrong: the resolver is not the cluster's"},
			Remedy:     []string{"kubectl -n {src.ns} exec {src.pod} -- cat /etc/resolv.conf: the short name is tried in these domains", "kubectl get services -A: is NAME.NAMESPACE.svc.cluster.local what is meant? end outside names with a dot, or lower ndots, to spare the search"}},
		{Code: "dns-servfail", Component: d, Title: "some names fail with SERVFAIL", Shown: "lab",
			Meaning:    "The query reached the resolver and was answered with a failure: its upstream does not answer or fails, or the cluster's DNS does not reach the API server.",
			Evidence:   "SERVFAIL, or another failure, in an answer that reached the client, and how long it took; seconds speak for an upstream that is silent.",
			LookAlikes: []string{"dns-nxdomain-search: the name does not exist", "dns-coredns-down: nobody answers"},
			Remedy:     []string{"trace the DNS pods' own lookups: podpath trace --from kube-system/svc/kube-dns --to internet", "kubectl -n kube-system get configmap coredns -o yaml (forward); kubectl -n kube-system logs -l k8s-app=kube-dns", "names of the cluster fail as well: does the DNS pod reach the API server?"}},
		{Code: "dns-refused", Component: d, Title: "lookups are answered with REFUSED", Shown: "lab",
			Meaning:    "The resolver does not serve that name, or not this client: no zone of its configuration matches, or an access list leaves the client out.",
			Evidence:   "REFUSED in an answer that reached the client.",
			LookAlikes: []string{"app-no-listener: nobody listens, which an ICMP message says"},
			Remedy:     []string{"kubectl -n kube-system get configmap coredns -o yaml: which zones are served, is there an acl?"}},
		{Code: "dns-slow", Component: d, Title: "lookups take seconds", Shown: "lab",
			Meaning:    "The lookup was answered, after a second or more: the resolver or its upstream is slow, or a question was lost and sent again.",
			Evidence:   "The time between the question and its answer at the client, and whether it was sent more than once.",
			LookAlikes: []string{"svc-conntrack-race: sent again, and conntrack refused an entry meanwhile"},
			Remedy:     []string{"kubectl -n kube-system top pods -l k8s-app=kube-dns; kubectl -n kube-system logs -l k8s-app=kube-dns", "lost questions: a cache on each node (NodeLocal DNSCache) asks the cluster's DNS over TCP"}},
		{Code: "dns-resolvconf-wrong", Component: d, Title: "a pod asks a resolver that is not the cluster's", Shown: "lab",
			Meaning:    "The pod's resolv.conf names a resolver outside, which does not know the names of the cluster: dnsPolicy Default, hostNetwork without ClusterFirstWithHostNet, or a wrong clusterDNS of the kubelet.",
			Evidence:   "A pod's query to an address outside, answered with NXDOMAIN or REFUSED.",
			LookAlikes: []string{"dns-nxdomain-search: the cluster's DNS says so"},
			Remedy:     []string{"kubectl -n {src.ns} get pod {src.pod} -o jsonpath='{.spec.dnsPolicy}'; ClusterFirst asks the cluster's DNS", "kubectl -n {src.ns} exec {src.pod} -- cat /etc/resolv.conf"}},
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
			Evidence:   "EndpointSlices of the DNS Service without a ready endpoint, and the REJECT; or the refusal by the DNS pod, on this node or another, and, if it is here, its listening sockets.",
			LookAlikes: []string{"pol-dns-egress: the query is dropped, and the DNS pods are ready"},
			Remedy:     []string{"kubectl -n {svc.ns} get pods -l k8s-app=kube-dns -o wide; kubectl -n {svc.ns} logs -l k8s-app=kube-dns", "kubectl -n {svc.ns} describe service {svc}: does its selector match the DNS pods?"}},
	}
}
