package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// mostEvents bounds how many Events of one pod are read: the kubelet writes no more
// than some twenty at once, and one in five minutes after that (client-go
// tools/record).
const mostEvents = 200

// eventLister reads the Events of one pod.
type eventLister func(ctx context.Context, p *Pod) ([]*Event, error)

// ReadEvents brings the Events of some pods into the next snapshot, which is there
// when it returns. They are listed for each pod, and not followed: a busy cluster has
// more of them than of everything else. A dump has them or has not. An error ends the
// reading: what was read of the pods before is in the snapshot, and of no other pod
// are Events known then (tracer.PodNetwork, EventsKnown). That they may not be read is
// an *AccessError, and if none was read it is noted (Snapshot.Unread).
func (s *Store) ReadEvents(ctx context.Context, pods []*Pod) error {
	if s.events == nil {
		return nil
	}
	all, of := []object{}, map[Key]string{}
	var failed error
	for _, p := range pods {
		list, err := s.events(ctx, p)
		if err != nil {
			failed = fmt.Errorf("list the events of pod %s: %w", p.Key(), err)
			if refusal(err) {
				failed = &AccessError{Verb: "list", Resource: "events", Err: err}
			}
			break
		}
		of[p.Key()] = p.UID
		for _, e := range list {
			all = append(all, e)
		}
	}
	var access *AccessError
	if errors.As(failed, &access) && len(of) == 0 {
		s.take(op{kind: kindEvent, unread: true, at: time.Now()})
	} else {
		s.take(op{kind: kindEvent, all: all, of: of, at: time.Now()})
	}
	return failed
}

// take has a change in the current snapshot when it returns.
func (s *Store) take(o op) {
	s.put(o)
	s.flush()
}

// listEvents asks the API server.
func listEvents(client kubernetes.Interface) eventLister {
	return func(ctx context.Context, p *Pod) ([]*Event, error) {
		about := fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": p.Name, "involvedObject.namespace": p.Namespace}
		if p.UID != "" {
			about["involvedObject.uid"] = p.UID
		}
		list, err := client.CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{FieldSelector: about.String(), Limit: mostEvents})
		if err != nil {
			return nil, err
		}
		return reduceEvents(list.Items), nil
	}
}

func reduceEvents(list []corev1.Event) []*Event {
	var out []*Event
	for i := range list {
		if e := reduceEvent(&list[i]); e != nil {
			out = append(out, e)
		}
	}
	return out
}
