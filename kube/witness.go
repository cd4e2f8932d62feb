package kube

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
)

// witness sees every request to the API server, and keeps the last error of one
// that got no answer. client-go repeats such requests in silence.
type witness struct{ last atomic.Pointer[error] }

// watch is for rest.Config.Wrap.
func (w *witness) watch(next http.RoundTripper) http.RoundTripper { return watched{next, w} }

// err is the last error, nil if every request was answered or given up.
func (w *witness) err() error {
	if e := w.last.Load(); e != nil {
		return *e
	}
	return nil
}

type watched struct {
	next http.RoundTripper
	by   *witness
}

func (t watched) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		t.by.last.Store(&err)
	}
	return resp, err
}
