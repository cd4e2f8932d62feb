package kube

import (
	"fmt"
	"strings"
)

// NotFoundError: a name that the cluster does not have.
type NotFoundError struct {
	// What was looked for, as endpoints are written ("shop/pod/api", "node/n9").
	What string
	// Why, if there is more to say ("no pod of it exists").
	Why string
	// Near are names that may have been meant, in the same form, best first.
	Near []string
}

func (e *NotFoundError) Error() string {
	msg := e.What + " does not exist"
	if e.Why != "" {
		msg = e.What + ": " + e.Why
	}
	switch len(e.Near) {
	case 0:
		return msg
	case 1:
		return msg + "; did you mean " + e.Near[0] + "?"
	}
	last := len(e.Near) - 1
	return msg + "; did you mean " + strings.Join(e.Near[:last], ", ") + " or " + e.Near[last] + "?"
}

// WrongNodeError: the source is not on the node that is traced.
type WrongNodeError struct {
	What string
	Here string
	// Nodes are those where it is.
	Nodes []string
}

func (e *WrongNodeError) Error() string {
	return fmt.Sprintf("%s is on node %s, not on %s: run podpath there", e.What, strings.Join(e.Nodes, ", "), e.Here)
}

// NoIPError: a pod that has no address, so that no packet can be told to be its.
type NoIPError struct {
	What   string
	Phase  string
	Reason string // why it waits, "" if the API does not say
	// Pods are those of the endpoint, of which none has an address; none for a node.
	Pods []*Pod
}

func (e *NoIPError) Error() string {
	msg := e.What + " has no IP address"
	if e.Phase != "" {
		msg += ": it is " + e.Phase
	}
	if e.Reason != "" {
		msg += " (" + e.Reason + ")"
	}
	return msg
}

// SelectionError: the endpoint exists, but the port or the selector leaves
// nothing of it.
type SelectionError struct {
	What   string
	Reason string
}

func (e *SelectionError) Error() string { return e.What + ": " + e.Reason }
