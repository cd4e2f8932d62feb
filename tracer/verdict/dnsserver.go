package verdict

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// dnsServer is whom a policy has to let pods ask for names: the pods' namespace,
// their labels as the inside of a YAML map, and the port that they listen on, which
// is what policies judge.
type dnsServer struct {
	namespace, labels string
	port              uint16
}

// dnsServer is the cluster's DNS as the flow meets it, or else as most clusters have
// it.
func (in *Input) dnsServer() dnsServer {
	j := in.Journey
	out := dnsServer{namespace: "kube-system", labels: `k8s-app: "kube-dns"`, port: dnsPort}
	if !in.asksClusterDNS() {
		return out
	}
	out.port = j.Translated.Dst.Port()
	s := in.Cluster.Service
	if s == nil {
		if p := in.Cluster.TargetPod; p.Namespace != out.namespace {
			out.namespace, out.labels = p.Namespace, "" // every pod there
		}
		return out
	}
	if n, err := strconv.ParseUint(s.TargetPort, 10, 16); in.untranslated() && err == nil {
		out.port = uint16(n)
	}
	if in.untranslated() && len(s.Endpoints) > 0 {
		out.port = s.Endpoints[0].Addr.Port()
	}
	out.namespace, out.labels = s.Namespace, yamlLabels(s.Selector)
	return out
}

var label = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?=[-A-Za-z0-9_.]*$`)

// yamlLabels turns a selector, as kubectl prints it, into what stands in a YAML map.
// What is no label is left out: a dump can hold anything.
func yamlLabels(selector string) string {
	var out []string
	for kv := range strings.SplitSeq(selector, ",") {
		if label.MatchString(kv) {
			k, v, _ := strings.Cut(kv, "=")
			out = append(out, fmt.Sprintf("%s: %q", k, v))
		}
	}
	return strings.Join(out, ", ")
}
