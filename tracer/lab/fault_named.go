package lab

import (
	"context"
	"time"
)

// namedFaults are lookups that fail, so that the connection which they were for is
// never tried: what is traced is the connection.
func namedFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: byName(arrange)}
	}
	return []Fault{
		control("healthy-by-name", "a Service by its name", "A pod looks its Service up, and connects.", bothProtocols,
			byName(func(_ context.Context, l *Lab) (*scene, error) { return l.toDNS(), nil })),
		control("healthy-by-short-name", "a Service by a short name", "A pod looks its Service up by a short name, which the last domain of its search list has, and connects.", bothProtocols, byName(arrangeSearch)),
		f("dns", "dns-nxdomain-search", "name-not-found", "a Service by a wrong name", "A pod looks up a name that does not exist, and so never connects.", time.Second, arrangeNoSuchName),
		f("dns", "dns-servfail", "name-servfail", "a Service by its name, and DNS fails", "The cluster's DNS answers SERVFAIL, and so the pod never connects.", time.Second, arrangeDNSAnswer(listenArgs{RCode: 2}, DNSError)),
		f("dns", "dns-coredns-down", "name-dns-down", "a Service by its name, and DNS is not ready", "No pod of the cluster's DNS is ready, and so the pod never connects.", 2*time.Second, arrangeDNSDown),
		f("policy", "pol-dns-egress", "name-dns-policy", "a Service by its name, and a policy forgets DNS", "A NetworkPolicy of the client allows the server, and forgets DNS: the pod never connects.", silence, arrangeDNSDeny),
	}
}

// byName makes a lookup the beginning of a connection to the server's Service. The
// attempts are a client's that tries again.
func byName(arrange arrangement) arrangement {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		lookup, err := arrange(ctx, l)
		if err != nil {
			return nil, err
		}
		s := l.toService()
		s.Object, s.Symptoms, s.gap = lookup.Object, lookup.Symptoms, time.Second
		s.dial.Lookup = &lookup.dial
		return s, nil
	}
}
