package apiserver

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault stands between the client and the server. It answers itself, or lets
// next answer, now or later, whole or in part.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Break begins a fault, for requests from now on; nil ends it. Watches that are
// open go on: Drop ends them.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Drop closes every connection; the port stays open.
func (s *Server) Drop() {
	s.Close()
	for range 100 {
		if s.Listen() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // somebody else's short-lived port
	}
}

// Only limits a fault to some resources ("pods").
func Only(f Fault, resources ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if slices.Contains(resources, Resource(r)) {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// Except limits a fault to all but some resources.
func Except(f Fault, resources ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if slices.Contains(resources, Resource(r)) {
			next.ServeHTTP(w, r)
			return
		}
		f(w, r, next)
	}
}

// Slow answers after a delay.
func Slow(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// Silent never answers.
func Silent(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// Reset breaks the connection off.
func Reset(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// Refuse answers with an error; retryAfter of 0 seconds names no time.
func Refuse(code int, reason metav1.StatusReason, retryAfter int) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		refuse(w, code, reason, fmt.Sprintf("%s %s: %s", Verb(r), Resource(r), reason))
	}
}

// Body answers every request with the same text.
func Body(contentType, text string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, text)
	}
}

// Drip sends answers in pieces of n bytes with a pause between them.
func Drip(n int, pause time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, piece: n, pause: pause, done: r.Context().Done()}, r)
	}
}

// Cut breaks the connection off after n bytes of an answer.
func Cut(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, limit: n, done: r.Context().Done()}, r)
	}
}

// Brief ends every watch after a time.
func Brief(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if Verb(r) == "watch" {
			q := r.URL.Query()
			q.Set("timeoutSeconds", strconv.Itoa(max(1, int(d/time.Second))))
			r.URL.RawQuery = q.Encode()
		}
		next.ServeHTTP(w, r)
	}
}

// cutter passes an answer on in pieces, or only its beginning.
type cutter struct {
	http.ResponseWriter
	piece int
	pause time.Duration
	limit int
	sent  int
	done  <-chan struct{}
}

func (c *cutter) Flush() { flush(c.ResponseWriter) }

func (c *cutter) Write(b []byte) (int, error) {
	if c.limit > 0 && c.sent+len(b) > c.limit {
		_, _ = c.ResponseWriter.Write(b[:c.limit-c.sent])
		c.Flush()
		panic(http.ErrAbortHandler)
	}
	c.sent += len(b)
	if c.piece == 0 {
		return c.ResponseWriter.Write(b)
	}
	for i := 0; i < len(b); i += c.piece {
		if _, err := c.ResponseWriter.Write(b[i:min(len(b), i+c.piece)]); err != nil {
			return i, err
		}
		c.Flush()
		select {
		case <-time.After(c.pause):
		case <-c.done:
			return i, io.ErrClosedPipe
		}
	}
	return len(b), nil
}
