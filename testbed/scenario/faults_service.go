package scenario

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// The Service, or its endpoints, say something else than meant.
func serviceFaults() []Scenario {
	var all []Scenario
	for i, proxy := range []string{"first", "second"} {
		all = append(all,
			Scenario{Name: "svc-selector-matches-nothing-" + proxy, About: "the Service's selector was changed to a label that no pod has",
				Build: func(ctx context.Context, s *Stage) (*Scene, error) {
					return s.editedService(ctx, s.Nodes()[i], "svc-no-endpoints", workload.Refused, func(svc *corev1.Service) {
						svc.Spec.Selector = map[string]string{"app": svc.Name + "x"}
					})
				}},
			Scenario{Name: "svc-wrong-target-port-" + proxy, Beside: true, About: "targetPort was changed to a port on which nobody listens",
				Build: func(ctx context.Context, s *Stage) (*Scene, error) {
					sc, err := s.editedService(ctx, s.Nodes()[i], "svc-wrong-targetport", workload.Refused, func(svc *corev1.Service) {
						for p := range svc.Spec.Ports {
							svc.Spec.Ports[p].TargetPort = intstr.FromInt32(svc.Spec.Ports[p].TargetPort.IntVal + 1)
						}
					})
					if err == nil {
						sc.Want.Confidence = replays.Either // it has a pod on each node
					}
					return sc, err
				}},
		)
	}
	for _, one := range proxied(eachProxy{"svc-local-without-endpoint", "externalTrafficPolicy Local, and the only endpoint moved to the other node", localWithoutEndpoint}) {
		one.Beside = true
		all = append(all, one)
	}
	return append(all,
		Scenario{Name: "svc-local-asked-by-node", About: "externalTrafficPolicy Local, the only endpoint moved to the other node, and that node asks", Build: localAskedByNode},
		Scenario{Name: "svc-endpoints-not-ready", Beside: true, About: "every pod behind the Service lost its Ready condition", Build: notReady},
		Scenario{Name: "svc-wrong-port", About: "the client asks for a port that the Service does not have", Build: wrongPort},
	)
}

// editedService is a client and a Service that edit breaks.
func (s *Stage) editedService(ctx context.Context, n *k8s.Node, code string, symptom workload.Outcome, edit func(*corev1.Service)) (*Scene, error) {
	sc, err := s.podToService(ctx, n, "tcp", nil)
	if err != nil {
		return nil, err
	}
	name := sc.Service
	services := s.Client.CoreV1().Services(s.Namespace)
	before, err := services.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	sc.Break = func(ctx context.Context) error {
		svc := before.DeepCopy()
		edit(svc)
		return s.updateService(ctx, svc.Name, svc.Spec)
	}
	sc.Heal = func(ctx context.Context) error { return s.updateService(ctx, name, before.Spec) }
	sc.Symptom = []workload.Outcome{symptom}
	sc.Want = Want{Component: "service", Code: code, Object: Object{"Service", s.Namespace, name}}
	return sc, nil
}

func (s *Stage) updateService(ctx context.Context, name string, spec corev1.ServiceSpec) error {
	services := s.Client.CoreV1().Services(s.Namespace)
	svc, err := services.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	svc.Spec = spec
	_, err = services.Update(ctx, svc, metav1.UpdateOptions{})
	return err
}

func notReady(ctx context.Context, s *Stage) (*Scene, error) {
	app, port, target := s.Word(), s.Port(), s.Port()
	var servers []*k8s.Pod
	for _, n := range s.Nodes() {
		p, err := s.Server(ctx, n, app, target)
		if err != nil {
			return nil, err
		}
		servers = append(servers, p)
	}
	svc, err := s.Service(ctx, app, port, target, nil)
	if err != nil {
		return nil, err
	}
	n := s.Pick()
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	ready := func(ctx context.Context, yes bool) error {
		for _, p := range servers {
			if err := p.SetReady(ctx, yes); err != nil {
				return err
			}
		}
		return nil
	}
	return &Scene{
		Client: client, Network: "tcp", Target: at(svc.Spec.ClusterIP, port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("svc", app) + ":" + itoa(port),
		Break:   func(ctx context.Context) error { return ready(ctx, false) },
		Heal:    func(ctx context.Context) error { return ready(ctx, true) },
		Symptom: []workload.Outcome{workload.Refused},
		Want:    Want{Component: "service", Code: "svc-no-endpoints", Object: Object{"Service", s.Namespace, app}},
	}, nil
}

// wrongPort has a Service port that was removed. kube-proxy's nftables mode
// refuses such a port; iptables has no rule for it, so that the packet leaves
// by the default route.
func wrongPort(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.podToService(ctx, s.Nodes()[1], "tcp", nil)
	if err != nil {
		return nil, err
	}
	name := sc.Service
	before, err := s.Client.CoreV1().Services(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	sc.Break = func(ctx context.Context) error {
		spec := before.DeepCopy().Spec
		for i := range spec.Ports {
			spec.Ports[i].Port++
		}
		return s.updateService(ctx, name, spec)
	}
	sc.Heal = func(ctx context.Context) error { return s.updateService(ctx, name, before.Spec) }
	sc.To = s.ref("svc", name)
	sc.Symptom = []workload.Outcome{workload.Refused}
	sc.Want = Want{Component: "service", Code: "svc-wrong-service-port", Object: Object{"Service", s.Namespace, name}}
	return sc, nil
}

// localWithoutEndpoint: a load balancer without health checks still sends to
// the node that has no endpoint any more.
func localWithoutEndpoint(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	sc, err := s.outsideToNodePort(ctx, n, corev1.ServiceExternalTrafficPolicyLocal)
	if err != nil {
		return nil, err
	}
	app := sc.Service
	local := s.servers(app, n)
	if _, err := s.Server(ctx, s.Other(n), app, local.Ports[0].ContainerPort); err != nil {
		return nil, err
	}
	sc.Break = func(ctx context.Context) error { return local.SetReady(ctx, false) }
	sc.Heal = func(ctx context.Context) error { return local.SetReady(ctx, true) }
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = Want{Component: "service", Code: "svc-no-local-endpoints", Object: Object{"Service", s.Namespace, app}}
	return sc, nil
}

// localAskedByNode: another node is a client like any outside for such a policy,
// also if it has the endpoint itself.
func localAskedByNode(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := localWithoutEndpoint(ctx, s, s.Pick())
	if err != nil {
		return nil, err
	}
	sc.Client = s.Other(sc.Node)
	return sc, nil
}
