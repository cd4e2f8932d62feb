package scenario

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
)

// noise are two pods of others on the node that is traced, and what they meet:
// ports that are closed, a rule that drops, one that loses what gets through when
// it is sent again, answers that nobody reads any more, multicast.
type noise struct {
	*Stage
	node           *k8s.Node
	client, server *k8s.Pod
	table          string
}

// makeNoise begins it. It goes on until the stage is closed.
func (s *Stage) makeNoise(ctx context.Context, node *k8s.Node) (*noise, error) {
	n := &noise{Stage: s, node: node, table: s.Word()}
	port := s.Port()
	closed, dropped := port+1, port+2
	for _, p := range []**k8s.Pod{&n.server, &n.client} {
		var err error
		// In a namespace that no policy of the scenario is about.
		*p, err = s.pod(ctx, k8s.PodSpec{Namespace: metav1.NamespaceDefault, Node: node.Name, Labels: map[string]string{"app": s.Word()}})
		if err != nil {
			return nil, err
		}
	}
	if err := s.Listen(ctx, n.server, "", port); err != nil {
		return nil, err
	}
	to := fmt.Sprintf("%s daddr %s tcp dport", s.table(), n.server.Addr)
	rules := fmt.Sprintf("table %s %s { chain forward { type filter hook forward priority 5; %s %d counter drop; %s %d tcp flags psh numgen inc mod 2 == 0 counter drop; }; }",
		s.table(), n.table, to, dropped, to, port)
	if err := node.Run("nft", rules); err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return node.Run("nft", "delete", "table", s.table(), n.table) })
	_, err := n.client.StartProcess("noise", nil, s.Self, "workload", "noise", at(n.server.Addr.String(), port),
		"--closed", itoa(closed), "--dropped", itoa(dropped), "--group", s.byFamily("224.0.0.1", "[ff02::1%eth0]")+":"+itoa(port))
	return n, err
}

// What the kernel counts of each kind of noise, and where.
const (
	droppedByRule = "packets that the node's rule dropped"
	lostByRule    = "packets that the node's rule lost"
	sentAgain     = "segments that the client sent again"
	refusedTries  = "connections that the server refused"
	noSocket      = "datagrams that the server had no socket for"
	leftUnread    = "connections that the client reset with data unread"
	wereReset     = "connections of the server that were reset"
	nobodysGroup  = "multicast datagrams that the node had no socket for"
)

// counts are the kernel's.
func (n *noise) counts() (map[string]uint64, error) {
	client, err := counters(n.client.Space)
	if err != nil {
		return nil, err
	}
	server, err := counters(n.server.Space)
	if err != nil {
		return nil, err
	}
	node, err := counters(n.node.Space)
	if err != nil {
		return nil, err
	}
	rules, err := n.node.Output("nft", "list", "table", n.Stage.table(), n.table)
	if err != nil {
		return nil, err
	}
	met := rulePackets(rules)
	if len(met) != 2 {
		return nil, fmt.Errorf("want two rules with counters: %s", rules)
	}
	udp := n.byFamily("Udp", "Udp6")
	return map[string]uint64{
		droppedByRule: met[0], lostByRule: met[1],
		sentAgain: client["TcpRetransSegs"], refusedTries: client["TcpAttemptFails"], leftUnread: client["TcpExtTCPAbortOnClose"],
		noSocket: server[udp+"NoPorts"], wereReset: server["TcpEstabResets"],
		nobodysGroup: node[udp+"IgnoredMulti"],
	}, nil
}

// heard waits until there was noise of every kind since the counts before.
func (n *noise) heard(ctx context.Context, before map[string]uint64) error {
	var silent []string
	var failed error
	err := n.await(ctx, "noise", func() bool {
		var now map[string]uint64
		if now, failed = n.counts(); failed != nil {
			return true
		}
		silent = notRisen(before, now)
		return len(silent) == 0
	})
	if err != nil {
		return fmt.Errorf("%w: there were no %s", err, strings.Join(silent, ", no "))
	}
	return failed
}

// notRisen are the counts that are what they were.
func notRisen(before, now map[string]uint64) []string {
	var same []string
	for name, count := range before {
		if now[name] <= count {
			same = append(same, name)
		}
	}
	slices.Sort(same)
	return same
}

var countedRule = regexp.MustCompile(`counter packets (\d+) `)

// rulePackets are the packets that each counter of a table has met, in order.
func rulePackets(list string) []uint64 {
	var all []uint64
	for _, m := range countedRule.FindAllStringSubmatch(list, -1) {
		n, _ := strconv.ParseUint(m[1], 10, 64) // it is digits
		all = append(all, n)
	}
	return all
}

// counters are those of a network namespace: group and name as one word, as
// nstat has them.
func counters(s *k8s.Space) (map[string]uint64, error) {
	text, err := s.Output("cat", "/proc/net/snmp", "/proc/net/netstat", "/proc/net/snmp6")
	return parseCounters(text), err
}

// parseCounters reads lines of names, each followed by one of values ("Udp: InDatagrams
// NoPorts", "Udp: 7 0"), and lines of one name and one value ("Udp6NoPorts 0").
func parseCounters(text string) map[string]uint64 {
	all := map[string]uint64{}
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case !strings.HasSuffix(words[0], ":"):
			if len(words) == 2 {
				all[words[0]], _ = strconv.ParseUint(words[1], 10, 64)
			}
		case len(names) != len(words) || names[0] != words[0]:
			names = words
		default:
			for i, name := range names[1:] {
				// Few are negative, and none of those is asked for.
				all[strings.TrimSuffix(words[0], ":")+name], _ = strconv.ParseUint(words[i+1], 10, 64)
			}
			names = nil
		}
	}
	return all
}
