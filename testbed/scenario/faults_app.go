package scenario

import (
	"context"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// The network does its work; the program does not.
func appFaults() []Scenario {
	return []Scenario{
		{Name: "app-crashed", Beside: true, About: "nobody listens any more", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return crashed(ctx, s, "app-no-listener", func(ctx context.Context, p *k8s.Pod, port int32) error { return nil })
		}},
		{Name: "app-localhost-only", About: "the program listens on 127.0.0.1 only", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return crashed(ctx, s, "app-localhost-only", func(ctx context.Context, p *k8s.Pod, port int32) error {
				return s.Listen(ctx, p, s.loopback(), port)
			})
		}},
		{Name: "app-other-port", About: "the program listens on another port", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return crashed(ctx, s, "app-no-listener", func(ctx context.Context, p *k8s.Pod, port int32) error {
				return s.Listen(ctx, p, "", port+1)
			})
		}},
		{Name: "app-frozen", Beside: true, About: "the program accepts, and then does nothing", Build: frozen},
	}
}

// crashed is a server whose program ends; instead runs another in its place.
func crashed(ctx context.Context, s *Stage, code string, instead func(context.Context, *k8s.Pod, int32) error) (*Scene, error) {
	sc, n, server, _, err := s.onServer(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	sc.Node = n
	port := server.Ports[0].ContainerPort
	sc.Break = func(ctx context.Context) error {
		if err := server.Crash(); err != nil {
			return err
		}
		return instead(ctx, server, port)
	}
	sc.Heal = func(ctx context.Context) error {
		if err := server.Crash(); err != nil {
			return err
		}
		return s.Listen(ctx, server, "", port)
	}
	sc.Symptom = []workload.Outcome{workload.Refused}
	sc.Want = Want{Component: "application", Code: code, Object: Object{"Pod", s.Namespace, server.Name}}
	return sc, nil
}

// frozen stops the program: the kernel still completes the handshake for it.
func frozen(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, server, _, err := s.onServer(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	sc.Break = func(context.Context) error { return server.Freeze() }
	sc.Heal = func(context.Context) error { return server.Thaw() }
	sc.Symptom = []workload.Outcome{workload.NoData}
	sc.Want = Want{
		Component: "application", Code: "app-hang", Object: Object{"Pod", s.Namespace, server.Name},
		Confidence: replays.Probable, // why a process does nothing is inside of it
	}
	return sc, nil
}
