package verdict

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/tracer"
)

// looping makes of a DNS Service without endpoints a loop, if that is what all its
// pods say they ended of. What they ask themselves is on a loopback device of theirs,
// for a second after each start, and their logs are not read: so it takes their last
// words. What some of them say stands beside what is known of the Service.
func (in *Input) looping(f *Finding) {
	s := in.Cluster.Service
	if !s.DNS {
		return
	}
	looped := 0
	for _, e := range s.Exits {
		if e.Says != tracer.FailureDNSLoop || e.Ready {
			continue
		}
		if in.loops(e) {
			looped++
		}
		f.Evidence = append(f.Evidence, in.seenExit(e))
	}
	if looped == 0 || looped < s.Matches-s.Ready {
		return
	}
	f.Code = "dns-loop"
	f.Summary = fmt.Sprintf("Service %s/%s has no ready endpoints, because its DNS pods end as soon as they start: what they ask of their upstream comes back to them", s.Namespace, s.Name)
}

// refusing is the code for a DNS pod that nothing listens in, and the summary's end. A
// pod that ends as soon as it starts counts as ready for the moment in which it runs,
// and until its end is heard of.
func (in *Input) refusing(f *Finding) (code, tail string) {
	s, pod, loops, refuses := in.Cluster.Service, in.Cluster.TargetPod, 0, false
	if s == nil || pod == nil {
		return "dns-coredns-down", ""
	}
	for _, e := range s.Exits {
		if e.Says != tracer.FailureDNSLoop || !in.loops(e) {
			continue
		}
		loops++
		if e.Namespace == pod.Namespace && e.Name == pod.Name {
			refuses = true
			f.Evidence = append(f.Evidence, in.seenExit(e))
		}
	}
	if !refuses {
		return "dns-coredns-down", ""
	}
	if loops >= s.Matches {
		f.Object = serviceRef(s)
	}
	return "dns-loop", ": it ends as soon as it starts, for what it asks of its upstream comes back to it"
}

// loopProbe is for how long CoreDNS asks itself whether its questions come back, once
// it is started (coredns/coredns plugin/loop): of one that has run for longer the end
// was another time's.
const loopProbe = 30 * time.Second

func (in *Input) loops(e tracer.PodExit) bool {
	return e.Again.IsZero() || in.Now.Sub(e.Again).Abs() < loopProbe
}

// seenExit is how a pod's container ended, as evidence.
func (in *Input) seenExit(e tracer.PodExit) tracer.Evidence {
	what := "ended: " + e.Text
	if e.Restarts > 0 {
		what = fmt.Sprintf("%d restarts, %s", e.Restarts, what)
	}
	seen := in.seenState("Pod "+e.Namespace+"/"+e.Name, "%s", what)
	if !e.At.IsZero() {
		seen.Time = e.At
	}
	return seen
}
