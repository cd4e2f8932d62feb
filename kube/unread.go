package kube

import "slices"

// unreadEffect says what is not known without a kind that the credentials do
// not allow to read. Pods are not among them: without them there is nothing to
// say about anything.
var unreadEffect = [kinds]string{
	kindService:   "no Service is known by name, and nothing is said about Services",
	kindSlice:     "the endpoints of Services are not known, and nothing is said about Services",
	kindNode:      "node addresses and pod ranges are not known",
	kindNamespace: "what NetworkPolicies say is not known: they select namespaces by label",
	kindPolicy:    "what NetworkPolicies say is not known",
	kindEvent:     "why a pod gets no address is known by the state of its node and of the CNI's pods only",

	kindAdminPolicy:             unreadTier,
	kindBaselinePolicy:          unreadTier,
	kindClusterPolicy:           unreadTier,
	kindCalicoPolicy:            unreadCNI,
	kindGlobalPolicy:            unreadCNI,
	kindCiliumPolicy:            unreadCNI,
	kindCiliumClusterwidePolicy: unreadCNI,
}

const (
	unreadTier = "whether one of them allows or denies a flow is not known"
	unreadCNI  = "which of them select a pod is not known"
)

// Unread names the kinds that could not be read ("NetworkPolicy"), in order.
func (s *Snapshot) Unread() []string {
	var out []string
	for k, unread := range s.unread {
		if unread {
			out = append(out, kind(k).String())
		}
	}
	return out
}

// UnreadEffect says what is not known if a kind cannot be read.
func UnreadEffect(name string) string {
	for k, effect := range unreadEffect {
		if kind(k).String() == name {
			return effect
		}
	}
	return ""
}

// Read names the kinds of policies beyond NetworkPolicy that could be read, or of
// which there surely are none. Others may exist all the same: a dump of kubectl's
// has only what was asked for, and Calico can keep its own outside of the API
// server.
func (s *Snapshot) Read() []string {
	var out []string
	for k, read := range s.read {
		if read {
			out = append(out, kind(k).String())
		}
	}
	return out
}

// PoliciesKnown reports whether the policies, and what they select by, could be
// read.
func (s *Snapshot) PoliciesKnown() bool { return !s.unread[kindPolicy] && !s.unread[kindNamespace] }

// ServicesKnown reports whether Services and their endpoints could be read.
func (s *Snapshot) ServicesKnown() bool { return !s.unread[kindService] && !s.unread[kindSlice] }

// mark notes the kinds that a written dump says were not read, and which of those
// that not every cluster has were.
func (s *Snapshot) mark(unread, read []string) {
	for k := range kinds {
		s.unread[k] = slices.Contains(unread, k.String())
		s.read[k] = s.read[k] || k.custom() && slices.Contains(read, k.String())
	}
}

// Refused are the resources that the API server does not let podpath read; the
// rest is followed all the same.
func (s *Store) Refused() []*AccessError { return s.refused }
