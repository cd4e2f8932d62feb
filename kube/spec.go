package kube

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SpecKind is what an EndpointSpec names.
type SpecKind string

// The kinds of the command line, and the forms without a kind.
const (
	SpecPod         SpecKind = "pod"
	SpecService     SpecKind = "svc"
	SpecDeployment  SpecKind = "deploy"
	SpecStatefulSet SpecKind = "sts"
	SpecDaemonSet   SpecKind = "ds"
	SpecNode        SpecKind = "node"
	SpecNamespace   SpecKind = "ns"
	SpecPrefix      SpecKind = "cidr" // an address or a range
	SpecDNS         SpecKind = "dns"
	SpecAny         SpecKind = "any"
	SpecInternet    SpecKind = "internet"
)

// EndpointSpec is one end of a trace as the person wrote it.
type EndpointSpec struct {
	Kind SpecKind
	// Namespace is set for pods, Services and workloads.
	Namespace string
	// Name of the object, or the DNS name.
	Name string
	// Prefix is set for SpecPrefix; an address is a prefix of full length.
	Prefix netip.Prefix
	// Port is 0 if none was given. PortName is set instead for a name; only
	// pods, Services and workloads have named ports.
	Port     uint16
	PortName string
}

// String gives the canonical form, which ParseEndpoint reads again.
func (s EndpointSpec) String() string {
	port := s.PortName
	if s.Port != 0 {
		port = strconv.Itoa(int(s.Port))
	}
	if port != "" {
		port = ":" + port
	}
	switch s.Kind {
	case SpecAny, SpecInternet:
		return string(s.Kind) + port
	case SpecDNS:
		return s.Name + port
	case SpecPrefix:
		text := s.Prefix.String()
		if s.Prefix.IsSingleIP() {
			text = s.Prefix.Addr().String()
		}
		if port != "" && s.Prefix.Addr().Is6() {
			text = "[" + text + "]"
		}
		return text + port
	case SpecNode, SpecNamespace:
		return string(s.Kind) + "/" + s.Name + port
	}
	return s.Namespace + "/" + string(s.Kind) + "/" + s.Name + port
}

// SpecError says why an endpoint cannot be read.
type SpecError struct {
	Input  string
	Reason string
}

func (e *SpecError) Error() string { return fmt.Sprintf("endpoint %q: %s", e.Input, e.Reason) }

const specForms = "[NAMESPACE/]KIND/NAME[:PORT] with KIND pod, svc, deploy, sts, ds, node or ns; " +
	"an IP, CIDR or DNS name with an optional :PORT (IPv6 in brackets); any; or internet"

// specKinds are the kinds and kubectl's other names for them.
func specKind(s string) (SpecKind, bool) {
	switch strings.ToLower(s) {
	case "pod", "pods", "po":
		return SpecPod, true
	case "svc", "service", "services":
		return SpecService, true
	case "deploy", "deployment", "deployments":
		return SpecDeployment, true
	case "sts", "statefulset", "statefulsets":
		return SpecStatefulSet, true
	case "ds", "daemonset", "daemonsets":
		return SpecDaemonSet, true
	case "node", "nodes", "no":
		return SpecNode, true
	case "ns", "namespace", "namespaces":
		return SpecNamespace, true
	}
	return "", false
}

// ParseEndpoint reads an endpoint of the command line. Names are not looked
// up. Errors are of type *SpecError.
func ParseEndpoint(s, defaultNamespace string) (EndpointSpec, error) {
	fail := func(format string, args ...any) (EndpointSpec, error) {
		return EndpointSpec{}, &SpecError{Input: s, Reason: fmt.Sprintf(format, args...)}
	}
	if s == "" {
		return fail("is empty; write %s", specForms)
	}
	if spec, ok, err := parsePrefix(s); err != nil {
		return fail("%v", err)
	} else if ok {
		return spec, nil
	}
	rest, port, err := splitPort(s)
	if err != nil {
		return fail("%v", err)
	}
	spec := EndpointSpec{Port: port.number, PortName: port.name}
	parts := strings.Split(rest, "/")
	switch len(parts) {
	case 1:
		return parseBare(spec, s, rest)
	case 2:
		k, ok := specKind(parts[0])
		if !ok {
			return fail("unknown kind %q; write %s, for example %s/pod/%s", parts[0], specForms, parts[0], parts[1])
		}
		spec.Kind, spec.Name, spec.Namespace = k, parts[1], defaultNamespace
	case 3:
		k, ok := specKind(parts[1])
		if !ok {
			return fail("unknown kind %q; write %s", parts[1], specForms)
		}
		spec.Kind, spec.Namespace, spec.Name = k, parts[0], parts[2]
		if k == SpecNode || k == SpecNamespace {
			return fail("a %s is in no namespace; write %s/%s", k, k, parts[2])
		}
	default:
		return fail("has too many slashes; write %s", specForms)
	}
	return checkNames(spec, s)
}

func checkNames(spec EndpointSpec, s string) (EndpointSpec, error) {
	fail := func(format string, args ...any) (EndpointSpec, error) {
		return EndpointSpec{}, &SpecError{Input: s, Reason: fmt.Sprintf(format, args...)}
	}
	if spec.Kind == SpecNode || spec.Kind == SpecNamespace {
		spec.Namespace = ""
		if spec.PortName != "" {
			return fail("a %s has no named ports; give the number", spec.Kind)
		}
	} else if !isName(spec.Namespace) {
		return fail("%q is no namespace name; give one with NAMESPACE/ or -n", spec.Namespace)
	}
	if !isName(spec.Name) {
		return fail("%q is no object name", spec.Name)
	}
	return spec, nil
}

// parseBare reads what has no slash: any, internet, or a DNS name.
func parseBare(spec EndpointSpec, s, rest string) (EndpointSpec, error) {
	fail := func(format string, args ...any) (EndpointSpec, error) {
		return EndpointSpec{}, &SpecError{Input: s, Reason: fmt.Sprintf(format, args...)}
	}
	if spec.PortName != "" {
		return fail("port %q is no number from 1 to 65535", spec.PortName)
	}
	switch rest {
	case string(SpecAny), string(SpecInternet):
		spec.Kind = SpecKind(rest)
		return spec, nil
	}
	if k, ok := specKind(rest); ok {
		return fail("has no name; write %s/NAME", k)
	}
	// A name without a dot is more likely an object whose kind was left out
	// than a host: the resolver would search it through every domain.
	name := strings.TrimSuffix(rest, ".")
	if !isName(name) || !strings.Contains(name, ".") {
		return fail("is no address and no full DNS name; write %s, for example pod/%s", specForms, rest)
	}
	if onlyDigitsAndDots(name) {
		return fail("is no valid IP address")
	}
	spec.Kind, spec.Name = SpecDNS, strings.ToLower(name)
	return spec, nil
}

func onlyDigitsAndDots(s string) bool { return strings.Trim(s, "0123456789.") == "" }

// parsePrefix reads addresses and ranges, with or without port. ok is false if
// the text is something else.
func parsePrefix(s string) (spec EndpointSpec, ok bool, err error) {
	text, port := s, ""
	if inner, found := strings.CutPrefix(s, "["); found {
		var after string
		if text, after, found = strings.Cut(inner, "]"); !found {
			return spec, false, fmt.Errorf("lacks the closing bracket")
		}
		switch {
		case after == "":
		case after[0] == ':':
			port = after[1:]
			if port == "" {
				return spec, false, fmt.Errorf("has no port after the colon")
			}
		default:
			return spec, false, fmt.Errorf("has %q after the bracket", after)
		}
		if !strings.Contains(text, ":") {
			return spec, false, fmt.Errorf("brackets are for IPv6 addresses")
		}
	} else if host, p, found := strings.Cut(s, ":"); found && !strings.Contains(p, ":") {
		text, port = host, p
		if _, isPrefix := readPrefix(text); isPrefix && port == "" {
			return spec, false, fmt.Errorf("has no port after the colon")
		}
	}
	prefix, ok := readPrefix(text)
	if !ok {
		if strings.HasPrefix(s, "[") {
			return spec, false, fmt.Errorf("%q is no IPv6 address or range", text)
		}
		if strings.Count(s, ":") > 1 {
			return spec, false, fmt.Errorf("is no IPv6 address or range (with a port, the address stands in brackets)")
		}
		return spec, false, nil
	}
	spec = EndpointSpec{Kind: SpecPrefix, Prefix: prefix}
	if port != "" {
		if spec.Port, err = portNumber(port); err != nil {
			return spec, false, err
		}
	}
	return spec, true, nil
}

func readPrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

type specPort struct {
	number uint16
	name   string
}

func splitPort(s string) (rest string, port specPort, err error) {
	rest, text, found := strings.Cut(s, ":")
	if !found {
		return s, port, nil
	}
	if text == "" {
		return s, port, fmt.Errorf("has no port after the colon")
	}
	if isPortName(text) {
		return rest, specPort{name: text}, nil
	}
	port.number, err = portNumber(text)
	return rest, port, err
}

func portNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("port %q is no number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// isPortName follows IANA_SVC_NAME (RFC 6335 §5.1), which the API demands of
// port names: letters, digits and hyphens, with a letter.
func isPortName(s string) bool {
	letter := false
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z':
			letter = true
		case c >= '0' && c <= '9', c == '-':
		default:
			return false
		}
	}
	return letter && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

// isName is a DNS subdomain (RFC 1123), as object names are; underscores are
// allowed because DNS names in use have them, and upper case because DNS does
// not mind.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
