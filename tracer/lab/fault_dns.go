package lab

import (
	"context"
	"time"
)

func dnsFaults() []Fault {
	return []Fault{
		{Name: "dns-no-endpoints", Title: "the cluster's DNS is not ready", Description: "No pod behind the cluster's DNS Service is ready; kube-proxy rejects.",
			Component: "dns", Code: "dns-coredns-down", Protocols: []string{"udp"}, Visible: 2 * time.Second, arrange: arrangeDNSDown},
		{Name: "dns-tcp-policy", Title: "DNS over TCP blocked by egress policy", Description: "A NetworkPolicy of the client allows DNS over UDP, and forgets TCP.",
			Component: "policy", Code: "pol-dns-egress", Protocols: []string{"tcp"}, Visible: silence, arrange: arrangeDNSOverTCP},
	}
}

func arrangeDNSDown(_ context.Context, l *Lab) (*scene, error) {
	s := l.dnsService()
	return l.toDNS().blames("Service", s.ns, s.name).shows(Refused), l.sync(l.syncProxy, func() { with(l, &l.dnsPod().notReady, true) })
}

func arrangeDNSOverTCP(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	allow := l.dnsAllowance()
	allow.ports = allow.ports[:1]
	s := l.toDNS()
	s.dial.Kind, s.dial.Retries = dialDNSOverTCP, 0
	return l.deniedBy(s, policy{
		ns: p.clientNS, name: p.client + "-egress", app: p.client, egress: true,
		allow: []allowRule{allow, {namespaces: map[string]string{"team": p.serverTeam}, ports: l.appPorts()}},
	})
}
