package kube

import (
	"errors"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	tests := []struct{ in, want string }{
		{"pod/checkout-7d9f", "dflt/pod/checkout-7d9f"},
		{"shop/pod/checkout-7d9f:8080", "shop/pod/checkout-7d9f:8080"},
		{"shop/po/checkout-7d9f", "shop/pod/checkout-7d9f"},
		{"svc/api", "dflt/svc/api"},
		{"payments/svc/api:80", "payments/svc/api:80"},
		{"payments/service/api:http", "payments/svc/api:http"},
		{"deploy/api", "dflt/deploy/api"},
		{"x/Deployment/api", "x/deploy/api"},
		{"x/sts/db:5432", "x/sts/db:5432"},
		{"ds/agent", "dflt/ds/agent"},
		{"ns/shop", "ns/shop"},
		{"ns/shop:443", "ns/shop:443"},
		{"ns/deploy/x", "ns/deploy/x"}, // a namespace named ns
		{"pod/svc/x", "pod/svc/x"},     // a namespace named pod
		{"node/n1", "node/n1"},
		{"node/ip-10-0-0-1.eu-west-1.compute.internal:10250", "node/ip-10-0-0-1.eu-west-1.compute.internal:10250"},
		{"10.0.0.1", "10.0.0.1"},
		{"10.0.0.1:53", "10.0.0.1:53"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"10.0.0.0/8:443", "10.0.0.0/8:443"},
		{"fd00::1", "fd00::1"},
		{"fe80::1%eth0", "fe80::1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"[fd00::1]", "fd00::1"},
		{"[fd00::1]:80", "[fd00::1]:80"},
		{"fd00::/64", "fd00::/64"},
		{"[fd00::/64]:80", "[fd00::/64]:80"},
		{"example.com", "example.com"},
		{"Example.com.:443", "example.com:443"},
		{"web.shop.svc", "web.shop.svc"},
		{"_sip.example.com", "_sip.example.com"},
		{"any", "any"},
		{"any:53", "any:53"},
		{"internet:443", "internet:443"},
	}
	for _, tt := range tests {
		got, err := ParseEndpoint(tt.in, "dflt")
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got.String() != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseEndpointErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", "is empty"},
		{"checkout", "for example pod/checkout"},
		{"shop/checkout-7d9f", "for example shop/pod/checkout-7d9f"},
		{"shop/job/x", `unknown kind "job"`},
		{"pod/", "is no object name"},
		{"/pod/x", "is no namespace name"},
		{"a/b/c/d", "too many slashes"},
		{"shop/node/n1", "is in no namespace; write node/n1"},
		{"shop/ns/x", "is in no namespace; write ns/x"},
		{"pod", "has no name; write pod/NAME"},
		{"pod/x:", "no port after the colon"},
		{"pod/x:0", "no number from 1 to 65535"},
		{"pod/x:65536", "no number from 1 to 65535"},
		{"pod/x:-1", "no number from 1 to 65535"},
		{"node/n1:ssh", "no named ports"},
		{"10.0.0.1:", "no port after the colon"},
		{"10.0.0.1:http", "no number from 1 to 65535"},
		{"10.0.0.300", "no valid IP address"},
		{"10.0.0.0/33", "unknown kind"},
		{"fd00::1:80:zz", "the address stands in brackets"},
		{"[fd00::1", "closing bracket"},
		{"[fd00::1]80", "after the bracket"},
		{"[fd00::1]:", "no port after the colon"},
		{"[10.0.0.1]:80", "brackets are for IPv6"},
		{"[fd00::zz]:80", "no IPv6 address"},
		{"any:http", "no number"},
		{"example.com:https", "no number"},
		{"pod/bad name", "is no object name"},
		{"pod/\x1b[31m", "is no object name"},
	}
	for _, tt := range tests {
		_, err := ParseEndpoint(tt.in, "dflt")
		var se *SpecError
		if !errors.As(err, &se) {
			t.Errorf("%q: got %v, want a SpecError", tt.in, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %q, want it to say %q", tt.in, err, tt.want)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{
		"pod/a", "a/pod/b:80", "svc/a:http", "ns/x", "node/n", "10.0.0.1:1", "10.0.0.0/8", "[fd00::1]:80", "[fd00::/64]:1",
		"fd00::1", "example.com:443", "any", "internet", "", ":", "[", "]", "a/b/c/d", "::ffff:1.2.3.4", "0.0.0.0/0",
	} {
		f.Add(s, "default")
	}
	f.Fuzz(func(t *testing.T, in, ns string) {
		spec, err := ParseEndpoint(in, ns)
		if err != nil {
			var se *SpecError
			if !errors.As(err, &se) {
				t.Fatalf("error of another type: %v", err)
			}
			return
		}
		again, err := ParseEndpoint(spec.String(), "other")
		if err != nil {
			t.Fatalf("%q gives %q, which does not parse: %v", in, spec, err)
		}
		if again != spec {
			t.Errorf("%q gives %q, which parses to %+v instead of %+v", in, spec, again, spec)
		}
	})
}

func TestEditDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"api", "api", 0}, {"api", "apis", 1}, {"api", "pai", 1}, {"api", "xyz", 3}, {"", "ab", 2},
		{"checkout", "chekcout", 1}, {"kitten", "sitting", 3}, {"abcdefgh", "z", 5},
	}
	for _, tt := range tests {
		if got := EditDistance(tt.a, tt.b, 4); got != tt.want {
			t.Errorf("%q %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
