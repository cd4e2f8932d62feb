package apiserver

import (
	"fmt"
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// list answers with a page of the objects, all of which are of one moment, or
// with all of them. Like the watch cache of a real server it does not mind the
// limit if the client takes any version.
func (s *Server) list(w http.ResponseWriter, r *http.Request, k kind, f format) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	if q.Get("resourceVersion") == "0" {
		limit = 0
	}
	p, ok := s.open(k, q.Get("continue"))
	if !ok {
		refuse(w, http.StatusGone, metav1.StatusReasonExpired, "the provided continue parameter is too old")
		return
	}
	rest := ""
	left := 0
	if limit > 0 && limit < len(p.objs) {
		rest, left = s.keep(page{p.objs[limit:], p.rv}), len(p.objs)-limit
		p.objs = p.objs[:limit]
	}
	list, err := s.listOf(k, p, f)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if m, err := meta.ListAccessor(list); err == nil {
		m.SetResourceVersion(strconv.Itoa(p.rv))
		m.SetContinue(rest)
		if left > 0 {
			n := int64(left)
			m.SetRemainingItemCount(&n)
		}
	}
	w.Header().Set("Content-Type", f.info.MediaType)
	_ = f.info.Serializer.Encode(list, w)
}

// open is where a list goes on, false if that is forgotten.
func (s *Server) open(k kind, token string) (page, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == "" {
		return page{s.store.kinds[k.path].all(), s.store.rv}, true
	}
	p, ok := s.store.pages[token]
	delete(s.store.pages, token)
	return p, ok
}

func (s *Server) keep(p page) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.lists++
	token = fmt.Sprintf("list-%d", s.store.lists)
	s.store.pages[token] = p
	return token
}

func (s *Server) listOf(k kind, p page, f format) (runtime.Object, error) {
	gvk := k.gvk
	gvk.Kind += "List"
	items := p.objs
	if f.metadata {
		gvk = metav1.SchemeGroupVersion.WithKind("PartialObjectMetadataList")
		items = make([]runtime.Object, len(p.objs))
		for i, o := range p.objs {
			var err error
			if items[i], err = partial(o); err != nil {
				return nil, err
			}
		}
	}
	list, err := s.scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", gvk.Kind, err)
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, fmt.Errorf("fill a %s: %w", gvk.Kind, err)
	}
	list.GetObjectKind().SetGroupVersionKind(gvk)
	return list, nil
}
