package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/redact"
)

// unconnectedDump is a cluster in which pod shop/web on node ip-10-0-3-17 has no
// network; what is to be said of it comes in.
func unconnectedDump(node, waiting, agent, event string) string {
	items := []string{
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`,
		`{"apiVersion":"v1","kind":"Node","metadata":{"name":"ip-10-0-3-18"},"spec":{"podCIDRs":["10.244.2.0/24"]},"status":{"allocatable":{"pods":"2k"},"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`,
		`{"apiVersion":"v1","kind":"Node","metadata":{"name":"ip-10-0-3-17"},` + node + `}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-1","namespace":"shop","uid":"u1","creationTimestamp":"2026-01-02T10:00:00Z"},"spec":{"nodeName":"ip-10-0-3-17","containers":[{"name":"c"}]},
		"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-02T10:00:00Z"},{"type":"PodReadyToStartContainers","status":"False"}],"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"` + waiting + `"}}}]}}`,
	}
	if agent != "" {
		items = append(items, agentPod(agent, "b", "ip-10-0-3-18", `"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T10:00:00Z"}]`))
		items = append(items, agentPod(agent, "a", "ip-10-0-3-17", `"conditions":[{"type":"Ready","status":"False","lastTransitionTime":"2026-01-02T09:30:00Z"}],
		"containerStatuses":[{"name":"c","restartCount":7,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s"}}}]`))
	}
	if event != "" {
		items = append(items, `{"apiVersion":"v1","kind":"Event","metadata":{"name":"web-1.1","namespace":"shop"},"involvedObject":{"kind":"Pod","namespace":"shop","name":"web-1","uid":"u1"},
		"firstTimestamp":"2026-01-02T10:00:02Z","lastTimestamp":"2099-01-02T10:00:00Z","count":5,`+event+`}`)
	}
	return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",\n") + `]}`
}

func agentPod(set, suffix, node, status string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s-%s","namespace":"kube-system","uid":"a%s","creationTimestamp":"2026-01-01T10:00:00Z","ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"%s","uid":"d","controller":true}]},
	"spec":{"nodeName":"%s","hostNetwork":true,"containers":[{"name":"c"}]},"status":{"phase":"Running",%s}}`, set, suffix, suffix, set, node, status)
}

// A redacted recording of a pod without a network, of any CNI, gives the verdict that
// the trace gave, about the same object by its pseudonym; and nothing of a user's is
// left in it, whatever the messages say.
func TestRedactedUnconnected(t *testing.T) {
	const (
		well   = `"spec":{"podCIDRs":["10.244.1.0/29"]},"status":{"allocatable":{"pods":"110"},"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`
		noCIDR = `"status":{"allocatable":{"pods":"110"},"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`
		unset  = `"spec":{"podCIDRs":["10.244.1.0/29"]},"status":{"allocatable":{"pods":"110"},"conditions":[{"type":"NetworkUnavailable","status":"True","reason":"NoRouteCreated","message":"zorro"},
		{"type":"Ready","status":"False","reason":"KubeletNotReady","lastTransitionTime":"2026-01-02T09:00:00Z","message":"container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized on ip-10-0-3-17 of zorro"}]}`
		creating = "ContainerCreating"
		hostile  = ` of pod \"web-1_shop\" at 203.0.113.77:7443, [2001:db8:77::5]:443, zorro@geheim.example, password=s3cr3t4711 token 47110815 http://zorro:geheim@203.0.113.77/x?a=zorro`
	)
	sandbox := func(plugin, says string) string {
		return `"reason":"FailedCreatePodSandBox","message":"Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"3f0c\": plugin type=\"` + plugin + `\" failed (add): ` + says + hostile + `"`
	}
	type given struct{ name, dump, code, object string }
	table := []given{
		{"no address left", unconnectedDump(well, creating, "", sandbox("bridge", "no IP addresses available in range set: 10.244.1.1-10.244.1.6")), "cni-no-ip-exhausted", "Node ip-10-0-3-17"},
		{"the node has no configuration", unconnectedDump(unset, creating, "", `"reason":"NetworkNotReady","message":"network is not ready: cni plugin not initialized`+hostile+`"`), "cni-config-missing", "Node ip-10-0-3-17"},
		{"the node alone says so", unconnectedDump(unset, creating, "", ""), "cni-config-missing", "Node ip-10-0-3-17"},
		{"flannel has no range", unconnectedDump(noCIDR, creating, "kube-flannel-ds", sandbox("flannel", "open /run/flannel/subnet.env: no such file or directory")), "cni-config-missing", "Node ip-10-0-3-17"},
		{"a volume", unconnectedDump(well, creating, "aws-node", `"reason":"FailedMount","message":"MountVolume.SetUp failed`+hostile+`"`), "", ""},
		{"an image", unconnectedDump(well, "ImagePullBackOff", "aws-node", sandbox("aws-cni", "it")), "", ""},
	}
	for plugin, agent := range map[string]string{
		"aws-cni": "aws-node", "calico": "calico-node", "calico-ipam": "rke2-canal", "cilium-cni": "cilium", "azure-vnet": "azure-cns", "gke": "netd", "flannel": "kube-flannel-ds",
		"kindnet": "kindnet", "weave-net": "weave-net", "antrea": "antrea-agent", "ovn-k8s-cni-overlay": "ovnkube-node", "kube-ovn": "kube-ovn-cni", "kube-router": "kube-router",
	} {
		table = append(table, given{agent, unconnectedDump(well, creating, agent, sandbox(plugin, "dial unix /var/run/cilium/cilium.sock: connect: no such file or directory")), "cni-daemon-down", "Pod kube-system/" + agent + "-a"})
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			dump, file, copied := filepath.Join(dir, "dump.json"), filepath.Join(dir, "session"), filepath.Join(dir, "redacted")
			if err := os.WriteFile(dump, []byte(c.dump), 0o600); err != nil {
				t.Fatal(err)
			}
			trace := ran(t, "trace", "--cluster-dump", dump, "--node", "ip-10-0-3-17", "--from", "shop/pod/web-1", "--to", "203.0.113.77:443", "--write", file, "-o", "json")
			trace.decode(t)
			if c.code == "" {
				if trace.code != exitUsage || len(trace.verdicts) > 0 {
					t.Fatalf("%+v", trace)
				}
				return
			}
			if len(trace.verdicts) != 1 || trace.verdicts[0].Code != c.code || objectName(trace.verdicts[0].Object) != c.object {
				t.Fatalf("%d %s\n%s", trace.code, trace.out, trace.err)
			}
			if r := ran(t, "replay", file, "--redact", "--write", copied); r.code != exitHealthy {
				t.Fatalf("%+v", r)
			}
			again := ran(t, "replay", copied, "-o", "json")
			again.decode(t)
			if again.code != trace.code || strings.Contains(again.err, "warning") || judgements(again.verdicts) != judgements(trace.verdicts) {
				t.Fatalf("%d %s\nwas\n%sis\n%s", again.code, again.err, judgements(trace.verdicts), judgements(again.verdicts))
			}
			was, is := trace.verdicts[0], again.verdicts[0]
			if is.Object.Kind != was.Object.Kind || is.Object.Kind == "Node" && is.Object.Name != is.Flow.Source.Node || is.Object.Kind == "Pod" && is.Object.Namespace != "kube-system" {
				t.Errorf("the object is %+v, of a pod on %s", is.Object, is.Flow.Source.Node)
			}
			if agent, ok := strings.CutSuffix(was.Object.Name, "-a"); ok && !strings.HasPrefix(is.Object.Name, agent+"-x") {
				t.Errorf("%s became %s", was.Object.Name, is.Object.Name)
			}
			for _, line := range unpack(t, copied) {
				for _, secret := range []string{"zorro", "geheim", "s3cr3t", "47110815", "shop", "203.0.113.77", "2001:db8:77", "10-0-3-17", "password"} {
					if strings.Contains(strings.ToLower(string(line)), secret) {
						t.Errorf("%s is left in %.300s", secret, line)
					}
				}
			}
		})
	}
}

func ran(t *testing.T, args ...string) replayed {
	t.Helper()
	var out, err bytes.Buffer
	r := replayed{code: run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &err})}
	r.out, r.err = out.String(), err.String()
	return r
}

func objectName(o *tracer.Ref) string {
	if o == nil {
		return ""
	}
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// What a resolver's rules read of a pod is left as it is: with dnsPolicy None it is
// meant to ask another.
func TestRedactedDNSPolicy(t *testing.T) {
	r, err := redact.New()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Line([]byte(`{"kind":"cluster","cluster":{"items":[{"kind":"Pod","spec":{"dnsPolicy":"None"}}]}}`))
	if err != nil || !bytes.Contains(out, []byte(`"dnsPolicy":"None"`)) {
		t.Errorf("%s, %v", out, err)
	}
}

// A recording whose cluster cannot be read is not judged as if there were none, nor
// by the state before; one that held nothing says what it can.
func TestUnreadableCluster(t *testing.T) {
	const broken = `{"kind":"List","items":[{"kind":"Node","metadata":{"name":"n"},"status":{"allocatable":{"pods":"x6"}}}]}`
	file := filepath.Join(t.TempDir(), "session")
	tried := 0
	for name, data := range recordings(t) {
		if !strings.HasSuffix(name, "bare") {
			continue
		}
		with := func(cluster string) replayed {
			var out []byte
			for line := range bytes.Lines(data) {
				var rec map[string]json.RawMessage
				if err := json.Unmarshal(line, &rec); err != nil {
					t.Fatal(err)
				}
				if rec["cluster"] != nil {
					rec["cluster"] = json.RawMessage(cluster)
					line, _ = json.Marshal(rec)
					line = append(line, '\n')
				}
				out = append(out, line...)
			}
			return replayBytes(t, file, out, "-o", "json")
		}
		whole := replayBytes(t, file, data, "-o", "json")
		got := with(broken)
		if got.code == whole.code && got.out == whole.out {
			continue // it has no cluster
		}
		tried++
		if got.code != exitUsage || got.out != "" || !strings.Contains(got.err, "the cluster's state in the recording cannot be read") || !strings.Contains(got.err, "quantities") || !strings.Contains(got.err, "every verdict rests on it") {
			t.Errorf("%s: exit %d\n%s%s", name, got.code, got.out, got.err)
		}
		empty := with(`{"kind":"List","items":[]}`)
		empty.decode(t)
		if empty.code == exitUsage || !strings.Contains(empty.err, "warning: the recording's cluster state") {
			t.Errorf("%s, with an empty cluster: exit %d\n%s", name, empty.code, empty.err)
		}
		for _, v := range empty.verdicts {
			if v.Component == tracer.ComponentPolicy && v.Confidence == tracer.Confirmed && v.Object != nil {
				t.Errorf("%s, with an empty cluster: blames %+v", name, v.Object)
			}
		}
	}
	if tried == 0 {
		t.Fatal("no recording has a cluster")
	}
}
