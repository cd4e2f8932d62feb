package redact

import (
	_ "embed"
	"regexp"
	"strconv"
	"strings"
)

// words.txt is what podpath itself writes into the texts of a recording.
//
//go:generate go test -count=1 -run ^TestWords$ . -update
//go:embed words.txt
var ownWords string

// wellKnown are parts of names that everybody has. The rules know some of them
// (kube-system, kube-dns), endpoints and selectors are written with others, and the
// rest are kept for the reader: it helps to know that it was Calico.
var wellKnown = set(`
	kube system public lease dns coredns proxy default kubernetes k8s app apps io svc cluster local
	tcp udp sctp http https metrics
	pod pods po service services deploy deployment deployments sts statefulset statefulsets
	ds daemonset daemonsets node nodes no ns namespace namespaces any internet in notin
	flannel calico cilium weave antrea ovn router kindnet canal cni tigera vxlan geneve ipip
	cali cil kubelet controller istio envoy linkerd
	bridge host gw wg wireguard tun v4 v6 genev sys 6784
	aws azure cns netd agent ovnkube rke2 loopback multus
	gke vpc net vnet overlay ipam whereabouts ptp macvlan portmap bandwidth tuning
	policy labels serviceaccount org projectcalico orchestrator pcns pcsa openshift
	all component metadata name instance version hostname topology zone region template hash`)

// expressionPart is a quoted string or a word of a selector of Calico's; its
// language has the calicoWords.
var (
	expressionPart = regexp.MustCompile(`"[^"]*"|'[^']*'|[a-zA-Z0-9_./-]+`)
	calicoWords    = set(`has all global in not contains starts ends with`)
)

// WellKnown reports whether a word of a name stays as it is.
func WellKnown(word string) bool {
	low := strings.ToLower(word)
	return wellKnown[low] || ordinary.MatchString(low)
}

func set(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

// names gives out pseudonyms for words, in the order in which they turn up.
type names struct {
	given map[string]int
	// said are words of names, which are no longer taken for podpath's own.
	said map[string]bool
	own  map[string]bool
}

func newNames() *names {
	return &names{given: map[string]int{}, said: map[string]bool{}, own: set(ownWords)}
}

// pseudonym is "x1" or, of a word with capitals, "X1": names of hosts are equal in
// any case of letters, labels are not.
func (n *names) pseudonym(word string) string {
	low := strings.ToLower(word)
	i, ok := n.given[low]
	if !ok {
		i = len(n.given) + 1
		n.given[low] = i
	}
	if word != low {
		return "X" + strconv.Itoa(i)
	}
	return "x" + strconv.Itoa(i)
}

var (
	wordPattern = regexp.MustCompile(`[\p{L}\p{N}\p{M}]+`)
	// ordinary are names that a kernel or a tool gives to the first of a kind.
	ordinary = regexp.MustCompile(`^(lo|(eth|bond|br|cni|cbr|docker|tun|tap|wg|vxlan|tunl|dummy|team|veth|gw|mp|ovn)[0-9]{1,2})$`)
	// prefixed are devices of pods: the rest is an identifier, often a hash.
	prefixed = regexp.MustCompile(`^(veth|cali|lxc|eni|azv|tunl|vxlan|gke|ovn)([0-9a-f].*)$`)
)

// name is a name, of an object or a device, a label's key or value, or several
// joined by anything. Numbers in it count as words: node names hold addresses.
func (n *names) name(s string) string {
	return wordPattern.ReplaceAllStringFunc(s, func(w string) string {
		n.said[strings.ToLower(w)] = true
		return n.word(w, nil)
	})
}

// word replaces one word, unless everybody has it or kept does.
func (n *names) word(w string, kept map[string]bool) string {
	low := strings.ToLower(w)
	switch {
	case WellKnown(w):
		return w
	case kept[low] && !n.said[low]:
		return w
	}
	if m := prefixed.FindStringSubmatch(low); m != nil {
		return m[1] + n.pseudonym(m[2])
	}
	return n.pseudonym(w)
}
