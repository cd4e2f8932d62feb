package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// persistent: IPVS keeps clients with their destination for so long.
func persistent(stays time.Duration) change {
	return func(s *scene) { s.n.Services.IPVS.Persistence = stays }
}

// A drained destination that a client may stay with is told from one that only old
// connections have.
func TestDrained(t *testing.T) {
	const (
		old     = "kept for the connections that it had: this one, or one from the same port before it"
		stays   = "takes no new clients, but keeps those that it had, this one too, until they have had no connection for 3h0m0s"
		perhaps = "kept for the connections that it had: this one, one from the same port before it, or one of the same client in the last 3h0m0s"
		setting = "net.ipv4.vs.expire_quiescent_template"
	)
	mid := func(s *scene) { s.j.Mid = true }
	for _, tt := range []struct {
		name  string
		with  []change
		why   string
		stays bool
	}{
		{"not persistent", nil, old, false},
		{"not persistent, whatever the setting", []change{sysctl(setting, "0")}, old, false},
		{"persistent", []change{persistent(3 * time.Hour), sysctl(setting, "0")}, stays, true},
		{"persistent, and begun before it was watched", []change{persistent(3 * time.Hour), sysctl(setting, "0"), mid}, perhaps, true},
		{"persistent, and the setting is not known", []change{persistent(3 * time.Hour)}, perhaps, true},
		{"persistent, and clients leave what is drained", []change{persistent(3 * time.Hour), sysctl(setting, "1")}, old, false},
	} {
		with := append([]change{toService, byIPVS(0), translated("10.1.0.66", 8080), noNeighbour()}, tt.with...)
		v := NewEngine().Decide(given(with...))
		if v.Code != "svc-terminating-endpoint" || v.Confidence != confirmed || !strings.HasSuffix(v.Summary, "which is no endpoint any more and "+tt.why) {
			t.Errorf("%s: %s %s: %s", tt.name, v.Confidence, v.Code, v.Summary)
		}
		if said := strings.Contains(strings.Join(v.Remedy, "; "), "sysctl -w "+setting+"=1"); said != tt.stays || len(v.Remedy) == 0 {
			t.Errorf("%s: remedies %q", tt.name, v.Remedy)
		}
		sound(t, v)
	}
	healthy := given(toService, byIPVS(0), persistent(3*time.Hour), sysctl(setting, "0"), translated(apiIP, 8080), outcomeIs(tracer.OutcomeDelivered))
	if v := NewEngine().Decide(healthy); v.Code != tracer.CodeOK {
		t.Errorf("healthy: %s", v.Code)
	}
}
