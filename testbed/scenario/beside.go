package scenario

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
)

// besideLimit is longer than the second SYN takes: over IPv6 a REJECT answers only
// that one (docs/testbed.md).
const besideLimit = "1500ms"

// alsoBroken breaks one more thing on the scene's node, and lets pods that
// podpath is not asked about run into it while it looks. The seed says which. It
// stays until the stage is closed, and its symptom is proved first.
func (s *Stage) alsoBroken(ctx context.Context, sc *Scene) error {
	kinds := []func(context.Context, *k8s.Node) (*k8s.Pod, string, workload.Outcome, error){
		s.closedPort, s.emptyService, s.droppedPort,
	}
	client, target, symptom, err := kinds[s.rand.IntN(len(kinds))](ctx, sc.Node)
	if err != nil {
		return err
	}
	try := func() (Tries, error) {
		out, err := client.Output(s.Self, "workload", "dial", target, "--limit", besideLimit)
		return tries(out), err
	}
	var last Tries
	err = s.await(ctx, "the other fault's symptom", func() bool {
		var err error
		last, err = try()
		return err == nil && last.all(symptom)
	})
	if err != nil {
		return fmt.Errorf("%w: want %s, got %s", err, symptom, last)
	}
	noise := sc.Noise
	sc.Noise = func(ctx context.Context) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if noise != nil {
				noise(ctx)
			}
		}()
		for again := true; again; {
			_, err := try()
			select {
			case <-ctx.Done():
				again = false
			case <-time.After(200 * time.Millisecond):
				again = err == nil
			}
		}
		<-done
	}
	return nil
}

// closedPort: a client asks a pod for a port on which nobody listens.
func (s *Stage) closedPort(ctx context.Context, n *k8s.Node) (*k8s.Pod, string, workload.Outcome, error) {
	client, server, port, err := s.clientAndServer(ctx, n, n)
	if err != nil {
		return nil, "", "", err
	}
	return client, at(server.Addr.String(), port+1), workload.Refused, nil
}

// emptyService: a client asks for a Service without endpoints.
func (s *Stage) emptyService(ctx context.Context, n *k8s.Node) (*k8s.Pod, string, workload.Outcome, error) {
	client, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, "", "", err
	}
	name, port := s.Word(), s.Port()
	svc, err := s.Service(ctx, name, port, port, func(svc *corev1.Service) {
		svc.Spec.Selector = map[string]string{"app": s.Word()}
	})
	if err != nil {
		return nil, "", "", err
	}
	return client, at(svc.Spec.ClusterIP, port), workload.Refused, nil
}

// droppedPort: somebody's nftables rule on the node drops what is sent to a pod.
func (s *Stage) droppedPort(ctx context.Context, n *k8s.Node) (*k8s.Pod, string, workload.Outcome, error) {
	client, server, port, err := s.clientAndServer(ctx, n, n)
	if err != nil {
		return nil, "", "", err
	}
	table := s.table()
	name := s.Word()
	rule := fmt.Sprintf("table %s %s { chain forward { type filter hook forward priority 5; %s daddr %s tcp dport %d drop; }; }",
		table, name, table, server.Addr, port)
	if err := n.Run("nft", rule); err != nil {
		return nil, "", "", err
	}
	s.onClose(func(context.Context) error { return n.Run("nft", "delete", "table", table, name) })
	return client, at(server.Addr.String(), port), workload.Timeout, nil
}
