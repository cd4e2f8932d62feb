package kube

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// model is a Store as one would write it without thinking of its cost: every
// state in full, looked through from end to end.
type model struct {
	states []state
}

type state struct {
	at     time.Time
	pods   map[string]*Pod
	former map[netip.Addr]Former
}

func (m *model) last() *state { return &m.states[len(m.states)-1] }

// take makes the next state of a change; p is nil for a deletion.
func (m *model) take(name string, p *Pod, at time.Time) {
	s := state{at, maps.Clone(m.last().pods), maps.Clone(m.last().former)}
	old := s.pods[name]
	delete(s.pods, name)
	if p != nil {
		s.pods[name] = p
	}
	if old != nil && old.ownsIPs() {
		for _, ip := range old.IPs {
			s.former[ip] = Former{old, at}
		}
	}
	for ip := range s.former {
		if len(s.owners(ip)) > 0 {
			delete(s.former, ip)
		}
	}
	m.states = append(m.states, s)
}

func (s *state) owners(ip netip.Addr) []*Pod {
	var out []*Pod
	for _, p := range s.pods {
		if p.ownsIPs() && slices.Contains(p.IPs, ip) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, likelierOwner)
	return out
}

// owner is who had an address at a moment.
func (m *model) owner(ip netip.Addr, t time.Time) string {
	s := &m.states[0]
	for i := range m.states {
		if !m.states[i].at.After(t) {
			s = &m.states[i]
		}
	}
	if o := s.owners(ip); len(o) > 0 {
		return o[0].Name
	}
	if s == m.last() {
		return ""
	}
	for _, p := range m.last().owners(ip) { // reported late
		known := s.pods[p.Name]
		if !p.Created.After(t) || known != nil && known.UID == p.UID {
			return p.Name
		}
	}
	return ""
}

// TestHistoryAgainstModel: pods come, get addresses, pass them on and go, in any
// order; whoever is asked for at any moment is who the model says.
func TestHistoryAgainstModel(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		st, m := NewStore(newSnapshot(nil, at(0))), &model{states: []state{{at(0), map[string]*Pod{}, map[netip.Addr]Former{}}}}
		now := at(0)
		for i := range 120 {
			now = now.Add(time.Duration(1+rnd.IntN(3000)) * time.Millisecond)
			name := fmt.Sprint("pod-", rnd.IntN(8))
			p := randomPod(rnd, name, now)
			if p == nil {
				if m.last().pods[name] != nil {
					m.take(name, nil, now)
				}
				del(st, ipPod(name, now), now)
				continue
			}
			p.UID = fmt.Sprint(i)
			if old := m.last().pods[name]; old != nil {
				p.UID = old.UID
			}
			if old := m.last().pods[name]; old == nil || !same(old, p) {
				m.take(name, p, now)
			}
			put(st, p, now)
		}
		agree(t, seed, rnd, st, m, now)
		if t.Failed() {
			return
		}
	}
}

// randomPod is nil for a pod that goes.
func randomPod(rnd *rand.Rand, name string, now time.Time) *Pod {
	if rnd.IntN(4) == 0 {
		return nil
	}
	p := ipPod(name, now.Add(-time.Duration(rnd.IntN(5000))*time.Millisecond).Truncate(time.Second))
	for range rnd.IntN(3) { // without an address yet, with one, or dual
		p.IPs = appendAddr(p.IPs, fmt.Sprintf("10.0.0.%d", rnd.IntN(5)))
	}
	switch rnd.IntN(8) {
	case 0:
		p.Phase = "Succeeded"
	case 1:
		p.HostNetwork = true
	case 2:
		p.Deleting = now
	case 3:
		p.Ready = true
	}
	return p
}

func agree(t *testing.T, seed uint64, rnd *rand.Rand, st *Store, m *model, now time.Time) {
	t.Helper()
	for range 300 {
		when := at(0).Add(time.Duration(rnd.Int64N(int64(now.Sub(at(0))) + int64(2*time.Second))))
		ip := netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", rnd.IntN(5)))
		got := ""
		if p, ok := st.At(when).PodByIP(ip); ok {
			got = p.Name
		}
		if want := m.owner(ip, when); got != want {
			t.Errorf("seed %d: %s at %s: got %q, want %q", seed, ip, when.Sub(at(0)), got, want)
		}
	}
	cur := st.Current()
	samePods(t, cur)
	for i := range 5 {
		ip := netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i))
		if len(cur.PodsByIP(ip)) > 0 {
			continue
		}
		got, ok := cur.FormerPod(ip)
		want, wantOK := m.last().former[ip]
		if ok != wantOK || ok && (got.Pod != want.Pod || !got.Gone.Equal(want.Gone)) {
			t.Errorf("seed %d: former owner of %s: got %+v %v, want %+v %v", seed, ip, got, ok, want, wantOK)
		}
	}
}

// TestHistoryMemoryIsBounded: a storm that goes on for ever keeps no more than
// the limits, whatever it does: new pods, changes, deletions.
func TestHistoryMemoryIsBounded(t *testing.T) {
	st := NewStore(newSnapshot(nil, at(0)))
	now := at(0)
	for i := range 4 * historyChanges {
		now = now.Add(time.Millisecond)
		p := ipPod(fmt.Sprint("p", i), now, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
		st.put(op{kind: kindPod, key: p.Key(), obj: p, at: now})
		if i >= 100 {
			st.put(op{kind: kindPod, key: Key{"a", fmt.Sprint("p", i-100)}, at: now})
		}
		if i%50 == 49 { // as they are collected
			st.flush()
		}
	}
	if st.changes > historyChanges+200 || len(st.history) > historyChanges {
		t.Errorf("%d changes in %d snapshots", st.changes, len(st.history))
	}
	if n := st.Current().former.len(); n > historyChanges {
		t.Errorf("%d former addresses", n)
	}
	if n := st.Current().pods.len(); n > 200 {
		t.Errorf("%d pods", n)
	}
	if len(st.formers) > historyChanges {
		t.Errorf("%d entries in the order of former addresses", len(st.formers))
	}
}
