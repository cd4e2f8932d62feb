package redact

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

func redactor(t testing.TB) *Redactor {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// as fills what the redactor drew into the expected text: {10.0.0.1} for the
// pseudonym of an address or a network, {word} for that of a word.
func (r *Redactor) as(want string) string {
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllStringFunc(want, func(s string) string {
		s = s[1 : len(s)-1]
		if out, ok := r.address(s); ok {
			return out
		}
		return r.names.pseudonym(s)
	})
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"10.244.1.9":                      "{10.244.1.9}",
		"10.244.1.9:8080":                 "{10.244.1.9}:8080",
		"[fd00::9]:8080":                  "[{fd00::9}]:8080",
		"ip saddr 10.244.1.9 drop":        "ip saddr {10.244.1.9} drop",
		"ip saddr { 10.1.2.3, 10.1.2.4 }": "ip saddr {(} {10.1.2.3}, {10.1.2.4} {)}",
		"-s 10.244.0.0/16 ! -d 10.96.0.0/12 -j MASQUERADE":           "-s {10.244.0.0/16} ! -d {10.96.0.0/12} -j MASQUERADE",
		"-A KUBE-SVC-TCOU7JCQXEZGVUNU -j KUBE-SEP-ABCDEF":            "-A KUBE-SVC-{TCOU7JCQXEZGVUNU} -j KUBE-SEP-{ABCDEF}",
		"-m comment --comment \"payments/api:web cluster IP\"":       "-m comment --comment \"{payments}/api:{web} cluster IP\"",
		"--to-destination 10.244.1.9:8080":                           "--to-destination {10.244.1.9}:8080",
		"-m iprange --src-range 10.1.0.1-10.1.0.9":                   "-m {iprange} --src-range {10.1.0.1}-{10.1.0.9}",
		"dnat to fd00:10:f4::9":                                      "dnat to {fd00:10:f4::9}",
		"dnat ip6 to [fd00:10:f4::9]:8080":                           "dnat ip6 to [{fd00:10:f4::9}]:8080",
		"meta mark & 0x0000c000 == 0x00004000 tcp dport 30000-32767": "meta mark & 0x0000c000 == 0x00004000 tcp dport 30000-32767",
		"tcp dport 1024:65535 ct state new":                          "tcp dport 1024:65535 ct state new",
		"read 0a:58:0a:f4:01:09.":                                    "read {0a:58:0a:f4:01:09}.",
		"the route to 10.244.2.0/24: none":                           "the route to {10.244.2.0/24}: none",
		"10.1.2.3.":                                                  "{10.1.2.3}.",
		"netns 4026532246 in 1.5s":                                   "netns 4026532246 in 1.5s",
		"node ip-10-0-3-17.eu-west-1.compute.internal":               "node ip-{10}-{0}-{3}-{17}.{eu}-{west}-{1}.{compute}.{internal}",
		"to:fd00:10:f4::9":                                           "to:{fd00:10:f4::9}",
		"fd00:10:f4::9:http":                                         "{fd00:10:f4::9}:http",
		"fd00::1/64,10.0.0.1":                                        "{fd00::1/64},{10.0.0.1}",
		"cali-tw-cali12ab34cd567":                                    "cali-{tw}-cali{12ab34cd567}",
		"https://k8s.example.com:6443/api":                           "https://k8s.{example}.com:6443/api",
		"/home/alice/.kube/config":                                   "/{home}/{alice}/.kube/config",
		"Zahlungsverkehr→überweisung":                                "{Zahlungsverkehr}→{überweisung}",
		"2026-11-23T05:20:15.511236337Z":                             "2026-11-23T05:20:15.511236337Z",
		"fe80::1%eth0 and fe80::1%bluenet":                           "fe80{fe80::1}",
		"10.0.0.0/255.0.0.0":                                         "{10.0.0.0}/255.0.0.0",
	} {
		r := redactor(t)
		r.names.own = set(`a accept and cluster d http sep com comment config counter ct destination dnat dport drop forward in ip ip6 j m mark meta
			masquerade netns new node none range read route s saddr src state the to api`)
		got := r.text(in)
		switch {
		case strings.Contains(want, "{(}"):
			want = "ip saddr { " + r.as("{10.1.2.3}, {10.1.2.4}") + " }"
		case strings.HasPrefix(want, "fe80{"):
			a := r.as("{fe80::1}")
			want = a + "%eth0 and " + a + "%" + r.as("{bluenet}")
		case strings.HasPrefix(in, "read"):
			want = "read 02:00:00:00:00:01."
		default:
			want = r.as(want)
		}
		if got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	r := redactor(t)
	for in, want := range map[string]string{
		"payments":                          "{payments}",
		"payments/api-7d9f-x2":              "{payments}/{api}-{7d9f}-{x2}",
		"kube-system":                       "kube-system",
		"kube-dns-abc":                      "kube-dns-{abc}",
		"db.payments.svc.cluster.local":     "{db}.{payments}.svc.cluster.local",
		"ip-10-0-3-17.eu":                   "{ip}-{10}-{0}-{3}-{17}.{eu}",
		"10.1.2.3":                          "{10.1.2.3}",
		"app in (a, b),tier!=c":             "app in ({a}, {b}),{tier}!={c}",
		"eth0":                              "eth0",
		"veth12ab":                          "veth{12ab}",
		"cali12ab34cd567":                   "cali{12ab34cd567}",
		"Payments":                          "{Payments}",
		"app.kubernetes.io/name":            "app.kubernetes.io/name",
		"registry.example.com/pay/api:v1.2": "{registry}.{example}.{com}/{pay}/{api}:{v1}.{2}",
	} {
		if got, want := r.name(in), r.as(want); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"payments/svc/api:80": "{payments}/svc/{api}:80", "pod/x:web": "pod/{x}:{web}", "10.0.0.0/8:53": "{10.0.0.0/8}:53",
		"[fd00::1]:80": "[{fd00::1}]:80", "[fd00::/8]:80": "[{fd00::/8}]:80", "fd00::1": "{fd00::1}", "any": "any", "internet:443": "internet:443", "db.example.com:5432": "{db}.{example}.{com}:5432",
	} {
		if got, want := r.endpoint(in), r.as(want); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// A word of podpath's own that is somebody's name is replaced from then on.
func TestNamesGoBeforeWords(t *testing.T) {
	r := redactor(t)
	r.names.own = set("the forward counter")
	if got := r.text("the forward counter"); got != "the forward counter" {
		t.Errorf("got %q", got)
	}
	r.name("forward")
	if got, want := r.text("the forward counter"), r.as("the {forward} counter"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLine(t *testing.T) {
	r := redactor(t)
	line := func(in string) map[string]any {
		t.Helper()
		out, err := r.Line([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	h := line(`{"format":"podpath-session","version":1,"node":"worker-1","from":"payments/pod/api:80","hosts":{"db.example.com":["203.0.113.9"]}}`)
	if h["redacted"] != true || h["format"] != "podpath-session" || h["node"] != r.as("{worker}-{1}") || h["from"] != r.as("{payments}/pod/{api}:80") {
		t.Errorf("header %v", h)
	}
	if fmt.Sprint(h["hosts"]) != r.as("map[{db}.{example}.{com}:[{203.0.113.9}]]") {
		t.Errorf("hosts %v", h["hosts"])
	}
	e := line(`{"kind":"event","event":{"skb":18446612688455996928,"kind":"drop","tuple":{"src":"10.0.0.1:0"},"drop":{"reason":"NO_SOCKET","location":"0xffffffff81000000","stack":["tcp_v4_rcv"]},"unheard_of":"alice"}}`)
	want := r.as(fmt.Sprintf("map[drop:map[location:0x%x reason:NO_SOCKET stack:[tcp_v4_rcv]] kind:drop skb:%v tuple:map[src:{10.0.0.1}:0] unheard_of:{alice}]",
		r.id("0xffffffff81000000"), float64(r.id("18446612688455996928"))))
	if got := fmt.Sprint(e["event"]); got != want {
		t.Errorf("event %s\nwant  %s", got, want)
	}
	c := line(`{"kind":"cluster","cluster":{"kind":"List","items":[{"kind":"NetworkPolicy","metadata":{"name":"allow","labels":{"kind":"secret","app":"web"}},
		"spec":{"policyTypes":["Ingress"],"podSelector":{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"team","operator":"In","values":["blue"]}]},
		"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":"web","protocol":"TCP"},{"port":80}]}]}}]}}`)
	want = r.as("map[kind:NetworkPolicy metadata:map[labels:map[app:{web} {kind}:{secret}] name:{allow}] " +
		"spec:map[ingress:[map[from:[map[ipBlock:map[cidr:{10.0.0.0/8} except:[{10.1.0.0/16}]]]] ports:[map[port:{web} protocol:TCP] map[port:80]]]] " +
		"podSelector:map[matchExpressions:[map[key:{team} operator:In values:[{blue}]]] matchLabels:map[app:{web}]] policyTypes:[Ingress]]]")
	if got := fmt.Sprint(c["cluster"].(map[string]any)["items"].([]any)[0]); got != want {
		t.Errorf("cluster %s\nwant    %s", got, want)
	}
	c = line(`{"kind":"cluster","cluster":{"kind":"List","items":[{"kind":"Node","metadata":{"name":"n1","annotations":{"flannel.alpha.coreos.com/backend-type":"host-gw","team":"blue"}}}]}}`)
	want = r.as("map[kind:Node metadata:map[annotations:map[flannel.alpha.coreos.com/backend-type:host-gw {team}:{blue}] name:{n1}]]")
	if got := fmt.Sprint(c["cluster"].(map[string]any)["items"].([]any)[0]); got != want {
		t.Errorf("cluster %s\nwant    %s", got, want)
	}
	c = line(`{"kind":"cluster","cluster":{"kind":"List","items":[{"kind":"Service","metadata":{"name":"api","managedFields":[{"manager":"time","time":"2026-11-23T10:00:00Z"}]}}]}}`)
	want = r.as("map[kind:Service metadata:map[managedFields:[map[manager:{time} time:2026-11-23T10:00:00Z]] name:{api}]]")
	if got := fmt.Sprint(c["cluster"].(map[string]any)["items"].([]any)[0]); got != want {
		t.Errorf("cluster %s\nwant    %s", got, want)
	}
	c = line(`{"kind":"cluster","cluster":{"kind":"List","items":[{"kind":"Pod","status":{"podIP":"10.77.1.9"}}],"changes":[{"namespace":"shop","service":"api","address":"10.77.1.9","at":"2026-11-23T10:00:00.5Z"}]}}`)["cluster"].(map[string]any)
	ch := c["changes"].([]any)[0].(map[string]any)
	if ip := c["items"].([]any)[0].(map[string]any)["status"].(map[string]any)["podIP"]; ch["at"] != "2026-11-23T10:00:00.5Z" || ch["service"] == "api" || ch["address"] != ip || ip == "10.77.1.9" {
		t.Errorf("changes %v, and the pod has %v", ch, ip)
	}
	f := line(`{"kind":"facts","facts":{"sysctls":{"7:net.ipv4.conf.bond0.100.rp_filter":"1","net.ipv4.ip_forward":"1"},"counters":{"7":{"IpOutNoRoutes":3}}}}`)
	if got, want := fmt.Sprint(f["facts"]), r.as("map[counters:map[7:map[IpOutNoRoutes:3]] sysctls:map[7:net.ipv4.conf.bond0.{100}.rp_filter:1 net.ipv4.ip_forward:1]]"); got != want {
		t.Errorf("facts %s\nwant  %s", got, want)
	}
	if _, err := r.Line([]byte("no JSON")); err == nil {
		t.Error("takes what it cannot read")
	}
}

// Whatever stands around an address, it does not come through.
func FuzzText(f *testing.F) {
	for _, s := range []string{"ip saddr |", "|:80", "[|]:80", "dst:|", "(|)", "|/24", "|-x", "x|", "!|", "|,", "to=|;", "\"|\"", "é|é", "-|-", "|.", "::|", "|%z", "a/|/b", "%|"} {
		f.Add(s)
	}
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:77:66::55aa")}
	f.Fuzz(func(t *testing.T, frame string) {
		if strings.Count(frame, "|") != 1 || len(frame) > 200 {
			return
		}
		for _, a := range addrs {
			// The mapping is random: by chance it gives the same once, not twice.
			left := 0
			for range 3 {
				r := redactor(t)
				if out := r.text(strings.Replace(frame, "|", a.String(), 1)); strings.Contains(out, a.String()) {
					left++
				}
			}
			if left == 3 {
				t.Errorf("%s is left of %q", a, frame)
			}
		}
	})
}

func TestTooManyNames(t *testing.T) {
	r := redactor(t)
	for i := range maxNames {
		r.names.pseudonym(fmt.Sprint("word", i))
	}
	if _, err := r.Line([]byte(`{"kind":"note","note":"one nobody heard of"}`)); err == nil {
		t.Error("goes on without bounds")
	}
}

// Whatever a recording holds, the result is a line, and is redacted already.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		`{"format":"podpath-session","node":"n1","command":["trace","--from","ns/pod/x:80"],"hosts":{"a.b":["10.0.0.1"]}}`,
		`{"kind":"event","event":{"skb":18446612688455996928,"tuple":{"src":"[fd00::1]:80"},"drop":{"location":"0xff"}}}`,
		`{"kind":"cluster","cluster":{"items":[{"kind":"Pod","metadata":{"labels":{"a":"b"}},"spec":{"selector":{"a":{}}}}]}}`,
		`{"kind":"facts","facts":{"sysctls":{"7:net.ipv4.conf.x.y":"1"},"rules":[{"text":"ip saddr 10.0.0.1 drop"}]}}`,
		`{"cluster":"text","kind":7}`, `{"a":[[["b"]]]}`, `{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		out, err := redactor(t).Line(line)
		if err != nil {
			return
		}
		if !json.Valid(out) || strings.ContainsRune(string(out), '\n') {
			t.Errorf("%q became %q", line, out)
		}
	})
}

// A policy of Calico's has one name in the cluster and in the agent's rules, and
// what was read and what not stays what it is.
func TestAgentPolicies(t *testing.T) {
	r := redactor(t)
	line := func(s string) string {
		out, err := r.Line([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	const policy = `"kind":"GlobalNetworkPolicy"`
	cluster := line(`{"cluster":{"kind":"List","items":[{"apiVersion":"crd.projectcalico.org/v1",` + policy + `,"metadata":{"name":"default.quux"}}],"unread":["NetworkPolicy"],"read":["GlobalNetworkPolicy","NetworkPolicy.crd.projectcalico.org"]}}`)
	for _, want := range []string{policy, `"unread":["NetworkPolicy"]`, `"read":["GlobalNetworkPolicy","NetworkPolicy.crd.projectcalico.org"]`} {
		if !strings.Contains(cluster, want) {
			t.Errorf("%s is not in %s", want, cluster)
		}
	}
	rule := line(`{"facts":{"rules":[{"agent":{"why":"denies","policies":[{` + policy + `,"name":"default.quux"}]}}]}}`)
	name := regexp.MustCompile(`"name":"[^"]*"`)
	if a, b := name.FindString(cluster), name.FindString(rule); a == "" || a != b || strings.Contains(a, "quux") || !strings.Contains(rule, policy) {
		t.Errorf("%s\n%s", cluster, rule)
	}
}

// By these devices a CNI is told (tracer/verdict/network.go), also in a redacted
// recording; * is the rest of a name, which may change.
func TestDevicesOfNetworks(t *testing.T) {
	r := redactor(t)
	for _, pattern := range strings.Fields(`flannel.* flannel-v6.* flannel-wg flannel-wg-v6 cni0 cali* vxlan.calico vxlan-v6.calico wireguard.cali wg-v6.cali tunl0
		cilium_host cilium_vxlan cilium_geneve cilium_wg0 lxc* eni* azv* gke* veth* kube-bridge tun-* weave vxlan-6784 antrea-gw0 antrea-tun0
		genev_sys_* vxlan_sys_* ovn-k8s-mp0 ovn0`) {
		prefix, open := strings.CutSuffix(pattern, "*")
		name := prefix
		if open {
			name += "1f2e3d"
		}
		if got := r.name(name); got != name && (!open || !strings.HasPrefix(got, prefix)) {
			t.Errorf("%s becomes %s", name, got)
		}
	}
}

// What the API says of a pod's start is written by kubelets, runtimes and plugins,
// and has anything in it: every word and number of it goes, and the names and
// addresses in it are those that the objects have.
func TestSentences(t *testing.T) {
	r := redactor(t)
	for in, want := range map[string]string{
		`plugin type="bridge" failed (add)`:                                   `{plugin} {type}="bridge" {failed} ({add})`,
		`no IP addresses available in range set: 10.244.1.1-10.244.1.6`:       `no {IP} {addresses} {available} in {range} {set}: {10.244.1.1}-{10.244.1.6}`,
		`pod "web-1_shop" network on 10.0.3.17:10250`:                         `pod "{web}-{1}_{shop}" {network} {on} {10.0.3.17}:10250`,
		`node ip-10-0-3-17 has 10.0.3.0/24, fd00::17 and [fd00::17]:443`:      `node {ip}-{10}-{0}-{3}-{17} {has} {10.0.3.0/24}, {fd00::17} {and} [{fd00::17}]:443`,
		`dial tcp 127.0.0.1:50051: connect: connection refused`:               `{dial} tcp 127.0.0.1:50051: {connect}: {connection} {refused}`,
		`account 4711007 of 2026-11-23T10:00:00Z took 1.5s 0xdeadbeef 80-443`: `{account} {4711007} {of} {2026}-{11}-{23T10}:{00}:{00Z} {took} {1}.{5s} {0xdeadbeef} {80}-{443}`,
		`Get "https://alice:s3cret@10.0.3.17:6443/api?token=abc"`:             `{Get} "https://{alice}:{s3cret}@{10}.{0}.{3}.{17}:{6443}/{api}?{token}={abc}"`,
		`read 0a:58:0a:f4:01:09.`:                                             `{read} 02:00:00:00:00:01.`,
	} {
		if got, want := r.sentence(in), r.as(want); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	r = redactor(t)
	name, said := r.name("web-1"), r.sentence("the pod web-1 waits")
	if !strings.Contains(said, name) {
		t.Errorf("%s is not in %s", name, said)
	}
	r.names.own = set("waits")
	if got := r.text("waits"); got != "waits" {
		t.Errorf("a word of a sentence was taken for a name: %s", got)
	}
}

// What an annotation says is kept for the words that an agent has for it.
func TestWaysAreWords(t *testing.T) {
	r := redactor(t)
	out := fmt.Sprint(r.object("items.metadata", map[string]any{"annotations": map[string]any{
		"flannel.alpha.coreos.com/backend-type": "alice", "podpath.dev/says": "bob", "podpath.dev/plugin": "carol-cni",
	}}))
	for _, w := range []string{"alice", "bob", "carol"} {
		if strings.Contains(out, w) {
			t.Errorf("%s is left in %s", w, out)
		}
	}
	for _, w := range []string{"podpath.dev/says", "podpath.dev/plugin", "-cni"} {
		if !strings.Contains(out, w) {
			t.Errorf("%s is lost in %s", w, out)
		}
	}
	if out := fmt.Sprint(r.object("items.status.allocatable", map[string]any{"pods": "110"}), r.object("items.spec.allocatable", map[string]any{"pods": "alice", "cpu": "2"})); !strings.Contains(out, "pods:110") || strings.Contains(out, "alice") {
		t.Error(out)
	}
	if out := fmt.Sprint(r.object("items.status.allocatable", map[string]any{"pods": "alice"})); strings.Contains(out, "alice") {
		t.Error(out)
	}
}

// Whatever a message is, no address and no number of it comes through as it was.
func FuzzSentence(f *testing.F) {
	for _, s := range []string{"dial |", "|:80", "[|]:80", "(|", "|/24", "|-x", "//u:p@|/", "|.", "%|", "_|_", "\"|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, frame string) {
		if strings.Count(frame, "|") != 1 || len(frame) > 200 || regexp.MustCompile(`[0-9a-zA-Z\p{L}\p{N}\p{M}]\||\|[0-9a-zA-Z\p{L}\p{N}\p{M}]`).MatchString(frame) {
			return
		}
		for _, secret := range []string{"203.0.113.77", "2001:db8:77:66::55aa", "4711007", "alice"} {
			left := 0
			for range 3 {
				if strings.Contains(redactor(t).sentence(strings.Replace(frame, "|", secret, 1)), secret) {
					left++
				}
			}
			if left == 3 && !strings.Contains(frame, secret) {
				t.Errorf("%s is left of %q", secret, frame)
			}
		}
	})
}
