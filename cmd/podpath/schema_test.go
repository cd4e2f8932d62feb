package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// schemas checks objects against the published schema, which admits fields that
// it does not know, and against a closed one, which does not.
type schemas struct {
	published, closed map[string]*jsonschema.Schema
}

func compileSchemas(t *testing.T) *schemas {
	t.Helper()
	s := &schemas{published: map[string]*jsonschema.Schema{}, closed: map[string]*jsonschema.Schema{}}
	for kind := range kinds() {
		b, err := os.ReadFile(filepath.Join(docs, "schema", strings.ToLower(kind)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		s.published[kind] = compile(t, kind, b)
		s.closed[kind] = compile(t, kind, schemaDoc(t, kind, false))
	}
	return s
}

func compile(t *testing.T, kind string, doc []byte) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("schema of %s: %v", kind, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	url := "https://podpath.dev/v1alpha1/" + kind + ".json"
	if err := c.AddResource(url, parsed); err != nil {
		t.Fatalf("schema of %s: %v", kind, err)
	}
	s, err := c.Compile(url)
	if err != nil {
		t.Fatalf("schema of %s: %v", kind, err)
	}
	return s
}

// check validates one object and returns its kind.
func (s *schemas) check(object []byte) (string, error) {
	var head struct{ Kind string }
	if err := json.Unmarshal(object, &head); err != nil {
		return "", err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(object))
	if err != nil {
		return "", err
	}
	for name, set := range map[string]map[string]*jsonschema.Schema{"published": s.published, "closed": s.closed} {
		schema := set[head.Kind]
		if schema == nil {
			return "", fmt.Errorf("no schema of kind %q", head.Kind)
		}
		if err := schema.Validate(value); err != nil {
			return "", fmt.Errorf("%s schema of %s: %w in %s", name, head.Kind, err, object)
		}
	}
	return head.Kind, nil
}

// checkAll validates a whole output and returns the kinds in it, sorted, each
// once.
func (s *schemas) checkAll(format, output string) ([]string, error) {
	var kinds []string
	for _, object := range split(format, output) {
		if format == "yaml" {
			j, err := yaml.YAMLToJSON([]byte(object))
			if err != nil {
				return nil, err
			}
			object = string(j)
		}
		kind, err := s.check([]byte(object))
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds), nil
}

// split takes an output apart: one object a line, or YAML documents.
func split(format, output string) []string {
	if format == "yaml" {
		return strings.Split(strings.TrimPrefix(output, "---\n"), "\n---\n")
	}
	return strings.Split(strings.TrimSuffix(output, "\n"), "\n")
}

// The check itself must be able to fail.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchemas(t)
	const good = `{"apiVersion":"podpath.dev/v1alpha1","kind":"Fault","name":"a","title":"b","description":"c","component":"cni","code":"d","healthy":false,"ipv4_only":false}`
	if _, err := s.check([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, object := range map[string]string{
		"kind":    strings.Replace(good, `"Fault"`, `"Default"`, 1),
		"version": strings.Replace(good, "v1alpha1", "v2", 1),
		"type":    strings.Replace(good, "false", `"no"`, 1),
		"missing": strings.Replace(good, `"name":"a",`, "", 1),
		"unknown": strings.Replace(good, `"name"`, `"new":1,"name"`, 1),
		"enum":    `{"apiVersion":"podpath.dev/v1alpha1","kind":"Explanation","code":"a","component":"weather","title":"b"}`,
	} {
		if _, err := s.check([]byte(object)); err == nil {
			t.Errorf("%s: accepted %s", name, object)
		}
	}
}
