package arch

// module is the path of ours.
const module = "github.com/podpath/podpath"

// allowed is what the sources of one package may import. An entry that ends in
// a slash means everything below; "all" means everything of ours.
type allowed struct {
	ours     []string // relative to the module
	external []string // import paths
	tests    []string // of ours, what its test files import besides
}

// The libraries, by what they are for.
const (
	ebpf     = "github.com/cilium/ebpf/"
	netlink  = "github.com/vishvananda/netlink/"
	netns    = "github.com/vishvananda/netns/"
	nftables = "github.com/google/nftables/"
	packets  = "github.com/google/gopacket/"
	zstd     = "github.com/klauspost/compress/zstd/"
	cobra    = "github.com/spf13/cobra/"
	pflag    = "github.com/spf13/pflag/"
	schema   = "github.com/invopop/jsonschema/"
	client   = "k8s.io/client-go/"
	cliRT    = "k8s.io/cli-runtime/"
	api      = "k8s.io/api/"
	apimach  = "k8s.io/apimachinery/"
	wide     = "sigs.k8s.io/network-policy-api/"
	yaml     = "sigs.k8s.io/yaml/"
	sysUnix  = "golang.org/x/sys/"
	term     = "golang.org/x/term/"
	rawNL    = "github.com/mdlayher/netlink/"
	group    = "golang.org/x/sync/errgroup/"
	klog     = "k8s.io/klog/v2/"
	logr     = "github.com/go-logr/logr/"
	cni      = "github.com/containernetworking/cni/"
	dns      = "golang.org/x/net/dns/dnsmessage/"
)

// table is the architecture: a package that is not listed does not belong, and
// an import that is not listed is a decision to be taken, here and in
// docs/architecture.md.
func table() map[string]allowed {
	return map[string]allowed{
		"bpf":            {external: []string{ebpf}},
		"tracer":         {},
		"tracer/netns":   {external: []string{sysUnix}},
		"tracer/probe":   {ours: []string{"bpf", "tracer", "tracer/netns"}, external: []string{ebpf, netlink, group, sysUnix}},
		"tracer/path":    {ours: []string{"tracer"}},
		"tracer/node":    {ours: []string{"tracer", "tracer/netns"}, external: []string{ebpf, netlink, rawNL, sysUnix}},
		"tracer/rules":   {ours: []string{"tracer", "tracer/netns"}, external: []string{nftables, netlink, rawNL, sysUnix}},
		"tracer/verdict": {ours: []string{"tracer"}, tests: []string{"tracer/probe", "tracer/redact"}}, // what the probe says of a drop, which names stay
		"tracer/session": {ours: []string{"tracer"}, external: []string{zstd, sysUnix}},
		"tracer/redact":  {},
		"tracer/render":  {ours: []string{"tracer"}, external: []string{packets, yaml}},
		"tracer/lab":     {external: []string{ebpf, netlink, netns, nftables, rawNL, dns, group, api, apimach, sysUnix}},
		"kube":           {ours: []string{"tracer"}, external: []string{client, cliRT, api, apimach, wide, yaml, group, klog, logr}, tests: []string{"tracer/redact"}}, // what is left of a dump
		"kube/policy":    {ours: []string{"kube", "tracer"}, external: []string{api, apimach}},
		"kube/service":   {ours: []string{"kube", "tracer"}, external: []string{api, apimach}},
		"cmd/podpath":    {ours: []string{"all"}, external: []string{cobra, pflag, cliRT, client, api, apimach, schema, yaml, sysUnix, term, netns, group}},
		"deploy":         {},
		"testbed/":       {ours: []string{"all", "testbed/"}, external: []string{ebpf, netlink, netns, api, apimach, client, cni, cobra, dns, sysUnix, zstd}},
	}
}

// inTests is what test files may import besides what their package may: the
// lab to run in, an API server and a cluster to ask it for, and what compares,
// scripts and validates.
func inTests() allowed {
	return allowed{
		ours: []string{"tracer", "tracer/lab", "testbed/accuracy", "testbed/apiserver", "testbed/cluster", "testbed/replays"},
		external: []string{
			"github.com/google/go-cmp/", "github.com/rogpeppe/go-internal/testscript/",
			"github.com/santhosh-tekuri/jsonschema/v6/",
			ebpf, netlink, netns, nftables, rawNL, sysUnix, api, apimach, yaml, zstd, packets,
		},
	}
}

// badNames are packages that say nothing about what is in them.
func badNames() []string {
	return []string{"util", "utils", "common", "types", "helper", "helpers", "manager", "managers", "misc", "base"}
}
