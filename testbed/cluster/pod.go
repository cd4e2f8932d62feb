package cluster

import (
	"fmt"
	"maps"
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// addPods makes the pods of every workload and places them: the first node gets
// Local of them, the others share the rest.
func (m *maker) addPods() {
	spread := 0
	for _, a := range m.apps {
		owner := m.owner(a)
		for i := range a.replicas {
			node := i
			if a.kind != "DaemonSet" {
				node = m.place(&spread)
			}
			p := m.pod(a, i, node, owner)
			a.pods = append(a.pods, p)
			m.Pods = append(m.Pods, p)
		}
	}
}

// place takes the first node until it is full, and then turns through the rest.
func (m *maker) place(spread *int) int {
	node := 0
	if m.size.Nodes > 1 && m.hosts[0].pods >= m.size.Local {
		node = 1 + *spread%(m.size.Nodes-1)
		*spread++
	}
	return node
}

// owner makes the object that owns a workload's pods, with the ReplicaSets of
// former releases that a Deployment keeps.
func (m *maker) owner(a *app) metav1.OwnerReference {
	ref := metav1.OwnerReference{APIVersion: "apps/v1", Kind: a.kind, Name: a.name, UID: m.uid(), Controller: yes(), BlockOwnerDeletion: yes()}
	if a.kind != "Deployment" {
		return ref
	}
	for range m.rnd.IntN(5) {
		m.replicaSet(a, m.suffix(10), 0, ref)
	}
	current := m.replicaSet(a, a.hash, a.replicas, ref)
	return metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: current.Name, UID: current.UID, Controller: yes(), BlockOwnerDeletion: yes()}
}

func (m *maker) replicaSet(a *app, hash string, replicas int, owner metav1.OwnerReference) *appsv1.ReplicaSet {
	labels := podLabels(a, hash)
	r := &appsv1.ReplicaSet{
		ObjectMeta: m.meta(a.namespace, a.name+"-"+hash, labels, "kube-controller-manager"),
		Spec: appsv1.ReplicaSetSpec{
			Replicas: value(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: a.spec},
		},
		Status: appsv1.ReplicaSetStatus{Replicas: int32(replicas), ReadyReplicas: int32(replicas), ObservedGeneration: 1},
	}
	r.OwnerReferences = []metav1.OwnerReference{owner}
	r.Annotations = map[string]string{"deployment.kubernetes.io/desired-replicas": fmt.Sprint(replicas), "deployment.kubernetes.io/revision": "3"}
	m.ReplicaSets = append(m.ReplicaSets, r)
	return r
}

func podLabels(a *app, hash string) map[string]string {
	labels := maps.Clone(a.labels)
	if a.kind == "Deployment" {
		labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	} else {
		labels[appsv1.ControllerRevisionHashLabelKey] = hash
	}
	return labels
}

func (m *maker) pod(a *app, i, node int, owner metav1.OwnerReference) *corev1.Pod {
	name := a.name + "-" + a.hash + "-" + m.suffix(5)
	switch a.kind {
	case "StatefulSet":
		name = fmt.Sprintf("%s-%d", a.name, i)
	case "DaemonSet":
		name = a.name + "-" + m.suffix(5)
	}
	h := &m.hosts[node]
	h.pods++
	p := &corev1.Pod{ObjectMeta: m.meta(a.namespace, name, podLabels(a, a.hash), "kube-controller-manager"), Spec: a.spec}
	p.OwnerReferences = []metav1.OwnerReference{owner}
	p.Annotations = map[string]string{
		"checksum/config": m.suffix(64), "prometheus.io/scrape": "true", "prometheus.io/port": "9090",
		"kubectl.kubernetes.io/restartedAt": m.born.String(),
	}
	p.Spec.NodeName, p.Spec.HostNetwork = h.name, a.hostNetwork
	ip, ip6 := h.ip, netip.Addr{}
	if !a.hostNetwork {
		if ip, ip6 = m.podIP(node); !a.dual {
			ip6 = netip.Addr{}
		}
	}
	p.Status = m.podStatus(a, h.ip, ip, ip6)
	return p
}

// podStatus is of a running pod; some do not get ready, a few are done.
func (m *maker) podStatus(a *app, host, ip, ip6 netip.Addr) corev1.PodStatus {
	at := metav1.NewTime(m.born)
	ready := m.rnd.Float64()
	st := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: host.String(), HostIPs: []corev1.HostIP{{IP: host.String()}},
		PodIP: ip.String(), PodIPs: []corev1.PodIP{{IP: ip.String()}}, StartTime: &at, QOSClass: corev1.PodQOSBurstable,
	}
	if ip6.IsValid() {
		st.PodIPs = append(st.PodIPs, corev1.PodIP{IP: ip6.String()})
	}
	for _, c := range []corev1.PodConditionType{corev1.PodScheduled, "PodReadyToStartContainers", corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		good := ready < 0.97 || c != corev1.PodReady && c != corev1.ContainersReady
		st.Conditions = append(st.Conditions, corev1.PodCondition{Type: c, Status: isTrue(good), LastTransitionTime: at})
	}
	for i := range a.spec.Containers {
		c := &a.spec.Containers[i]
		cs := corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: c.Image + "@sha256:" + m.suffix(64), ContainerID: "containerd://" + m.suffix(64),
			Ready: ready < 0.97, RestartCount: int32(m.rnd.IntN(3)), Started: yes(),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
		}
		if !cs.Ready {
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
				Reason: "CrashLoopBackOff", Message: "back-off 5m0s restarting failed container=" + c.Name,
			}}
		}
		st.ContainerStatuses = append(st.ContainerStatuses, cs)
	}
	return st
}

func (m *maker) podSpec(a *app) corev1.PodSpec {
	s := corev1.PodSpec{
		Containers: []corev1.Container{m.container("app", 8080, "http")}, RestartPolicy: corev1.RestartPolicyAlways,
		TerminationGracePeriodSeconds: value(int64(30)), DNSPolicy: corev1.DNSClusterFirst, ServiceAccountName: a.name,
		SchedulerName: corev1.DefaultSchedulerName, PreemptionPolicy: value(corev1.PreemptLowerPriority), Priority: value(int32(0)),
		EnableServiceLinks: yes(), SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: yes(), FSGroup: value(int64(2000))},
	}
	if m.some(0.3) {
		s.Containers = append(s.Containers, m.container("metrics", 9090, "metrics"))
	}
	if a.name == "coredns" {
		c := &s.Containers[0]
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
			corev1.ContainerPort{Name: "dns-tcp", ContainerPort: 53, Protocol: corev1.ProtocolTCP})
	}
	s.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: a.name}, DefaultMode: value(int32(420)),
		}}},
		{Name: "kube-api-access-" + m.suffix(5), VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: value(int32(420)), Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: value(int64(3607)), Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
			},
		}}},
	}
	for _, key := range []string{"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"} {
		s.Tolerations = append(s.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: value(int64(300)),
		})
	}
	return s
}

func (m *maker) container(name string, port int32, portName string) corev1.Container {
	probe := &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: "/healthz", Port: intstr.FromString(portName), Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds: 10, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
	}
	c := corev1.Container{
		Name: name, Image: "registry.example.com/team/" + m.suffix(8) + ":v" + fmt.Sprint(m.rnd.IntN(90)),
		Ports: []corev1.ContainerPort{{Name: portName, ContainerPort: port, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "config", MountPath: "/etc/app", ReadOnly: true},
			{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
		},
		LivenessProbe: probe, ReadinessProbe: probe, TerminationMessagePath: "/dev/termination-log",
		TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullIfNotPresent,
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: value(false), ReadOnlyRootFilesystem: yes()},
	}
	for i := range 6 + m.rnd.IntN(10) {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("APP_SETTING_%d", i), Value: m.suffix(24)})
	}
	return c
}
