package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// apart are checks that a node is all that is seen. Both nodes share this
// machine's kernel, and so do other clusters: whatever podpath shows of them, it
// shows of somebody else's network.
func apart() []Scenario {
	var all []Scenario
	for _, hook := range []string{"tcx", "tracepoint"} {
		all = append(all,
			Scenario{Name: "apart-trace-" + hook, About: "traffic of two pods of one node, traced on both nodes",
				Check: func(ctx context.Context, r *Runner, s *Stage) (string, error) { return tracedApart(ctx, r, s, hook) }},
			Scenario{Name: "apart-crossing-" + hook, About: "traffic from node to node, traced on both: each shows its half",
				Check: func(ctx context.Context, r *Runner, s *Stage) (string, error) { return halves(ctx, r, s, hook) }},
		)
	}
	return append(all, Scenario{Name: "apart-drops", About: "one node drops, both report drops", Check: dropsApart})
}

// clientAndServer are two pods, one on each of the given nodes.
func (s *Stage) clientAndServer(ctx context.Context, from, to *k8s.Node) (client, server *k8s.Pod, port int32, err error) {
	port = s.Port()
	if server, err = s.Server(ctx, to, s.Word(), port); err != nil {
		return nil, nil, 0, err
	}
	client, err = s.Pod(ctx, from, s.Word())
	return client, server, port, err
}

// onBoth runs podpath on both nodes with the same arguments while f goes on.
func (r *Runner) onBoth(ctx context.Context, s *Stage, args []string, settle int, f func() error) (map[*k8s.Node]*podpath, error) {
	runs := map[*k8s.Node]*podpath{}
	var errs []error
	for _, n := range s.Nodes() {
		p, err := startPodpath(ctx, r.Podpath, n, r.Cluster.Kubeconfig(), args...)
		if err != nil {
			errs = append(errs, err)
			break
		}
		runs[n] = p
	}
	if len(errs) == 0 {
		errs = append(errs, f())
	}
	for _, p := range runs {
		p.settle(ctx, settle)
	}
	for _, p := range runs {
		errs = append(errs, p.stop())
	}
	return runs, errors.Join(errs...)
}

const apartTries = 3

func (r *Runner) exchange(ctx context.Context, s *Stage, client *k8s.Pod, target string) error {
	out, err := client.Output(s.Self, "workload", "dial", target, "--count", fmt.Sprint(apartTries), "--every", "50ms")
	if got := tries(out); err == nil && !got.all("ok") {
		err = fmt.Errorf("the traffic itself: %s", got)
	}
	return err
}

func tracedApart(ctx context.Context, r *Runner, s *Stage, hook string) (string, error) {
	var wrong []string
	for _, n := range s.Nodes() {
		client, server, port, err := s.clientAndServer(ctx, n, n)
		if err != nil {
			return "", err
		}
		args := []string{"trace", "--from", client.Addr.String(), "--to", server.Addr.String(), "--hook", hook, "--flows"}
		runs, err := r.onBoth(ctx, s, args, apartTries, func() error {
			return r.exchange(ctx, s, client, at(server.Addr.String(), port))
		})
		if err != nil {
			return "", err
		}
		here, there := runs[n], runs[s.Other(n)]
		if len(here.verdicts) != apartTries {
			wrong = append(wrong, fmt.Sprintf("%s gave %d verdicts about its own %d flows", n.Name, len(here.verdicts), apartTries))
		}
		seen := func(v render.Verdict) bool {
			return v.Outcome != tracer.OutcomeNotSeen && v.Outcome != tracer.OutcomeNotSent
		}
		if slices.ContainsFunc(there.verdicts, seen) || len(there.flows) > 0 || there.summary.Events > 0 {
			wrong = append(wrong, fmt.Sprintf("%s saw %d events and %d flows of %s", s.Other(n).Name, there.summary.Events, len(there.flows), n.Name))
		}
		wrong = append(wrong, r.strangers(n, here)...)
	}
	return strings.Join(wrong, "; "), nil
}

// halves: the two traces of one flow meet at the wire, and have no device in
// common.
func halves(ctx context.Context, r *Runner, s *Stage, hook string) (string, error) {
	from := s.Pick()
	client, server, port, err := s.clientAndServer(ctx, from, s.Other(from))
	if err != nil {
		return "", err
	}
	args := []string{"trace", "--from", client.Addr.String(), "--to", server.Addr.String(), "--hook", hook, "--flows"}
	runs, err := r.onBoth(ctx, s, args, apartTries, func() error {
		return r.exchange(ctx, s, client, at(server.Addr.String(), port))
	})
	if err != nil {
		return "", err
	}
	var wrong []string
	for n, p := range runs {
		if len(p.flows) != apartTries {
			wrong = append(wrong, fmt.Sprintf("%s showed %d of %d flows", n.Name, len(p.flows), apartTries))
		}
		wrong = append(wrong, r.strangers(n, p)...)
		own := client
		if n.Name == server.Node {
			own = server
		}
		for _, f := range p.flows {
			if !slices.ContainsFunc(f.Hops, func(h render.HopLine) bool { return h.NetNS == own.Inode() }) {
				wrong = append(wrong, fmt.Sprintf("%s does not show its own pod %s", n.Name, own.Name))
			}
		}
	}
	slices.Sort(wrong)
	return strings.Join(slices.Compact(wrong), "; "), nil
}

// strangers are sightings in network namespaces that are not the node's.
func (r *Runner) strangers(n *k8s.Node, p *podpath) []string {
	var wrong []string
	for _, f := range p.flows {
		wrong = append(wrong, Want{}.misnamed(r.Cluster, n, f.Flow, f.Hops)...)
	}
	return wrong
}

// dropsApart: a rule of one node drops datagrams; the reports of both nodes are
// of everything, as nobody says what to look for in an incident.
func dropsApart(ctx context.Context, r *Runner, s *Stage) (string, error) {
	n := s.Pick()
	client, server, port, err := s.clientAndServer(ctx, n, n)
	if err != nil {
		return "", err
	}
	table := s.Word()
	if err := server.Run("nft", "table "+s.table()+" "+table+" { chain input { type filter hook input priority 0; udp dport "+itoa(port)+" drop; }; }"); err != nil {
		return "", err
	}
	const sent = 5
	runs, err := r.onBoth(ctx, s, []string{"drops", "--duration", "6s"}, 0, func() error {
		out, err := client.Output(s.Self, "workload", "dial", at(server.Addr.String(), port), "--network", "udp",
			"--count", fmt.Sprint(sent), "--every", "20ms", "--limit", "500ms")
		if got := tries(out); err == nil && !got.all("timeout") {
			err = fmt.Errorf("the traffic itself: %s", got)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	var wrong []string
	for node, p := range runs {
		var own uint64
		for _, d := range p.drops {
			switch {
			case d.NetNS == server.Inode():
				own += d.Count
			case !r.belongs(node, d.NetNS):
				wrong = append(wrong, fmt.Sprintf("%s reports a drop at %s in network namespace %d, which is not its own", node.Name, d.Device, d.NetNS))
			}
			if d.Node != node.Name {
				wrong = append(wrong, fmt.Sprintf("%s reports a drop of node %q", node.Name, d.Node))
			}
		}
		if want := map[bool]uint64{true: sent}[node == n]; own != want {
			wrong = append(wrong, fmt.Sprintf("%s reports %d drops in %s, where %d datagrams were dropped", node.Name, own, server.Name, sent))
		}
	}
	slices.Sort(wrong)
	return strings.Join(slices.Compact(wrong), "; "), nil
}

// belongs: the namespace is the node's or a pod's on it; 0 says nothing.
func (r *Runner) belongs(n *k8s.Node, netns uint32) bool {
	return netns == 0 || netns == n.Inode() || slices.ContainsFunc(r.Cluster.Pods(), func(p *k8s.Pod) bool {
		return !p.HostNetwork && p.Node == n.Name && p.Inode() == netns
	})
}
