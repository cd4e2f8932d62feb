// Package k8s runs a real two-node Kubernetes on one machine: etcd, the
// API server, the controllers, the scheduler, kube-proxy, flannel, Calico and
// CoreDNS, unmodified, each node and each pod in a network namespace.
//
// Everything lives in a process namespace and a mount namespace of its own
// (Isolate). When their first process ends, however it ends, the kernel ends
// every other one and takes away namespaces and mounts; what remains are files
// in the run folder.
//
// In the light layout there are no kubelets: a pod is an API object, a network
// namespace that the real CNI plugins set up, and whatever process the caller
// starts in it.
package k8s
