package kube

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// WriteDump writes the snapshot as a list that LoadDump reads, and kubectl
// would. It holds the reduced objects, ordered by kind and name, so that equal
// snapshots give equal bytes. The kinds that could not be read, those that not every
// cluster has and that could be, of which pods Events were read, and what changed of late stand beside the items.
// History is not written.
func (s *Snapshot) WriteDump(w io.Writer) error {
	bw := bufio.NewWriter(w)
	bw.WriteString(`{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":[`)
	for i, o := range s.objects() {
		raw, err := json.Marshal(restore(o))
		if err != nil {
			return fmt.Errorf("encode %s %s: %w", kindOf(o), o.Key(), err)
		}
		if i > 0 {
			bw.WriteByte(',')
		}
		bw.WriteByte('\n')
		bw.Write(raw)
	}
	bw.WriteString("\n]")
	for _, list := range []struct {
		field string
		names []string
	}{{"unread", s.Unread()}, {"read", s.Read()}} {
		if list.names == nil {
			continue
		}
		raw, err := json.Marshal(list.names)
		if err != nil {
			return fmt.Errorf("encode the kinds that were %s: %w", list.field, err)
		}
		fmt.Fprintf(bw, ",%q:%s", list.field, raw)
	}
	if list := s.eventsNamed(); list != nil {
		raw, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("encode of which pods the events were read: %w", err)
		}
		fmt.Fprintf(bw, ",%q:%s", eventsField, raw)
	}
	if len(s.changes) > 0 {
		raw, err := json.Marshal(s.changes)
		if err != nil {
			return fmt.Errorf("encode what changed: %w", err)
		}
		fmt.Fprintf(bw, ",%q:%s", "changes", raw)
	}
	bw.WriteString("}\n")
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write cluster dump: %w", err)
	}
	return nil
}

// objects returns every object, by kind and name.
func (s *Snapshot) objects() []object {
	var out []object
	out = appendObjects(out, s.pods)
	out = appendObjects(out, s.services)
	out = appendObjects(out, s.slices)
	for _, n := range s.nodes.byName {
		out = append(out, n)
	}
	out = appendObjects(out, s.namespaces)
	out = appendObjects(out, s.policies)
	out = appendObjects(out, s.replicas)
	out = appendObjects(out, s.cidrs)
	out = appendObjects(out, s.events)
	for i := range s.clusterWide {
		out = appendObjects(out, s.clusterWide[i])
	}
	for i := range s.ofCNI {
		out = appendObjects(out, s.ofCNI[i])
	}
	slices.SortFunc(out, func(a, b object) int {
		if c := int(kindOf(a)) - int(kindOf(b)); c != 0 {
			return c
		}
		return compareKeys(a.Key(), b.Key())
	})
	return out
}

func appendObjects[T object](out []object, ix index[Key, T]) []object {
	for _, o := range ix.all() {
		out = append(out, o)
	}
	return out
}
