package redact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxNames bounds the memory for pseudonyms: 10,000 pods with their UIDs, labels
// and devices take a tenth.
const maxNames = 1 << 20

// Line replaces what one line of a recording, the header or a record, must not
// tell. The result is one line too, without its end.
func (r *Redactor) Line(line []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber() // pointers and times have more digits than a float
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("redact: decode: %w", err)
	}
	if _, header := v["format"]; header {
		v["redacted"] = true
	}
	v, _ = r.value("", v).(map[string]any)
	if n := len(r.names.given) + len(r.macs); n > maxNames {
		return nil, fmt.Errorf("redact: more than %d different names", maxNames)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("redact: encode: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func (r *Redactor) value(path string, v any) any {
	if path == "cluster" {
		return r.object("", v)
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			// The path is made of keys as they were, so that maps of the user's
			// stay within what is listed of them.
			out[r.key(path, k)] = r.value(join(path, k), x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = r.value(path, x)
		}
		return out
	case string:
		return r.replaced(path, v)
	case json.Number:
		if numbered[path] {
			return r.id(v.String())
		}
	}
	return v
}

// key replaces the keys that are no fields.
func (r *Redactor) key(path, k string) string {
	switch {
	case path == "hosts":
		return r.name(k)
	case path == "facts.sysctls":
		return r.sysctl(k)
	}
	return k
}

// sysctl is "net.ipv4.conf.DEVICE.rp_filter", with a namespace's number in front
// where it is a pod's. The device may have dots itself.
func (r *Redactor) sysctl(k string) string {
	parts := strings.SplitN(k, ".", 4)
	if len(parts) < 4 || parts[2] != "conf" && parts[2] != "neigh" {
		return k
	}
	i := strings.LastIndexByte(parts[3], '.')
	if i < 0 {
		return k
	}
	dev := parts[3][:i]
	if dev != "all" && dev != "default" {
		dev = r.names.name(dev)
	}
	return strings.Join(parts[:3], ".") + "." + dev + parts[3][i:]
}

// replaced is one string, by where it stands.
func (r *Redactor) replaced(path, s string) string {
	switch {
	case placed[path] && strings.HasPrefix(s, "0x"):
		return "0x" + strconv.FormatUint(r.id(s), 16)
	case keep[path]:
		return s
	case identified[path]:
		return r.name(s)
	case heldAddresses[path]:
		return r.held(s)
	case path == "command" && (strings.HasPrefix(s, "-") || s == "trace" || s == "drops"):
		return s
	case endpoints[path]:
		return r.endpoint(s)
	case path == "note" && notes[s]:
		return s
	}
	return r.text(s)
}

// object is the cluster's state.
func (r *Redactor) object(path string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		data := clusterData[last(path)] && flat(v)
		for k, x := range v {
			s, isText := x.(string)
			switch {
			case data && isText && clusterWays[k] && wayWords[s]:
				out[k] = s
			case data && isText && (clusterWays[k] || clusterNotes[k]):
				out[k] = r.name(s)
			case data && isText:
				out[r.name(k)] = r.name(s)
			default:
				out[k] = r.object(join(path, k), x)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = r.object(path, x)
		}
		return out
	case string:
		field := last(path)
		if clusterKeep[field] || written[path] || counted[path] && quantity.MatchString(v) || clusterTyped[field] && (v == "" || apiWords[v]) {
			return v
		}
		switch {
		case clusterExpressions[field]:
			return r.expression(v)
		case clusterSentences[field]:
			return r.sentence(v)
		}
		return r.name(v)
	}
	return v
}

// expression is a selector of Calico's: what stands in quotes and what is no
// word of the language is the user's.
func (r *Redactor) expression(s string) string {
	return expressionPart.ReplaceAllStringFunc(s, func(part string) string {
		if calicoWords[part] {
			return part
		}
		return r.name(part)
	})
}

// flat: a map of strings, and no selector of another kind.
func flat(v map[string]any) bool {
	for _, x := range v {
		if _, ok := x.(string); !ok {
			return false
		}
	}
	return true
}
