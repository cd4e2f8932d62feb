// Package apiserver is a small Kubernetes API server over real HTTP, for tests
// and measurements: what informers ask of one, the way a real one answers.
// Lists come in pages or as a stream with a bookmark, watches from a resource
// version on, in JSON or protobuf, of whole objects or of their metadata. It can
// go away and come back on its address, forget its history, and misbehave in
// every way that a test asks for.
//
// It stores what it is given: no admission, no defaults, no access control.
package apiserver

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// Server is the API server. Its methods may be called from several goroutines;
// its fields are set before Listen.
type Server struct {
	// NoStreaming refuses lists as streams, as servers before Kubernetes 1.32 do.
	NoStreaming bool
	// Bookmarks is how often a watch that allows it gets a bookmark; 0: a minute.
	Bookmarks time.Duration
	// TLS, if set, is how the server is spoken to.
	TLS *tls.Config

	scheme *runtime.Scheme
	codecs serializer.CodecFactory

	mu     sync.Mutex
	store  store
	served map[string]int // answers by media type
	asked  map[string]int // requests by "verb resource"
	fault  Fault
	addr   string
	http   *http.Server
	port   net.Listener
	gone   chan struct{} // closed when the server goes away
}

// New returns a server without objects that does not listen yet.
func New() (*Server, error) {
	s := &Server{
		scheme: runtime.NewScheme(), served: map[string]int{}, asked: map[string]int{}, store: newStore(), gone: make(chan struct{}),
	}
	if err := scheme.AddToScheme(s.scheme); err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	if err := metav1.AddMetaToScheme(s.scheme); err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	s.codecs = serializer.NewCodecFactory(s.scheme)
	return s, nil
}

// Listen begins to answer on a port of the loopback interface: the former one
// if the server was up before.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return s.serve(l)
}

// Serve is Listen on a port of the caller's, who may have made it in another
// network namespace.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serve(l)
}

func (s *Server) serve(l net.Listener) error {
	s.addr = l.Addr().String()
	if s.TLS != nil {
		l = tls.NewListener(l, s.TLS)
	}
	s.gone, s.port = make(chan struct{}), l
	s.http = &http.Server{Handler: s, ErrorLog: quiet()}
	go func(h *http.Server) { _ = h.Serve(l) }(s.http)
	return nil
}

// Close closes the port and every connection, as a machine that dies. The
// objects stay.
func (s *Server) Close() {
	s.mu.Lock()
	h, gone, port := s.http, s.gone, s.port
	s.http = nil
	s.mu.Unlock()
	if h == nil {
		return
	}
	close(gone)
	_ = port.Close() // which the server may not know of yet
	_ = h.Close()
}

// Addr is HOST:PORT, "" before the first Listen.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// URL is where clients go.
func (s *Server) URL() string {
	if s.TLS != nil {
		return "https://" + s.Addr()
	}
	return "http://" + s.Addr()
}

// Served is how many answers were of a media type, as "application/json".
func (s *Server) Served(mediaType string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served[mediaType]
}

// Asked is how many requests there were with a verb (list or watch) for a
// resource ("pods").
func (s *Server) Asked(verb, resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[verb+" "+resource]
}

// ServeHTTP answers one request, through the fault if there is one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[Verb(r)+" "+Resource(r)]++
	fault := s.fault
	s.mu.Unlock()
	if fault == nil {
		s.answer(w, r)
		return
	}
	fault(w, r, http.HandlerFunc(s.answer))
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/version" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"major":"1","minor":"36","gitVersion":"v1.36.0"}`))
		return
	}
	k, ok := kindAt(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	f := s.negotiate(r.Header.Get("Accept"))
	if r.Method != http.MethodGet {
		refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "this server is read only")
		return
	}
	if Verb(r) == "watch" {
		s.watch(w, r, k, f)
		return
	}
	s.list(w, r, k, f)
}

// Verb is what a request asks for: list, watch or get.
func Verb(r *http.Request) string {
	switch {
	case r.URL.Query().Get("watch") != "":
		return "watch"
	case r.URL.Path == "/version":
		return "get"
	}
	return "list"
}

// Resource is the last part of a request's path: "pods", "version".
func Resource(r *http.Request) string { return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] }
