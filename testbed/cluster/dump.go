package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// WriteDump writes what
//
//	kubectl get pods,services,endpointslices,nodes,namespaces,networkpolicies -A -o json --show-managed-fields=false
//
// would print: indented, the kind of the list last.
func (c *Cluster) WriteDump(w io.Writer) error {
	bw := bufio.NewWriterSize(w, 1<<16)
	bw.WriteString("{\n    \"apiVersion\": \"v1\",\n    \"items\": [")
	var all []runtime.Object
	all = appendAll(all, c.Pods)
	all = appendAll(all, c.Services)
	all = appendAll(all, c.Slices)
	all = appendAll(all, c.Nodes)
	all = appendAll(all, c.Namespaces)
	all = appendAll(all, c.Policies)
	for i, o := range all {
		text, err := dumped(o)
		if err != nil {
			return err
		}
		if i > 0 {
			bw.WriteByte(',')
		}
		bw.WriteString("\n        ")
		bw.Write(text)
	}
	bw.WriteString("\n    ],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n")
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write dump: %w", err)
	}
	return nil
}

// dumped is one object as kubectl prints it: by way of a map, so that the keys
// are sorted, and without the managed fields.
func dumped(o runtime.Object) ([]byte, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return nil, fmt.Errorf("find the kind: %w", err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kinds[0].Kind, err)
	}
	fields["apiVersion"], fields["kind"] = kinds[0].GroupVersion().String(), kinds[0].Kind
	if m, ok := fields["metadata"].(map[string]any); ok {
		delete(m, "managedFields")
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kinds[0].Kind, err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "        ", "    "); err != nil {
		return nil, fmt.Errorf("indent %s: %w", kinds[0].Kind, err)
	}
	return out.Bytes(), nil
}
