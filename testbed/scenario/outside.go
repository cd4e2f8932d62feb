package scenario

import (
	"context"
	"fmt"
	"os/exec"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/testbed/workload"
)

// ResolveOutside starts a resolver on the host outside, which answers every lookup
// with an address, or with a failure.
func (s *Stage) ResolveOutside(ctx context.Context, rcode int) (stop func() error, err error) {
	at := at(s.OutsideAddr(), 53)
	cmd := exec.Command(s.Self, "workload", "listen", at, "--network", "dns", "--rcode", fmt.Sprint(rcode))
	stop = func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil
	}
	if err := s.Outside.Start(cmd); err != nil {
		return nil, err
	}
	return stop, s.await(ctx, "the resolver outside", func() bool {
		args := []string{"workload", "dial", at, "--network", "udp", "--limit", "300ms", "--lookup", outsideName}
		if s.Flavour.Family() == corev1.IPv6Protocol {
			args = append(args, "--six")
		}
		out, err := s.Outside.Output(s.Self, args...)
		return err == nil && !tries(out).any(workload.Timeout, workload.Refused, workload.NotSent)
	})
}

// outsideName is a name that is none of the cluster's.
const outsideName = "www.example.net."

// ListenOutside starts servers on a port of the host outside.
func (s *Stage) ListenOutside(ctx context.Context, port int32) (stop func() error, err error) {
	var cmds []*exec.Cmd
	stop = func() error {
		for _, cmd := range cmds {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		return nil
	}
	for _, network := range []string{"tcp", "udp"} {
		cmd := exec.Command(s.Self, "workload", "listen", at(s.OutsideAddr(), port), "--network", network, "--name", "outside")
		if err := s.Outside.Start(cmd); err != nil {
			return stop, err
		}
		cmds = append(cmds, cmd)
	}
	return stop, s.await(ctx, "the server outside", func() bool {
		out, err := s.Outside.Output(s.Self, "workload", "dial", at(s.OutsideAddr(), port), "--limit", "300ms")
		return err == nil && tries(out).all("ok")
	})
}
