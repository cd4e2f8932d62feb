package kube

import (
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// UnreachableError: the API server does not answer.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("API server %s cannot be reached: %v", e.Host, e.Err)
}

// Hint says what to do about it.
func (e *UnreachableError) Hint() string {
	return "check --kubeconfig and --context, or work from a dump with --cluster-dump FILE (" + DumpCommand + ")"
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// AccessError: the API server answers, and refuses.
type AccessError struct {
	Verb, Resource, Group string
	Err                   error
}

func (e *AccessError) Error() string {
	what := e.Resource
	if e.Group != "" {
		what += "." + e.Group
	}
	return fmt.Sprintf("%s %s: %v", e.Verb, what, e.Err)
}

// Hint says which right is missing.
func (e *AccessError) Hint() string {
	if apierrors.IsUnauthorized(e.Err) {
		return "the API server does not accept the credentials: check the kubeconfig's user, or log in again"
	}
	return fmt.Sprintf("podpath needs a ClusterRole with verbs get, list, watch on %s (apiGroup %q), "+
		"or a dump with --cluster-dump FILE", e.Resource, e.Group)
}

func (e *AccessError) Unwrap() error { return e.Err }

// SyncError: the first load did not end in time.
type SyncError struct {
	Host    string
	Timeout time.Duration
	// Missing are the resources that are not loaded.
	Missing []string
	// Err is the last error seen, nil if the server is only slow.
	Err error
}

func (e *SyncError) Error() string {
	msg := fmt.Sprintf("API server %s did not give %s within %v", e.Host, strings.Join(e.Missing, ", "), e.Timeout)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *SyncError) Unwrap() error { return e.Err }

// refusal reports whether an error is an answer that another try will not
// change.
func refusal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// reachable reports whether an error shows that the API server works and the
// client will go on by itself: it must list again, or ask in another way, or
// later.
func reachable(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsBadRequest(err)
}
