package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// json reads documents one after the other. Items are decoded and reduced one
// by one, so that a dump of a large cluster is never in memory as a whole.
func (l *loader) json(r io.Reader) error {
	dec := json.NewDecoder(r)
	for n := 0; ; n++ {
		tok, err := dec.Token()
		if err == io.EOF && n > 0 {
			return nil
		}
		if err != nil {
			return jsonError(err, dec)
		}
		if tok != json.Delim('{') {
			return &DumpError{Err: ErrDumpFormat, Detail: "a document must be an object with kind and items"}
		}
		if err := l.document(dec); err != nil {
			return err
		}
	}
}

// document reads one object, after its opening brace. kubectl writes the keys
// in alphabetical order, so a list's items come before its kind.
func (l *loader) document(dec *json.Decoder) error {
	rest := make(map[string]json.RawMessage)
	var kindless []json.RawMessage
	isList := false
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return jsonError(err, dec)
		}
		name, _ := tok.(string)
		if name == "items" {
			isList = true
			if kindless, err = l.items(dec, kindless); err != nil {
				return err
			}
			continue
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return jsonError(err, dec)
		}
		rest[name] = raw
	}
	if _, err := dec.Token(); err != nil {
		return jsonError(err, dec)
	}
	if isList {
		return l.list(rest, kindless)
	}
	return l.single(rest)
}

// items reads the items of a list and returns those that do not name a kind
// (a typed list from the API, not from kubectl get).
func (l *loader) items(dec *json.Decoder, kindless []json.RawMessage) ([]json.RawMessage, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, jsonError(err, dec)
	}
	if tok == nil {
		return kindless, nil // "items": null is an empty list
	}
	if tok != json.Delim('[') {
		return nil, &DumpError{Err: ErrDumpFormat, Detail: "items is not a list"}
	}
	for i := 0; dec.More(); i++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, jsonError(err, dec)
		}
		k, err := kindName(raw)
		if err != nil {
			return nil, &DumpError{Err: ErrDumpFormat, Detail: fmt.Sprintf("item %d: %v", i, err)}
		}
		if k == "" {
			kindless = append(kindless, raw)
			continue
		}
		if err := l.object(k, raw); err != nil {
			return nil, &DumpError{Err: ErrDumpFormat, Detail: fmt.Sprintf("item %d: %v", i, err)}
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, jsonError(err, dec)
	}
	return kindless, nil
}

// list ends a document that had items.
func (l *loader) list(rest map[string]json.RawMessage, kindless []json.RawMessage) error {
	l.lists++
	var listKind string
	if err := json.Unmarshal(orNull(rest["kind"]), &listKind); err != nil {
		return &DumpError{Err: ErrDumpFormat, Detail: "kind is not a string"}
	}
	if listKind == "" && l.inYAML {
		// kubectl writes kind after items, so this is where a cut shows.
		return &DumpError{Err: ErrDumpTruncated, Detail: "the YAML list ends before its kind"}
	}
	for field, to := range map[string]*[]string{"unread": &l.unread, "read": &l.read} {
		if raw, ok := rest[field]; ok && json.Unmarshal(raw, to) != nil {
			return &DumpError{Err: ErrDumpFormat, Detail: field + " is no list of kinds"}
		}
	}
	if raw, ok := rest[eventsField]; ok {
		var list []podName
		if json.Unmarshal(raw, &list) != nil {
			return &DumpError{Err: ErrDumpFormat, Detail: eventsField + " is no list of pods"}
		}
		l.eventsOf, l.listed = append(l.eventsOf, list...), true
	}
	if raw, ok := rest["changes"]; ok && json.Unmarshal(raw, &l.changes) != nil {
		return &DumpError{Err: ErrDumpFormat, Detail: "changes is no list of changes"}
	}
	itemKind := strings.TrimSuffix(listKind, "List")
	if len(kindless) > 0 && itemKind == "" {
		return &DumpError{Err: ErrDumpFormat, Detail: "neither the list nor its items name a kind"}
	}
	for i, raw := range kindless {
		if err := l.object(itemKind, raw); err != nil {
			return &DumpError{Err: ErrDumpFormat, Detail: fmt.Sprintf("item %d: %v", i, err)}
		}
	}
	return nil
}

// single takes a document that is one object.
func (l *loader) single(fields map[string]json.RawMessage) error {
	raw, err := json.Marshal(fields)
	if err != nil {
		return &DumpError{Err: ErrDumpFormat, Detail: err.Error()}
	}
	k, err := kindName(raw)
	if err != nil || k == "" {
		return &DumpError{Err: ErrDumpFormat, Detail: "the document has neither kind nor items"}
	}
	l.singles++
	if err := l.object(k, raw); err != nil {
		return &DumpError{Err: ErrDumpFormat, Detail: err.Error()}
	}
	return nil
}

// object decodes, reduces and files one object.
func (l *loader) object(kindName string, raw json.RawMessage) error {
	o, err := l.decode(kindName, raw)
	if err != nil {
		return err
	}
	if o == nil {
		l.ignored[kindName]++
		return nil
	}
	if o.Key().Name == "" {
		return fmt.Errorf("%s without metadata.name", kindName)
	}
	l.add(o)
	return nil
}

// decode returns nil for an object that podpath does not use.
func (l *loader) decode(kindName string, raw json.RawMessage) (object, error) {
	switch kindName {
	case "Pod":
		return decodeAs(kindName, raw, func(p *corev1.Pod) object { return reducePod(p) })
	case "Service":
		return decodeAs(kindName, raw, func(s *corev1.Service) object { return reduceService(s) })
	case "EndpointSlice":
		return decodeAs(kindName, raw, func(s *discoveryv1.EndpointSlice) object { return reduceSlice(s) })
	case "Node":
		return decodeAs(kindName, raw, func(n *corev1.Node) object { return reduceNode(n) })
	case "Namespace":
		return decodeAs(kindName, raw, func(n *corev1.Namespace) object { return reduceNamespace(n) })
	case "ReplicaSet":
		return decodeAs(kindName, raw, func(r *appsv1.ReplicaSet) object { return reduceReplicaSet(r) })
	case "ServiceCIDR":
		return decodeAs(kindName, raw, func(c *networkingv1.ServiceCIDR) object { return reduceServiceCIDR(c) })
	case "Event":
		return decodeAs(kindName, raw, l.event)
	}
	return decodePolicy(kindName, raw)
}

// decodePolicy tells the kinds of policies apart by their API groups: several
// have a NetworkPolicy, or a ClusterNetworkPolicy, of other semantics.
func decodePolicy(kindName string, raw json.RawMessage) (object, error) {
	if !slices.ContainsFunc(customs(), func(c custom) bool { return c.name == kindName }) && kindName != "NetworkPolicy" {
		return nil, nil
	}
	h, err := readCustom(raw)
	if err != nil {
		return nil, err
	}
	if kindName == "NetworkPolicy" && (h.APIVersion == "" || h.group() == networkingv1.GroupName) {
		return decodeAs(kindName, raw, func(p *networkingv1.NetworkPolicy) object { return reducePolicy(p) })
	}
	h.Kind = kindName
	return reduceCustom(raw, &h), nil
}

// event returns nil for an Event that says nothing of a pod's start. One of anything
// tells that those of its namespace were asked for.
func (l *loader) event(e *corev1.Event) object {
	if ns := e.InvolvedObject.Namespace; ns != "" {
		l.eventsIn[ns] = true
	}
	if kept := reduceEvent(e); kept != nil {
		return kept
	}
	return nil
}

func decodeAs[T any](kindName string, raw json.RawMessage, reduce func(*T) object) (object, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", kindName, nameIn(raw), err)
	}
	return reduce(&v), nil
}

// kindName reads no further than the kind, which kubectl writes second.
func kindName(raw json.RawMessage) (string, error) {
	broken := errors.New("is not an object with a kind")
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return "", broken
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return "", broken
		}
		if name == "kind" {
			var k string
			if err := dec.Decode(&k); err != nil {
				return "", broken
			}
			return k, nil
		}
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return "", broken
		}
	}
	return "", nil
}

// nameIn finds the name of an object that does not decode, as far as it can.
func nameIn(raw json.RawMessage) string {
	var head struct {
		Metadata struct{ Namespace, Name string }
	}
	if json.Unmarshal(raw, &head) != nil {
		return "(unreadable metadata)"
	}
	return Key{head.Metadata.Namespace, head.Metadata.Name}.String()
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage(`""`)
	}
	return raw
}

func jsonError(err error, dec *json.Decoder) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &DumpError{Err: ErrDumpTruncated, Detail: fmt.Sprintf("the JSON ends at byte %d", dec.InputOffset())}
	case errors.As(err, &syntax):
		return &DumpError{Err: ErrDumpFormat, Detail: fmt.Sprintf("%v near byte %d", err, dec.InputOffset())}
	}
	return err
}

// yaml reads YAML documents, each as a whole.
func (l *loader) yaml(br *bufio.Reader) error {
	l.inYAML = true
	defer func() { l.inYAML = false }()
	docs := utilyaml.NewYAMLReader(br)
	for n := 1; ; n++ {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		raw, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return &DumpError{Err: ErrDumpFormat, Detail: fmt.Sprintf("document %d: %v", n, err)}
		}
		if string(raw) == "null" {
			continue // only comments
		}
		if raw[0] != '{' {
			return &DumpError{Err: ErrDumpFormat, Detail: fmt.Sprintf("document %d is no object (kubectl without -o json?)", n)}
		}
		if err := l.json(strings.NewReader(string(raw))); err != nil {
			return err
		}
	}
}
