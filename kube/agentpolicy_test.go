package kube

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/podpath/podpath/tracer"
)

const calicoDump = `{"kind":"List","items":[
 {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"web"}},
 {"apiVersion":"crd.projectcalico.org/v1","kind":"GlobalNetworkPolicy","metadata":{"name":"default.guard"},"spec":{"selector":"all()"}},
 {"apiVersion":"crd.projectcalico.org/v1","kind":"NetworkPolicy","metadata":{"namespace":"shop","name":"default.zone"}},
 {"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"guard"}},
 {"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"namespace":"shop","name":"std"},"spec":{"podSelector":{}}}
]}`

func TestAgentPoliciesOfADump(t *testing.T) {
	snap, report, err := ReadDump(strings.NewReader(calicoDump), "dump")
	if err != nil {
		t.Fatal(err)
	}
	want := []tracer.Ref{{Kind: tracer.KindGlobalPolicy, Name: "default.guard"}, {Kind: tracer.KindCalicoPolicy, Namespace: "shop", Name: "default.zone"}}
	got, read := snap.AgentPolicies()
	if !slices.Equal(got, want) || !slices.Equal(read, []string{tracer.KindGlobalPolicy, tracer.KindCalicoPolicy}) {
		t.Errorf("%v, read %v", got, read)
	}
	if n := len(snap.Policies("shop")); n != 1 || report.Ignored["GlobalNetworkPolicy"] != 1 {
		t.Errorf("%d NetworkPolicies, ignored %v", n, report.Ignored)
	}
	again := rewritten(t, snap)
	if got2, read2 := again.AgentPolicies(); !slices.Equal(got2, got) || !slices.Equal(read2, read) {
		t.Errorf("written and read: %v, read %v", got2, read2)
	}
}

func rewritten(t *testing.T, s *Snapshot) *Snapshot {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteDump(&b); err != nil {
		t.Fatal(err)
	}
	out, _, err := ReadDump(&b, "again")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// That there is none is known only if one could have been read.
func TestAgentPoliciesUnknown(t *testing.T) {
	none := newSnapshot([]object{&Pod{Meta: Meta{Namespace: "shop", Name: "web"}}}, time.Unix(1000, 0))
	if list, read := rewritten(t, none).AgentPolicies(); list != nil || read != nil {
		t.Errorf("%v, read %v", list, read)
	}
	b := newBuilder(none)
	b.apply(op{kind: kindGlobalPolicy, all: []object{}})
	if list, read := rewritten(t, b.done(time.Unix(1000, 0))).AgentPolicies(); list != nil || !slices.Equal(read, []string{tracer.KindGlobalPolicy}) {
		t.Errorf("%v, read %v", list, read)
	}
}

// A list of one kind says nothing of the other.
func TestAgentPoliciesReplaced(t *testing.T) {
	global := func(n string) object {
		return &CNIPolicy{Meta: Meta{Name: n}, Kind: tracer.KindGlobalPolicy, kind: kindGlobalPolicy}
	}
	own := &CNIPolicy{Meta: Meta{Namespace: "a", Name: "x"}, Kind: tracer.KindCalicoPolicy, kind: kindCalicoPolicy}
	b := newBuilder(newSnapshot([]object{global("a"), own}, time.Unix(1000, 0)))
	b.apply(op{kind: kindGlobalPolicy, all: []object{global("b")}})
	got, _ := b.done(time.Unix(1000, 0)).AgentPolicies()
	if len(got) != 2 || got[0].Name != "b" || got[1].Name != "x" {
		t.Errorf("%v", got)
	}
}

func TestAgentPoliciesWatched(t *testing.T) {
	client, custom := fake.NewClientset(), dynamicClient(customs4tests(t)...)
	served(client, calicoGroup)
	st, err := watch(t.Context(), clients{core: client, custom: custom}, "test", WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, read := st.Current().AgentPolicies()
	if len(got) != 2 || got[0].Name != "lock" || len(read) != 5 {
		t.Errorf("%v, read %v", got, read)
	}
}
