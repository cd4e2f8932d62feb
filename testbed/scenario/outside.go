package scenario

import (
	"context"
	"os/exec"
)

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
