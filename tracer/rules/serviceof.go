package rules

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// kube-proxy names the Service in the comments of its rules and elements
// ("shop/web:http has no endpoints", "shop/web:http -> 10.244.1.9:8080") and, in
// its nftables mode, in the names of chains
// ("service-ULMVA6XW-shop/web/tcp/http",
// "endpoint-5OJB2KTY-shop/web/tcp/http__10.244.1.9/8080"); see
// pkg/proxy/iptables and pkg/proxy/nftables of Kubernetes 1.31.
var (
	serviceWord   = regexp.MustCompile(`(?:^|[\s"])([a-z0-9](?:[-a-z0-9]*[a-z0-9])?/[a-z]([-a-z0-9]*[a-z0-9])?)(?::[-a-z0-9]+)?(?:$|[\s"])`)
	targetWord    = regexp.MustCompile(`-> (\S+)`)
	serviceChain  = regexp.MustCompile(`^(?:service|local|external|firewall|affinity)-[A-Z0-9]+-([^/]+/[^/]+)/`)
	endpointChain = regexp.MustCompile(`^(?:endpoint|affinity)-[A-Z0-9]+-([^/]+/[^/]+)/[^/]+/.*__([^/]+)/(\d+)$`)
)

// serviceOf is the Service, as "namespace/name", and the endpoint that a rule of
// kube-proxy is about: its own comment says it best, then what led to it, the
// nearest first, then the chains on the way.
func serviceOf(path []*chain, said []string, comment string) (service string, endpoint netip.AddrPort) {
	for i := len(said); i >= 0 && service == ""; i-- {
		text := comment
		if i < len(said) {
			text = said[i]
		}
		if m := serviceWord.FindStringSubmatch(text); m != nil {
			service = m[1]
			endpoint = endpointIn(text)
		}
	}
	for i := len(path) - 1; i >= 0 && service == ""; i-- {
		service, endpoint = serviceOfChain(path[i].name)
	}
	return service, endpoint
}

func endpointIn(comment string) netip.AddrPort {
	m := targetWord.FindStringSubmatch(comment)
	if m == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(m[1])
	return ap
}

func serviceOfChain(name string) (service string, endpoint netip.AddrPort) {
	if m := endpointChain.FindStringSubmatch(name); m != nil {
		a, err := netip.ParseAddr(m[2])
		if err != nil { // names of chains have no colons
			a, err = netip.ParseAddr(strings.ReplaceAll(m[2], ".", ":"))
		}
		port, err2 := strconv.ParseUint(m[3], 10, 16)
		if err == nil && err2 == nil {
			endpoint = netip.AddrPortFrom(a, uint16(port))
		}
		return m[1], endpoint
	}
	if m := serviceChain.FindStringSubmatch(name); m != nil {
		return m[1], netip.AddrPort{}
	}
	return "", netip.AddrPort{}
}
