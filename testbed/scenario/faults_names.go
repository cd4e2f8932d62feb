package scenario

import (
	"context"
	"fmt"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// DNS does its work, and the client asks for the wrong name, or the wrong server.
func nameFaults() []Scenario {
	return []Scenario{
		{Name: "dns-no-such-service", Beside: true, About: "the Service that the client looks up was deleted", Build: noSuchService},
		{Name: "dns-wrong-resolver", About: "the client asks a resolver outside for a Service, as with dnsPolicy Default", Build: wrongResolver},
	}
}

func noSuchService(ctx context.Context, s *Stage) (*Scene, error) {
	svc, _, err := s.behind(ctx, s.Pick(), nil)
	if err != nil {
		return nil, err
	}
	sc, err := s.lookup(ctx, s.Pick(), fmt.Sprintf("%s.%s.svc.cluster.local.", svc.Name, s.Namespace))
	if err != nil {
		return nil, err
	}
	services := s.Client.CoreV1().Services(s.Namespace)
	sc.Break = func(ctx context.Context) error { return services.Delete(ctx, svc.Name, metav1.DeleteOptions{}) }
	sc.Heal = func(ctx context.Context) error {
		again := svc.DeepCopy()
		again.ResourceVersion, again.UID = "", ""
		_, err := services.Create(ctx, again, metav1.CreateOptions{})
		return err
	}
	sc.Symptom = []workload.Outcome{workload.NoSuchName}
	sc.Want = Want{Component: "dns", Code: "dns-nxdomain-search", Object: Object{"Pod", s.Namespace, sc.Client.(*k8s.Pod).Name}}
	return sc, nil
}

// wrongResolver: the client's resolv.conf names a resolver outside, as a pod's
// does that has dnsPolicy Default.
func wrongResolver(ctx context.Context, s *Stage) (*Scene, error) {
	svc, _, err := s.behind(ctx, s.Pick(), nil)
	if err != nil {
		return nil, err
	}
	sc, err := s.lookup(ctx, s.Pick(), fmt.Sprintf("%s.%s.svc.cluster.local.", svc.Name, s.Namespace))
	if err != nil {
		return nil, err
	}
	stop, err := s.ResolveOutside(ctx, int(dnsmessage.RCodeNameError))
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return stop() })
	right, asked := sc.Target, sc.To
	sc.Break = func(context.Context) error {
		sc.Target = at(s.OutsideAddr(), 53)
		sc.To = sc.Target
		return nil
	}
	sc.Heal = func(context.Context) error {
		sc.Target, sc.To = right, asked
		return nil
	}
	sc.Symptom = []workload.Outcome{workload.NoSuchName}
	sc.Want = Want{
		Component: "dns", Code: "dns-resolvconf-wrong", Object: Object{"Pod", s.Namespace, sc.Client.(*k8s.Pod).Name},
		Confidence: replays.Probable, // whom the resolver outside knows cannot be seen
	}
	return sc, nil
}
