package kube

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
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
	return connectHint(e.Err) + ", or work from a dump with --cluster-dump FILE (" + DumpCommand + ")"
}

// connectHint knows the usual reasons of a connection that fails.
func connectHint(err error) string {
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
		record    tls.RecordHeaderError
		name      *net.DNSError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return "the server's certificate is of another authority than the kubeconfig trusts: check certificate-authority-data, and that nothing between here and there replaces certificates"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid now: renew it, or set this node's clock"
	case errors.As(err, &host):
		return "the server's certificate is for another name: check the kubeconfig's server, or its tls-server-name"
	case errors.As(err, &record), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return "the server does not speak TLS there: check the scheme and port of the kubeconfig's server"
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return "the way leads through a proxy: check HTTPS_PROXY, or name the server in NO_PROXY"
	case errors.As(err, &name):
		return fmt.Sprintf("%s cannot be resolved here: check this node's DNS, or name the server by its address in the kubeconfig", name.Name)
	case strings.Contains(err.Error(), "getting credentials"):
		return "the kubeconfig's exec plugin gives no credentials: run it by hand, log in again, or use another user"
	}
	return "check --kubeconfig and --context"
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
	verbs := "get, list, watch"
	if e.Resource == "events" {
		verbs = "get, list"
	}
	return fmt.Sprintf("podpath needs a ClusterRole with verbs %s on %s (apiGroup %q), "+
		"or a dump with --cluster-dump FILE", verbs, e.Resource, e.Group)
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

// Hint says what to do about it.
func (e *SyncError) Hint() string {
	return "try again when the API server is well, or work from a dump with --cluster-dump FILE (" + DumpCommand + ")"
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
