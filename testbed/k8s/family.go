package k8s

import corev1 "k8s.io/api/core/v1"

// Addresses of the second family. The underlay's are unique local ones; the
// host outside has one of those that are kept for documentation.
const (
	underlay6    = "fd00:50::"
	gatewayAddr6 = underlay6 + "254"
	serviceCIDR6 = "fd00:10:96::/112"
	dnsAddr6     = "fd00:10:96::a"
	podCIDR6     = "fd00:10:244::/56"
	outsideAddr6 = "2001:db8:203::10"
)

// Family is the one that scenarios speak.
func (f Flavour) Family() corev1.IPFamily {
	if f.Dual {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// families are those of nodes, pods and Services. The cluster's first is IPv4.
func (f Flavour) families() []corev1.IPFamily {
	if f.Dual {
		return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// both is the IPv4 value, or both if there are two families.
func (f Flavour) both(four, six string) []string {
	if f.Dual {
		return []string{four, six}
	}
	return []string{four}
}

// spoken is the value of the family that scenarios speak.
func (f Flavour) spoken(four, six string) string {
	all := f.both(four, six)
	return all[len(all)-1]
}

// OutsideAddr is the address of the host that stands for the internet.
func (c *Cluster) OutsideAddr() string { return c.Flavour.spoken(outsideAddr, outsideAddr6) }

// DNSAddr is where pods ask for names.
func (c *Cluster) DNSAddr() string { return c.Flavour.spoken(dnsAddr, dnsAddr6) }

// Nobody is an address of the underlay that no host has.
func (c *Cluster) Nobody() string { return c.Flavour.spoken(underlay+"199", underlay6+"199") }
