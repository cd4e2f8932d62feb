package scenario

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

func flowBetween(from, to string, translations ...render.Translation) render.FlowRef {
	return render.FlowRef{
		Source: tracer.Endpoint{IP: netip.MustParseAddr(from)}, Destination: tracer.Endpoint{IP: netip.MustParseAddr(to)},
		Translations: translations,
	}
}

// wrongOf is what is wrong with a path on node n1, in a cluster without pods.
func wrongOf(flavour string, path []string, flow render.FlowRef, hops ...render.HopLine) []string {
	f, err := k8s.FlavourOf(flavour)
	if err != nil {
		return []string{err.Error()}
	}
	node := &k8s.Node{NodeConfig: k8s.NodeConfig{Name: "n1"}, Space: &k8s.Space{}}
	for i := range hops {
		hops[i].Node, hops[i].Where = "n1", "n1 eth0"
	}
	return Want{Path: path}.misnamed(&k8s.Cluster{Flavour: f}, node, flow, hops)
}

func TestPathNamesSNAT(t *testing.T) {
	snat := render.Translation{Kind: "snat", From: "10.244.1.7:4242", To: "192.168.50.11:60001"}
	for name, c := range map[string]struct {
		path []string
		did  []render.Translation
		want []string
	}{
		"as it is": {[]string{"snat 10.244.1.7 to 192.168.50.11"}, []render.Translation{snat}, nil},
		"missing": {[]string{"snat 10.244.1.7 to 192.168.50.11"}, nil,
			[]string{"the path does not name snat 10.244.1.7 to 192.168.50.11"}},
		"another address": {[]string{"snat 10.244.1.7 to 10.244.0.0"}, []render.Translation{snat}, []string{
			"the path does not name snat 10.244.1.7 to 10.244.0.0",
			"the path names snat 10.244.1.7 to 192.168.50.11, which is not so",
		}},
		"one too many": {[]string{"node n1"}, []render.Translation{snat},
			[]string{"the path names snat 10.244.1.7 to 192.168.50.11, which is not so"}},
		"nobody said": {nil, []render.Translation{snat}, nil},
		"no addresses": {nil, []render.Translation{{Kind: "snat"}},
			[]string{`a translation of "" to ""`}},
		"for somebody": {nil, []render.Translation{{Kind: "snat", From: snat.From, To: snat.To, ToObject: "a/pod/b"}},
			[]string{"snat of the source is said to be for a/pod/b"}},
	} {
		got := wrongOf("flannel", c.path, flowBetween("10.244.1.7", "203.0.113.10", c.did...), render.HopLine{What: "sent"})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.want)
		}
	}
}

func TestPathNamesTunnel(t *testing.T) {
	hop := render.HopLine{What: "sent in vxlan to 192.168.50.12", Tuple: "10.244.1.7:4242 > 10.244.2.3:80"}
	plain := render.HopLine{What: "sent", Tuple: hop.Tuple}
	path := []string{"vxlan to 192.168.50.12 of 10.244.1.7 > 10.244.2.3"}
	for name, c := range map[string]struct {
		flavour string
		path    []string
		hop     render.HopLine
		want    []string
	}{
		"as it is":        {"flannel", path, hop, nil},
		"not seen in one": {"flannel", path, plain, []string{"the path does not name " + path[0]}},
		"to another node": {"flannel", []string{"vxlan to 192.168.50.13 of 10.244.1.7 > 10.244.2.3"}, hop, []string{
			"the path does not name vxlan to 192.168.50.13 of 10.244.1.7 > 10.244.2.3",
			"the path names " + path[0] + ", which is not so",
		}},
		"where there is none": {"flannel-hostgw", nil, hop, []string{"n1 eth0, sent in vxlan to 192.168.50.12: nodes are connected by host-gw"}},
		"of nobody": {"flannel", nil, render.HopLine{What: hop.What},
			[]string{`n1 eth0, sent in vxlan to 192.168.50.12: the inner packet is ""`}},
	} {
		got := wrongOf(c.flavour, c.path, flowBetween("10.244.1.7", "10.244.2.3"), c.hop)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.want)
		}
	}
}
