package kube

import (
	"regexp"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// failureText is what a message has in it that says what is wrong.
type failureText struct {
	says tracer.StartFailure
	// all of them, in lower case and with single blanks.
	all []string
	// source is where the text is made.
	source string
	// plugin is whose it is, where the message does not name it; "" for many's.
	plugin string
}

// failureTexts are looked through in order. They are what plugins and runtimes
// write, of which the API only passes on the message. What the sandbox's image or a
// mirror for it answers stands in messages of the same kind: words that it could have
// as well count only beside those of the network.
func failureTexts() []failureText {
	no, agent, conf, api := tracer.FailureNoAddress, tracer.FailureNoAgent, tracer.FailureNotConfigured, tracer.FailureNoAPI
	return []failureText{
		{no, []string{"no ip addresses available in range set"}, "containernetworking/plugins plugins/ipam/host-local/backend/allocator/allocator.go", ""},
		{no, []string{"failed to assign an ip address to container"}, "aws/amazon-vpc-cni-k8s cmd/routed-eni-cni-plugin/cni.go", "aws-cni"},
		{no, []string{"assigned 0 out of", "requested ipv"}, "projectcalico/calico libcalico-go/lib/ipam (PartialFulfillmentError)", "calico"},
		{no, []string{"cilium", "range is full"}, "cilium/cilium pkg/ipam (ErrFull), in the plugin's \"unable to allocate IP via local cilium agent\"", "cilium-cni"},
		{no, []string{"cilium", "all cidr ranges are exhausted"}, "cilium/cilium pkg/ipam, cluster-pool", "cilium-cni"},
		{no, []string{"cilium", "no ips currently available on the node"}, "cilium/cilium pkg/ipam, multi-pool and clouds", "cilium-cni"},
		{no, []string{"could not allocate ip in range"}, "k8snetworkplumbingwg/whereabouts pkg/allocate", ""},

		{agent, []string{"network", "dial tcp 127.0.0.1:50051"}, "ipamd of aws/amazon-vpc-cni-k8s (issues 571, 1322)", "aws-cni"},
		{agent, []string{"check that the calico/node container is running"}, "projectcalico/calico cni-plugin/pkg/plugin", "calico"},
		{agent, []string{"unable to connect to cilium"}, "cilium/cilium plugins/cilium-cni", "cilium-cni"},
		{agent, []string{"dial unix", "cilium.sock"}, "cilium/cilium pkg/client", "cilium-cni"},
		{agent, []string{"dial unix", "/antrea/cni.sock"}, "antrea-io/antrea pkg/agent/cniserver", "antrea"},
		{agent, []string{"network", "dial tcp 127.0.0.1:6784"}, "weaveworks/weave plugin/ipam", "weave-net"},
		{agent, []string{"dial unix", "multus.sock"}, "k8snetworkplumbingwg/multus-cni, thick plugin", ""},
		{agent, []string{"dial unix", "ovn-cni-server.sock"}, "ovn-kubernetes go-controller/pkg/cni", "ovn-k8s-cni-overlay"},
		{agent, []string{"dial unix", "kube-ovn-daemon.sock"}, "kubeovn/kube-ovn cmd/cni", "kube-ovn"},

		{conf, []string{"cni plugin not initialized"}, "containerd/go-cni errors.go (ErrCNINotInitialized)", ""},
		{conf, []string{"no cni configuration file in"}, "cri-o/ocicni pkg/ocicni", ""},
		{conf, []string{"cni config uninitialized"}, "kubelet's dockershim, before Kubernetes 1.24", ""},
		{conf, []string{"no net configurations found in"}, "containernetworking/cni libcni/conf.go", ""},
		{conf, []string{"failed to find plugin"}, "containernetworking/cni pkg/invoke/find.go", ""},
		{conf, []string{"subnet.env", "no such file"}, "flannel-io/cni-plugin flannel.go", "flannel"},
		{conf, []string{"no configured calico pools for node"}, "projectcalico/calico libcalico-go/lib/ipam/ipam.go", "calico"},

		{api, []string{"plugin", `"https://`, "/api/v1/"}, "a request of k8s.io/client-go's that failed, in url.Error of Go's net/url", ""},
		{api, []string{"plugin", `"https://`, "/apis/"}, "the same", ""},

		{tracer.FailureDNSLoop, []string{"plugin/loop: loop ("}, "coredns/coredns plugin/loop/loop.go", ""},
	}
}

// saidBy is what a message says, FailureOther if that is not known.
func saidBy(message string) tracer.StartFailure {
	if t := textIn(message); t != nil {
		return t.says
	}
	return tracer.FailureOther
}

// textIn is the first of the texts that a message has, nil if it has none.
func textIn(message string) *failureText {
	text := strings.ToLower(strings.Join(strings.Fields(message), " "))
	for _, t := range failureTexts() {
		if holdsAll(text, t.all) {
			return &t
		}
	}
	return nil
}

func holdsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

var (
	// sandboxPrefix is what the kubelet and the runtime put in front of what the
	// plugin says (kubernetes pkg/kubelet/kuberuntime, containerd's CRI plugin,
	// dockershim); the ID in it is another one for each try.
	sandboxPrefix = regexp.MustCompile(`(?i)^(\(combined from similar events\): )?Failed (to )?create pod sandbox: ` +
		`(rpc error: code = \w+ desc = )?\[?` +
		`(failed to set ?up network for sandbox "[^"]*": |failed to set up sandbox container "[^"]*" network for pod "[^"]*": networkPlugin cni failed to set up pod "[^"]*" network: )?`)
	// failedPlugin is how libcni names the plugin that failed.
	failedPlugin = regexp.MustCompile(`plugin type=\\?"([a-z0-9][a-z0-9._-]{0,40})\\?"`)
)

// metaPlugin is what the plugins are called that only have others make a network.
const metaPlugin = "multus"

// pluginIn is the CNI plugin that a message says has failed, "" if it names none: then
// what failed may be something else than the network. Dockershim says only that it was
// a plugin.
func pluginIn(message string) string {
	named := failedPlugin.FindAllStringSubmatch(message, -1)
	for _, m := range named {
		if !strings.HasPrefix(m[1], metaPlugin) {
			return m[1]
		}
	}
	if t := textIn(message); t != nil && t.plugin != "" {
		return t.plugin
	}
	if named != nil {
		return named[0][1]
	}
	if strings.Contains(strings.ToLower(message), "networkplugin cni failed") {
		return "cni"
	}
	return ""
}

// shortened is a message without its prefix, and no longer than people read. What
// it returns is not changed when it is shortened again.
func shortened(message string) string {
	const most, cut = 300, "..."
	message = strings.TrimSpace(sandboxPrefix.ReplaceAllString(message, ""))
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most-len(cut)], "") + cut
	}
	return message
}

// saysNote is where a written dump keeps what a message says, as an annotation: in a
// recording without names the message is lost.
const (
	saysNote   = "podpath.dev/says"
	pluginNote = "podpath.dev/plugin"
)

// noted is what a written dump says of a message, or else what the message says.
func noted(annotations map[string]string, message string) tracer.StartFailure {
	if says := tracer.StartFailure(annotations[saysNote]); says.Known() {
		return says
	}
	return saidBy(message)
}
