package verdict

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/tracer"
)

// young is how long after its creation a pod may still wait for its policies: an
// agent that works needs seconds, of which the image's download takes some.
const young = 30 * time.Second

// startupRace makes of a drop by an agent, which no policy explains, that of a
// pod which the agent has not got to yet. It says whether it is one.
func (in *Input) startupRace(d *tracer.DropSeen, owner string, f *Finding) bool {
	pod := in.newPod(d)
	if pod == nil || in.Cluster.Stale > 0 {
		return false
	}
	age := d.First.Sub(pod.Created).Round(100 * time.Millisecond)
	f.Code, f.Confidence, f.Object = "pol-startup-race", tracer.Probable, podRef(pod)
	f.Summary = fmt.Sprintf("%s dropped %s to %s at %s, which no NetworkPolicy denies, %s after pod %s/%s was created: it has not set up the pod's policies yet",
		owner, in.from(d), in.to(d), in.where(d.Device), age, pod.Namespace, pod.Name)
	f.Evidence = append(f.Evidence, in.seenState("Pod", "%s/%s was created %s before the first drop", pod.Namespace, pod.Name, age))
	f.Blind = append(f.Blind, in.otherPolicies(owner)...)
	if len(in.unreadKinds(owner)) > 0 {
		f.Confidence = tracer.Suspected
		f.Summary += ", or a policy of another kind denies it"
	}
	f.Blind = append(f.Blind, tracer.Blind{What: "whether it goes on", Effect: "drops of a pod that is no longer new are pol-agent-stale: trace again in half a minute"})
	return true
}

// newPod is the end of the flow whose policies were enforced where the packet was
// dropped, if it is a pod that had just been created.
func (in *Input) newPod(d *tracer.DropSeen) *tracer.PodFacts {
	ends := []*tracer.PodFacts{in.Cluster.SourcePod, in.Cluster.TargetPod}
	switch in.side(d) {
	case "egress":
		ends = ends[:1]
	case "ingress":
		ends = ends[1:]
	}
	for _, p := range ends {
		if p == nil || p.HostNetwork || p.Created.IsZero() {
			continue
		}
		if age := d.First.Sub(p.Created); age >= -time.Second && age < young { // Kubernetes' stamps have whole seconds
			return p
		}
	}
	return nil
}
