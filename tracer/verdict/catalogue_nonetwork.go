package verdict

import "github.com/podpath/podpath/tracer"

// noNetworkEntries are of pods that have no network, so that there is no packet.
func noNetworkEntries() []Entry {
	c := tracer.ComponentCNI
	describe := "kubectl -n {stuck.ns} describe pod {stuck.pod}: what the Events say last"
	return []Entry{
		{Code: "cni-no-ip-exhausted", Component: c, Title: "a pod stays in ContainerCreating: its CNI gives it no address", Shown: "cluster",
			Meaning:  "The CNI's allocator has no address left for this node: its range is used up, or full of addresses of pods that are gone; on AWS, the node's network interfaces or the subnet are full, or its agent has got none for another reason (its rights, its reach to the API), of which the plugin says the same.",
			Evidence: "No packet: there is no network yet. The pod's Events (FailedCreatePodSandBox) with the words of the allocator, 20 seconds or more after the pod was given to its node. How many pods of the node have an address, and the node's range, stand beside it.",
			LookAlikes: []string{
				"cni-daemon-down: the plugin does not reach the CNI's agent at all", "cni-config-missing: the runtime has no CNI, or a part of it is missing",
				"a pod that was given to its node just now: it is no fault yet", "an image that is pulled, or a volume that is not mounted: the network is not what it waits for",
				"a pod that no node takes (Pending, Unschedulable): the scheduler says why",
			},
			Remedy: []string{
				describe + "; kubectl get pods -A -o wide --field-selector spec.nodeName={stuck.node}: who has the addresses",
				"meanwhile, new pods elsewhere: kubectl cordon {stuck.node}, then delete the pod, if something makes it anew: kubectl -n {stuck.ns} delete pod {stuck.pod}",
				"AWS: more addresses for each interface: kubectl -n kube-system set env ds/aws-node ENABLE_PREFIX_DELEGATION=true (Nitro instances), or more of them kept ready: WARM_IP_TARGET=5; if the subnet is full, add a larger one, or take a larger instance",
				"host-local (flannel, bridge, kindnet): on {stuck.node}, each file in /var/lib/cni/networks/*/ is an address: after a crash they stay for pods that are gone; remove those whose container is no more (crictl pods -q)",
				"a larger range: --node-cidr-mask-size of the controller manager for new nodes; an IPPool of Calico's (calicoctl ipam show --show-blocks); clusterPoolIPv4PodCIDRList of Cilium's",
			}},
		{Code: "cni-daemon-down", Component: c, Title: "a pod stays in ContainerCreating: the CNI's agent on its node does not run", Shown: "cluster",
			Meaning:  "The agent of the CNI on the pod's node (aws-node, calico-node, kube-flannel, cilium, …) is not there, not ready, or does not answer the plugin that is to make the pod's network. Pods that have their network keep it.",
			Evidence: "No packet: there is no network yet. The pod's Events with a plugin that does not reach its agent; or a network that cannot be made, and the agent's pod on the node that is missing or not ready. If the Events could not be read, the agent's state and a pod that has waited for 20 seconds or more.",
			LookAlikes: []string{
				"cni-no-ip-exhausted: the agent answers, and has no address", "cni-config-missing: nothing of a CNI is set up, or its node has no range; the agent runs, or there is none",
				"cni-host-route-missing, cni-overlay-fdb-missing: what an agent that is down has not set up, where the pod has its network",
			},
			Remedy: []string{
				"kubectl -n {agent.ns} get pods -o wide --field-selector spec.nodeName={stuck.node}; kubectl -n {agent.ns} logs {agent.pod} --all-containers --previous: why it ended",
				"restart it: kubectl -n {agent.ns} delete pod {agent.pod}, or on all nodes: kubectl -n {agent.ns} rollout restart ds/{agent.ds}",
				"it ends again: its rights (RBAC; on AWS the policy AmazonEKS_CNI_Policy), its reach to the API server, its memory limit; a version that suits this Kubernetes: upgrade the CNI",
				"it has no pod on the node: kubectl -n {agent.ns} describe ds {agent.ds}: its nodeSelector and tolerations against the node's labels and taints; if that CNI was removed, remove its file from /etc/cni/net.d on {stuck.node}",
			}},
		{Code: "cni-config-missing", Component: c, Title: "a pod stays in ContainerCreating: its node has no CNI", Shown: "cluster",
			Meaning:  "The container runtime of the pod's node finds no CNI configuration, or what that needs is missing: the plugin's program, flannel's subnet.env, a range for the node, a pool.",
			Evidence: "No packet: there is no network yet. The node's condition Ready is False with the runtime's words (\"cni plugin not initialized\") for 20 seconds or more, or the pod's Events have them, or those of a plugin that lacks its part.",
			LookAlikes: []string{
				"cni-daemon-down: the agent that writes the configuration is there, and does not run", "cni-no-ip-exhausted: the plugin runs, and gets no address",
				"a node that has been lost (Ready is Unknown), or that was just started: no fault of the CNI's",
				"NetworkUnavailable is True (NoRouteCreated): the cloud has not made the routes to the node, which says nothing of its CNI; it stands beside as evidence",
			},
			Remedy: []string{
				describe + "; kubectl describe node {stuck.node}: Conditions",
				"on {stuck.node}: ls /etc/cni/net.d /opt/cni/bin; flannel: cat /run/flannel/subnet.env, which its agent writes when it has got the node's range",
				"install the CNI, or have it installed again: kubectl -n {agent.ns} rollout restart ds/{agent.ds}; kubectl get ds -A lists what runs on every node",
				"kubectl get node {stuck.node} -o jsonpath='{.spec.podCIDR}': if empty, the controller manager gives no ranges: --allocate-node-cidrs=true --cluster-cidr=RANGE (kubeadm: --pod-network-cidr)",
			}},
	}
}
