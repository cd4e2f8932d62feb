package kube

import (
	"errors"
	"fmt"
)

// Why a dump cannot be used; LoadDump wraps one of them in a *DumpError.
var (
	ErrDumpEmpty     = errors.New("holds no data")
	ErrDumpTruncated = errors.New("is cut off")
	ErrDumpNotList   = errors.New("is one object, not a list")
	ErrDumpKind      = errors.New("holds none of the kinds that are needed")
	ErrDumpFormat    = errors.New("is neither JSON nor YAML as kubectl writes it")
)

// DumpCommand writes a dump that LoadDump reads.
const DumpCommand = "kubectl get pods,services,endpointslices,nodes,namespaces,networkpolicies -A -o json"

// DumpError says what is wrong with a dump, and where.
type DumpError struct {
	Path string // as given, or the file in the directory
	// Err is one of the ErrDump sentinels, or the error of the file system.
	Err    error
	Detail string // "after 12 objects", "item 3 (Pod shop/api): ..."
}

func (e *DumpError) Error() string {
	msg := fmt.Sprintf("cluster dump %s: %v", e.Path, e.Err)
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	return msg
}

// Hint says what to do about it.
func (e *DumpError) Hint() string { return "write it with: " + DumpCommand + " > dump.json" }

func (e *DumpError) Unwrap() error { return e.Err }
