package kube

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podpath/podpath/tracer"
)

// Event is what podpath keeps of an Event that tells why a pod does not start. Of
// others it keeps nothing.
type Event struct {
	Meta
	// Pod is whom it is about, UID tells it from another of the same name.
	Pod Key
	UID string
	// Progress: the pod has come past its network; what follows is no failure then.
	Progress bool
	tracer.StartAttempt
}

// startReasons are the reasons of Events that are kept: what the kubelet says when it
// cannot make a pod's sandbox, or not take away what is left of the try before, when the
// runtime has no network, and when it waits for volumes (kubernetes
// pkg/kubelet/events).
func startReasons() []string {
	return []string{"FailedCreatePodSandBox", "FailedKillPod", "NetworkNotReady", "FailedMount", "FailedAttachVolume"}
}

// againReason: the kubelet begins a sandbox anew. Where the one before was left half
// made, as by a plugin that is missing, this is all that it goes on saying: why it
// failed is in one Event of the first try (seen with kubelet 1.36 and containerd).
const againReason = "SandboxChanged"

// progressReasons are those of a pod that has its sandbox, and so its network: of
// their Events only the time is kept.
func progressReasons() []string { return []string{"Pulling", "Pulled", "Created", "Started"} }

// reduceEvent returns nil for an Event that says nothing of a pod's start.
func reduceEvent(e *corev1.Event) *Event {
	if e.InvolvedObject.Kind != "Pod" || e.InvolvedObject.Name == "" {
		return nil
	}
	if slices.Contains(progressReasons(), e.Reason) || e.Reason == againReason {
		return reduceMoment(e)
	}
	if !slices.Contains(startReasons(), e.Reason) {
		return nil
	}
	out := &Event{
		Meta: Meta{Namespace: e.Namespace, Name: e.Name, rv: e.ResourceVersion},
		Pod:  Key{e.InvolvedObject.Namespace, e.InvolvedObject.Name}, UID: string(e.InvolvedObject.UID),
		StartAttempt: tracer.StartAttempt{
			Reason: e.Reason, Says: noted(e.Annotations, e.Message), Plugin: e.Annotations[pluginNote],
			Text: shortened(e.Message), First: since(e.FirstTimestamp), Last: since(e.LastTimestamp), Count: e.Count,
		},
	}
	switch e.Reason {
	case "FailedMount", "FailedAttachVolume":
		out.Says = tracer.FailureVolume
	}
	if out.Plugin == "" {
		out.Plugin = pluginIn(e.Message)
	}
	out.dated(e)
	return out
}

// reduceMoment is of an Event of which only the reason and the time count.
func reduceMoment(e *corev1.Event) *Event {
	out := &Event{
		Meta: Meta{Namespace: e.Namespace, Name: e.Name, rv: e.ResourceVersion},
		Pod:  Key{e.InvolvedObject.Namespace, e.InvolvedObject.Name}, UID: string(e.InvolvedObject.UID), Progress: e.Reason != againReason,
		StartAttempt: tracer.StartAttempt{Reason: e.Reason, First: since(e.FirstTimestamp), Last: since(e.LastTimestamp), Count: e.Count},
	}
	out.dated(e)
	return out
}

// dated takes the times of events.k8s.io, where those of the core group are left
// out, and counts once what is not counted.
func (e *Event) dated(from *corev1.Event) {
	later := func(t time.Time) {
		if !t.IsZero() && t.After(e.Last) {
			e.Last = t.UTC()
		}
	}
	later(from.EventTime.Time)
	if from.Series != nil {
		later(from.Series.LastObservedTime.Time)
		e.Count = max(e.Count, from.Series.Count)
	}
	if e.First.IsZero() {
		e.First = e.Last
		if !from.EventTime.IsZero() {
			e.First = from.EventTime.UTC()
		}
	}
	e.Count = max(e.Count, 1)
}

func restoreEvent(e *Event) *corev1.Event {
	out := &corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: e.Pod.Namespace, Name: e.Pod.Name, UID: types.UID(e.UID)},
		Reason:         e.Reason, Message: e.Text, Count: e.Count,
	}
	if !e.Progress && e.Reason != againReason {
		out.Annotations = map[string]string{saysNote: string(e.Says)}
	}
	if e.Plugin != "" {
		out.Annotations[pluginNote] = e.Plugin
	}
	if !e.First.IsZero() {
		out.FirstTimestamp = metav1.NewTime(e.First)
	}
	if !e.Last.IsZero() {
		out.LastTimestamp = metav1.NewTime(e.Last)
	}
	return out
}
