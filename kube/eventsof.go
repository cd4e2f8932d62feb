package kube

import "slices"

// eventsField is where a written dump says of which pods without an address it has
// the Events.
const eventsField = "eventsOf"

// podName is a pod in that list.
type podName struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// eventsKnown: the Events of that very pod were read, and those that there are, are
// here.
func (s *Snapshot) eventsKnown(p *Pod) bool {
	uid, read := s.eventsOf[p.Key()]
	return read && (uid == p.UID || uid == "" || p.UID == "")
}

// eventsNamed are the pods without an address of which Events are known, by name. It
// is nil, and not empty, if there is no Event either, of which more would be thought.
func (s *Snapshot) eventsNamed() []podName {
	if len(s.eventsOf) == 0 && s.events.len() == 0 {
		return nil
	}
	out := []podName{}
	for k := range s.eventsOf {
		if p, ok := s.pods.get(k); ok && p.wantsAddress() && s.eventsKnown(p) {
			out = append(out, podName(k))
		}
	}
	slices.SortFunc(out, func(a, b podName) int { return compareKeys(Key(a), Key(b)) })
	return out
}

// eventsKnown are the pods without an address of which a dump has the Events. One of
// kubectl's has those of the namespaces that were asked for, which shows if there is
// any Event in them.
func (l *loader) eventsKnown(s *Snapshot) map[Key]string {
	out := map[Key]string{}
	note := func(p *Pod) {
		if p.wantsAddress() {
			out[p.Key()] = p.UID
		}
	}
	if l.listed {
		for _, name := range l.eventsOf {
			if p, ok := s.pods.get(Key(name)); ok {
				note(p)
			}
		}
		return out
	}
	for ns := range l.eventsIn {
		for p := range s.PodsIn(ns) {
			note(p)
		}
	}
	return out
}
