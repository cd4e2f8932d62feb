package scenario

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
	"github.com/podpath/podpath/tracer/verdict"
)

// kube-proxy's own state is wrong.
func proxyFaults() []Scenario {
	var all []Scenario
	for i, proxy := range []string{"first", "second"} {
		all = append(all,
			Scenario{Name: "proxy-dead-new-service-" + proxy, About: "kube-proxy is dead, and the Service is newer than its rules",
				Build: func(ctx context.Context, s *Stage) (*Scene, error) { return newService(ctx, s, s.Nodes()[i]) }},
			Scenario{Name: "proxy-dead-stale-endpoint-" + proxy, About: "kube-proxy is dead, and the only endpoint was replaced",
				Build: func(ctx context.Context, s *Stage) (*Scene, error) { return staleEndpoint(ctx, s, s.Nodes()[i]) }},
			Scenario{Name: "proxy-dead-old-target-port-" + proxy, About: "kube-proxy is dead, and the application moved to another port with its Service's targetPort",
				Build: func(ctx context.Context, s *Stage) (*Scene, error) { return oldTargetPort(ctx, s, s.Nodes()[i]) }},
		)
	}
	return all
}

// outlast waits until what was just changed is older than a proxy may take to follow:
// before that it is not known that the proxy does not.
func (s *Stage) outlast(ctx context.Context) error {
	made := time.Now()
	return s.await(ctx, "the change to be older than a proxy takes to follow", func() bool { return time.Since(made) > verdict.Propagation })
}

func (s *Stage) killProxy(n *k8s.Node) error { return n.Daemons["kube-proxy"].Kill() }

func newService(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	sc, err := s.podToService(ctx, n, "tcp", nil)
	if err != nil {
		return nil, err
	}
	name := sc.Service
	services := s.Client.CoreV1().Services(s.Namespace)
	svc, err := services.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	sc.Break = func(ctx context.Context) error {
		// With the same address and port, but made while nobody looked.
		if err := services.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		if err := s.await(ctx, "kube-proxy to forget the Service", func() bool {
			got, err := s.try(sc)
			return err == nil && !got.all(workload.OK)
		}); err != nil {
			return err
		}
		if err := s.killProxy(n); err != nil {
			return err
		}
		fresh := svc.DeepCopy()
		fresh.ResourceVersion, fresh.UID = "", ""
		if _, err := services.Create(ctx, fresh, metav1.CreateOptions{}); err != nil {
			return err
		}
		return s.outlast(ctx)
	}
	sc.Heal = n.StartProxy
	// The default route takes it to a router that knows no such host.
	sc.Symptom = []workload.Outcome{workload.Unreachable, workload.Timeout}
	sc.Want = Want{Component: "kube-proxy", Code: "svc-kubeproxy-no-rules", Object: Object{"Service", s.Namespace, name}}
	return sc, nil
}

// served is a Service with one endpoint, and a client on the same node.
func (s *Stage) served(ctx context.Context, n *k8s.Node, app string, port, target int32) (server *k8s.Pod, svc *corev1.Service, client *k8s.Pod, err error) {
	if server, err = s.Server(ctx, n, app, target); err != nil {
		return nil, nil, nil, err
	}
	if svc, err = s.Service(ctx, app, port, target, nil); err != nil {
		return nil, nil, nil, err
	}
	client, err = s.Pod(ctx, n, s.Word())
	return server, svc, client, err
}

func staleEndpoint(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	app, port, target := s.Word(), s.Port(), s.Port()
	server, svc, client, err := s.served(ctx, n, app, port, target)
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: "tcp", Target: at(svc.Spec.ClusterIP, port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("svc", app) + ":" + itoa(port),
		Break: func(ctx context.Context) error {
			if err := s.killProxy(n); err != nil {
				return err
			}
			if err := server.Remove(ctx); err != nil {
				return err
			}
			_, err := s.Server(ctx, s.Other(n), app, target)
			if err != nil {
				return err
			}
			if err := s.awaitEndpoints(ctx, app, 1); err != nil {
				return err
			}
			return s.outlast(ctx)
		},
		Heal:    n.StartProxy,
		Symptom: []workload.Outcome{workload.Unreachable, workload.Timeout},
		Want:    Want{Component: "kube-proxy", Code: "svc-stale-endpoint", Object: Object{"Service", s.Namespace, app}},
	}, nil
}

func oldTargetPort(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
	app, port, target := s.Word(), s.Port(), s.Port()
	server, svc, client, err := s.served(ctx, n, app, port, target)
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: "tcp", Target: at(svc.Spec.ClusterIP, port), Node: n,
		From: s.ref("pod", client.Name), To: s.ref("svc", app) + ":" + itoa(port), Service: app,
		Break: func(ctx context.Context) error {
			if err := s.killProxy(n); err != nil {
				return err
			}
			if err := server.Crash(); err != nil {
				return err
			}
			if err := s.Listen(ctx, server, "", target+1); err != nil {
				return err
			}
			spec := svc.DeepCopy().Spec
			for i := range spec.Ports {
				spec.Ports[i].TargetPort = intstr.FromInt32(target + 1)
			}
			if err := s.updateService(ctx, app, spec); err != nil {
				return err
			}
			if err := s.awaitPort(ctx, app, target+1); err != nil {
				return err
			}
			return s.outlast(ctx)
		},
		Heal:    n.StartProxy,
		Symptom: []workload.Outcome{workload.Refused},
		Want:    Want{Component: "kube-proxy", Code: "svc-stale-endpoint", Object: Object{"Service", s.Namespace, app}},
	}, nil
}

// awaitPort waits until the Service's EndpointSlices have a port.
func (s *Stage) awaitPort(ctx context.Context, service string, port int32) error {
	return s.await(ctx, fmt.Sprintf("port %d in the EndpointSlices of %s", port, service), func() bool {
		list, err := s.Client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{
			LabelSelector: "kubernetes.io/service-name=" + service,
		})
		if err != nil || len(list.Items) == 0 {
			return false
		}
		for _, slice := range list.Items {
			for _, p := range slice.Ports {
				if p.Port == nil || *p.Port != port {
					return false
				}
			}
		}
		return true
	})
}

// try is a few tries of the scene's client.
func (s *Stage) try(sc *Scene) (Tries, error) {
	out, err := sc.Client.Output(s.Self, "workload", "dial", sc.Target, "--network", sc.Network, "--count", "2", "--limit", "500ms")
	return tries(out), err
}

func (s *Stage) awaitEndpoints(ctx context.Context, service string, want int) error {
	return s.await(ctx, fmt.Sprintf("%d endpoints of %s", want, service), func() bool {
		list, err := s.Client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{
			LabelSelector: "kubernetes.io/service-name=" + service,
		})
		if err != nil {
			return false
		}
		n := 0
		for _, slice := range list.Items {
			// A Service of two families has every endpoint twice.
			if string(slice.AddressType) != string(s.Flavour.Family()) {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					n++
				}
			}
		}
		return n == want
	})
}
