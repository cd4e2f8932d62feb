package main

import (
	"bytes"
	"sync"
)

// readyWriter takes standard error and tells when the ready line came.
type readyWriter struct {
	ready chan struct{}

	mu   sync.Mutex
	buf  bytes.Buffer
	done bool
}

func (w *readyWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.buf.Write(p)
	if !w.done && (bytes.HasPrefix(w.buf.Bytes(), []byte("ready")) || bytes.Contains(w.buf.Bytes(), []byte("\nready"))) {
		w.done = true
		close(w.ready)
	}
	return n, err
}

func (w *readyWriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
