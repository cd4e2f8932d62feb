package apiserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
)

// watching is one watch.
type watching struct {
	s    *Server
	k    kind
	f    format
	w    io.Writer
	out  streaming.Encoder
	rv   int // of the last event that was sent
	mark bool
}

// watch streams what comes after the client's version. A list as a stream
// begins with everything, and a bookmark that says that this was it.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, k kind, f format) {
	q := r.URL.Query()
	initial := q.Get("sendInitialEvents") == "true"
	if initial && s.NoStreaming {
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		return
	}
	w.Header().Set("Content-Type", f.info.MediaType+";stream=watch")
	w.WriteHeader(http.StatusOK)
	flush(w)
	x := &watching{s: s, k: k, f: f, w: w, mark: q.Get("allowWatchBookmarks") == "true"}
	x.out = streaming.NewEncoder(f.info.StreamSerializer.NewFrameWriter(w), f.info.StreamSerializer.Serializer)
	x.rv, _ = strconv.Atoi(q.Get("resourceVersion"))
	s.mu.Lock()
	gone := s.gone
	if x.rv == 0 {
		x.rv = s.store.rv
	}
	s.mu.Unlock()
	if initial && x.initial() != nil {
		return
	}
	timeout := 30 * time.Minute
	if n, err := strconv.Atoi(q.Get("timeoutSeconds")); err == nil && n > 0 {
		timeout = time.Duration(n) * time.Second
	}
	ended := time.NewTimer(timeout)
	defer ended.Stop()
	x.follow(r, ended.C, gone)
}

// follow sends changes as they come, until someone has enough.
func (x *watching) follow(r *http.Request, ended <-chan time.Time, gone <-chan struct{}) {
	every := x.s.Bookmarks
	if every <= 0 {
		every = time.Minute
	}
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		x.s.mu.Lock()
		events, grown, ok := x.s.store.kinds[x.k.path].since(x.rv)
		x.s.mu.Unlock()
		if !ok {
			_ = x.send(watch.Error, tooOld(x.rv))
			flush(x.w)
			return
		}
		for _, e := range events {
			if x.sendObject(e.typ, e.obj) != nil {
				return
			}
			x.rv = e.rv
		}
		flush(x.w)
		select {
		case <-grown:
		case <-beat.C:
			if x.mark && x.bookmark(nil) != nil {
				return
			}
		case <-ended:
			return
		case <-gone:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func tooOld(rv int) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonExpired, Code: http.StatusGone, Message: fmt.Sprintf("too old resource version: %d", rv),
	}
}

// initial sends everything there is, and the bookmark.
func (x *watching) initial() error {
	x.s.mu.Lock()
	all := x.s.store.kinds[x.k.path].all()
	x.rv = x.s.store.rv
	x.s.mu.Unlock()
	for _, o := range all {
		if err := x.sendObject(watch.Added, o); err != nil {
			return err
		}
	}
	return x.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
}

// bookmark tells how far the watch has come.
func (x *watching) bookmark(annotations map[string]string) error {
	obj, err := x.s.scheme.New(x.k.gvk)
	if err != nil {
		return fmt.Errorf("make a %s: %w", x.k.gvk.Kind, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(x.k.gvk)
	m, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("make a bookmark: %w", err)
	}
	m.SetResourceVersion(strconv.Itoa(x.rv))
	m.SetAnnotations(annotations)
	err = x.sendObject(watch.Bookmark, obj)
	flush(x.w)
	return err
}

func (x *watching) sendObject(typ watch.EventType, obj runtime.Object) error {
	if x.f.metadata {
		var err error
		if obj, err = partial(obj); err != nil {
			return err
		}
	}
	return x.send(typ, obj)
}

func (x *watching) send(typ watch.EventType, obj runtime.Object) error {
	var raw bytes.Buffer
	if err := x.f.info.Serializer.Encode(obj, &raw); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return x.out.Encode(&metav1.WatchEvent{Type: string(typ), Object: runtime.RawExtension{Raw: raw.Bytes()}})
}

func flush(w io.Writer) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
