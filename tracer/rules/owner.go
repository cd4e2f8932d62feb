package rules

import (
	"regexp"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// signature recognises the writer of a rule by a name. Prefixes ending in "="
// must match the whole name.
type signature struct{ prefix, owner string }

// tableOwners and chainOwners are the names that CNIs, proxies and firewalls
// give (see their sources; iptables' own chains belong to nobody).
var tableOwners = []signature{
	{"kube-proxy=", "kube-proxy"}, {"calico=", "calico"}, {"flannel-ipv", "flannel"},
	{"kube-router-", "kube-router"}, {"kindnet-", "kindnet"}, {"cni-kindnet=", "kindnet"},
	{"kube-network-policies=", "kube-network-policies"}, {"aws-cni=", "aws-vpc-cni"},
	{"ovn-kubernetes=", "ovn-kubernetes"}, {"antrea", "antrea"}, {"cilium", "cilium"},
	{"firewalld=", "firewalld"}, {"docker-bridges=", "docker"}, {"libvirt_network=", "libvirt"},
	{"cni_hostport=", "portmap"}, {"cni_plugins_", "cni-plugins"}, {"netavark=", "podman"},
	{"ufw", "ufw"}, {"f2b-", "fail2ban"}, {"lxd=", "lxd"}, {"incus=", "incus"}, {"submariner", "submariner"},
}

var chainOwners = []signature{
	{"cali-", "calico"},
	{"KUBE-POD-FW-", "kube-router"}, {"KUBE-NWPLCY-", "kube-router"}, {"KUBE-ROUTER-", "kube-router"},
	{"KUBE-KUBELET-CANARY=", "kubelet"}, {"KUBE-FIREWALL=", "kubelet"}, {"KUBE-IPTABLES-HINT=", "kubelet"}, {"KUBE-MARK-DROP=", "kubelet"},
	{"KUBE-", "kube-proxy"},
	{"WEAVE", "weave"}, {"CILIUM_", "cilium"}, {"OLD_CILIUM_", "cilium"}, {"FLANNEL-", "flannel"},
	{"AWS-SNAT-CHAIN-", "aws-vpc-cni"}, {"AWS-CONNMARK-CHAIN-", "aws-vpc-cni"},
	{"ANTREA-", "antrea"}, {"OVN-KUBE-", "ovn-kubernetes"}, {"OVN-", "kube-ovn"},
	{"AZURE-NPM", "azure-npm"}, {"KIND-MASQ-AGENT=", "kindnet"}, {"IP-MASQ", "ip-masq-agent"},
	{"CNI-HOSTPORT-", "portmap"}, {"CNI-DN-", "portmap"}, {"CNI-SN-", "portmap"}, {"CNI-ISOLATION-", "cni-plugins"},
	{"CNI-FORWARD=", "cni-plugins"},
	{"DOCKER", "docker"}, {"ufw-", "ufw"}, {"ufw6-", "ufw"}, {"f2b-", "fail2ban"}, {"LIBVIRT_", "libvirt"},
	{"ISTIO_", "istio"}, {"PROXY_INIT_", "linkerd"},
	{"INPUT_direct=", "firewalld"}, {"FORWARD_direct=", "firewalld"}, {"INPUT_ZONES", "firewalld"}, {"FORWARD_IN_ZONES", "firewalld"},
	{"FORWARD_OUT_ZONES", "firewalld"}, {"IN_public", "firewalld"}, {"FWDI_", "firewalld"}, {"FWDO_", "firewalld"},
	{"PREROUTING_ZONES", "firewalld"}, {"POSTROUTING_ZONES", "firewalld"}, {"OUTPUT_direct=", "firewalld"},
	{"NETAVARK_", "podman"}, {"OPENSHIFT-", "openshift-sdn"}, {"SUBMARINER-", "submariner"}, {"ts-", "tailscale"},
	{"cni-hp-", "portmap"}, {"GKE-", "gke"},
}

// commentOwners recognise rules that a component adds to somebody else's chain.
var commentOwners = []signature{
	{"cali:", "calico"}, {"kubernetes forwarding", "kube-proxy"}, {"kubernetes service portals=", "kube-proxy"},
	{"kube-router netpol", "kube-router"}, {"flanneld ", "flannel"}, {"AWS SNAT CHAIN", "aws-vpc-cni"}, {"AWS, ", "aws-vpc-cni"},
	{"NodeLocal DNS Cache", "node-local-dns"}, {"ip-masq-agent", "ip-masq-agent"}, {"portmap", "portmap"},
	{"Antrea: ", "antrea"}, {"cilium: ", "cilium"}, {"cilium-feeder: ", "cilium"},
}

// adminChains are made by a component for rules that people write.
var adminChains = map[string]bool{"DOCKER-USER": true, "CNI-ADMIN": true, "NETAVARK_USER": true}

func match(sigs []signature, name string) string {
	for _, s := range sigs {
		if whole, ok := strings.CutSuffix(s.prefix, "="); ok && name == whole || !ok && strings.HasPrefix(name, s.prefix) {
			return s.owner
		}
	}
	return ""
}

// ownerOf is who writes such rules: by the table, the innermost chain with a
// known name on the way to the rule, or the rule's comment. A rule that nobody
// known writes, but that names a NetworkPolicy as its reason, is a CNI's.
func ownerOf(path []*chain, r *rule) (owner, policy string) {
	comment := ""
	if r != nil {
		comment = r.comment
	}
	policy = policyOf(path, comment)
	for i := len(path) - 1; i >= 0; i-- {
		if adminChains[path[i].name] {
			return "", policy
		}
		if o := match(chainOwners, path[i].name); o != "" {
			return o, policy
		}
	}
	if o := match(commentOwners, comment); o != "" {
		return o, policy
	}
	if len(path) > 0 {
		if o := match(tableOwners, path[0].table.name); o != "" {
			return o, policy
		}
	}
	if policy != "" || len(policiesIn(comment)) > 0 {
		return "cni", policy
	}
	return "", ""
}

// policyOf is the one NetworkPolicy that a rule names, in its comment or in the
// name of its chain. Several are no answer: which of them is for the cluster's
// objects to say.
func policyOf(path []*chain, comment string) string {
	if ps := policiesIn(comment); len(ps) > 0 {
		if len(ps) == 1 {
			return ps[0]
		}
		return ""
	}
	if len(path) == 0 {
		return ""
	}
	if ps := policiesIn(path[len(path)-1].name); len(ps) == 1 {
		return ps[0]
	}
	return ""
}

var (
	policyWord = regexp.MustCompile(`(?i)(^|[^a-z])(policy|policies|networkpolicy|networkpolicies|netpol|npol)([^a-z]|$)`)
	// A namespace is a DNS label, a policy's name a DNS subdomain (RFC 1123).
	objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
	kubeRouter = regexp.MustCompile(`policy name:?\s*([a-z0-9][-.a-z0-9]*)\s+namespace:?\s*([a-z0-9][-a-z0-9]*)`)
)

// policiesIn lists the policies that a text names, as "namespace/name". A name
// counts only in a text that speaks of policies, and not if the word before it
// says that it is something else ("of pod shop/web").
func policiesIn(text string) []string {
	if m := kubeRouter.FindStringSubmatch(text); m != nil {
		return []string{m[2] + "/" + m[1]}
	}
	if !policyWord.MatchString(text) {
		return nil
	}
	var out []string
	seen := map[string]bool{}
	before := ""
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t,;:()[]{}\"'=|", r) }) {
		if objectName.MatchString(w) && !otherKind[strings.ToLower(before)] && !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
		before = w
	}
	return out
}

var otherKind = map[string]bool{
	"pod": true, "pods": true, "service": true, "services": true, "svc": true, "node": true, "namespace": true,
	"workload": true, "endpoint": true, "endpoints": true, "deployment": true, "container": true, "profile": true, "for": true,
}

// verdictName is how a rule's end is called in tracer.RuleFact.
func verdictName(a action) string {
	switch x := a.stmt.(type) {
	case reject:
		return "reject"
	case queue:
		return "queue"
	case masq:
		return "masquerade"
	case redir:
		return "redirect"
	case nat:
		if x.dnat {
			return "dnat"
		}
		return "snat"
	}
	switch a.kind {
	case vDrop:
		return "drop"
	case vAccept:
		return "accept"
	case vQueue:
		return "queue"
	}
	return "stolen"
}

// fact describes a hit.
func (h *hit) fact(how string) tracer.RuleFact {
	c := h.base
	if len(h.path) > 0 {
		c = h.path[len(h.path)-1]
	}
	f := tracer.RuleFact{Engine: c.table.engine, Family: c.table.family.String(), Table: c.table.name, Chain: c.name,
		Hook: hookNames[h.base.base.hook], Verdict: verdictName(h.act), How: how}
	path := h.path
	if h.rule == nil {
		path = []*chain{h.base}
		f.BasePolicy = true
		f.Chain = h.base.name
		f.Text = "policy drop"
	} else {
		f.Handle, f.Comment = h.rule.handle, h.rule.comment
		f.Text = render(h.rule)
	}
	f.Owner, f.Policy = ownerOf(path, h.rule)
	if f.Owner == "kube-proxy" {
		f.Service, f.Endpoint = serviceOf(path, h.said, f.Comment)
	}
	if f.Owner == "calico" {
		f.Policy, f.Agent = "", felix(path, h.rule)
	}
	return f
}
