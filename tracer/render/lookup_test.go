package render

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

func TestLookup(t *testing.T) {
	j := &tracer.Journey{Flow: tracer.Tuple{Dst: netip.MustParseAddrPort("10.9.0.10:53")}}
	dns := &tracer.ClusterFacts{TargetPod: &tracer.PodFacts{Namespace: "kube-system", Name: "coredns-1", DNS: true}}
	other := &tracer.ClusterFacts{TargetPod: &tracer.PodFacts{Namespace: "shop", Name: "dns"}}
	up := tracer.Upstream{Resolver: netip.MustParseAddrPort("192.0.2.53:53"), Proto: tracer.ProtoUDP, Asked: 2}
	answered, tls := up, up
	answered.Answered, answered.RCode, answered.Slowest = 2, tracer.RCodeServFail, 3*time.Millisecond
	tls.Proto, tls.Answered, tls.Refused = tracer.ProtoTCP, 1, true
	tests := []struct {
		name   string
		lookup *tracer.Lookup
		up     []tracer.Upstream
		c      *tracer.ClusterFacts
		want   string
	}{
		{"none", nil, nil, dns, `null`},
		{"no answer", &tracer.Lookup{Asked: 1}, []tracer.Upstream{up}, dns,
			`{"resolver":"10.9.0.10:53","server":"kube-system/coredns-1","asked":1,"answered":0,"upstream":[{"resolver":"192.0.2.53:53","protocol":"UDP","asked":2,"answered":0}]}`},
		{"a failure", &tracer.Lookup{Asked: 1, Answered: 1, RCode: tracer.RCodeServFail, Slowest: 4 * time.Second, Repeated: 1, Truncated: true}, []tracer.Upstream{answered, tls}, other,
			`{"resolver":"10.9.0.10:53","asked":1,"answered":1,"rcode":"SERVFAIL","latency_ms":4000,"repeated":1,"truncated":true,"upstream":[` +
				`{"resolver":"192.0.2.53:53","protocol":"UDP","asked":2,"answered":2,"rcode":"SERVFAIL","latency_ms":3},` +
				`{"resolver":"192.0.2.53:53","protocol":"TCP","asked":2,"answered":1,"refused":true}]}`},
		{"a search list", &tracer.Lookup{Asked: 1, Answered: 1, Misses: 8, Took: 12 * time.Millisecond, Slowest: 1500 * time.Microsecond}, nil, other,
			`{"resolver":"10.9.0.10:53","asked":1,"answered":1,"rcode":"NOERROR","latency_ms":1.5,"search_misses":8,"search_ms":12}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j.Lookup, j.Upstream = tt.lookup, tt.up
			b, err := json.Marshal(newLookup(j, tt.c))
			if err != nil || string(b) != tt.want {
				t.Errorf("%v\n got %s\nwant %s", err, b, tt.want)
			}
		})
	}
}
