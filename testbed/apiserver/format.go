package apiserver

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// format is how a client wants its answer.
type format struct {
	info     runtime.SerializerInfo
	metadata bool // only the objects' metadata
}

// negotiate takes the first media type of the client that this server has.
func (s *Server) negotiate(accept string) format {
	all := s.codecs.SupportedMediaTypes()
	for _, want := range strings.Split(accept, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(want), ";")
		if info, ok := runtime.SerializerInfoForMediaType(all, name); ok {
			s.mu.Lock()
			s.served[name]++
			s.mu.Unlock()
			return format{info, strings.Contains(params, "as=PartialObjectMetadata")}
		}
	}
	info, _ := runtime.SerializerInfoForMediaType(all, "application/json")
	return format{info: info}
}

// refuse answers with a Status, which is JSON: clients read that in any case.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: reason, Code: int32(code), Message: message,
	})
}

// quiet is a log for connections that end as the test wants.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
