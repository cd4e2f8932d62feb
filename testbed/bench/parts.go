package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// factParts are what the packages that read facts say that they spent time on,
// in the order of the table.
var factParts = []struct{ message, key, what string }{
	{"node facts read", "links", "links and their namespaces"},
	{"node facts read", "routes", "routes"},
	{"node facts read", "neighbours", "neighbours"},
	{"node facts read", "path", "ports, tunnels, FDB, queues, MTUs"},
	{"node facts read", "conntrack", "the flow's conntrack entry"},
	{"node facts read", "sockets", "listening sockets"},
	{"node facts read", "sysctls", "settings"},
	{"node facts read", "counters", "counters"},
	{"node facts read", "programs", "BPF programs of devices"},
	{"node facts read", "cgroup_programs", "BPF programs of control groups"},
	{"rules evaluated", "reading", "rules: reading"},
	{"rules evaluated", "drops", "rules: the one that dropped"},
	{"rules evaluated", "services", "rules: Services"},
	{"rules evaluated", "masquerade", "rules: masquerade"},
}

// partsLog gathers what they log.
type partsLog struct{ bytes.Buffer }

func (p *partsLog) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(&p.Buffer, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// fastest is the least that each part took of all times, in seconds, by what is
// said of it.
func (p *partsLog) fastest() (map[string]float64, error) {
	out := map[string]float64{}
	for line := range bytes.Lines(p.Bytes()) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, fmt.Errorf("read what was logged: %w", err)
		}
		for _, part := range factParts {
			ns, ok := record[part.key].(float64)
			if !ok || record["msg"] != part.message {
				continue
			}
			took := time.Duration(ns).Seconds()
			if least, have := out[part.what]; !have || took < least {
				out[part.what] = took
			}
		}
	}
	for _, part := range factParts {
		if _, ok := out[part.what]; !ok {
			return nil, fmt.Errorf("nobody said what %q took", part.what)
		}
	}
	return out, nil
}
