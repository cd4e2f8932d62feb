package verdict

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Untried is what the client of a lookup that failed was to connect to, by name,
// and did not.
type Untried struct {
	// To is the destination that was asked for, in words.
	To string
	// For is how long after the lookup had failed nothing was sent there.
	For time.Duration
}

// nothingTried makes the fault of a lookup that of the connection which did not
// follow. Names are not read: which one the client asked for is not known, so that
// it is never certain.
func (in *Input) nothingTried(f *Finding) {
	u := in.Untried
	if u == nil {
		return
	}
	f.Summary += fmt.Sprintf("; after that nothing was sent to %s", u.To)
	if f.Confidence == tracer.Confirmed {
		f.Confidence = tracer.Probable
	}
	f.Evidence = append(f.Evidence, in.seenState(in.source(), "no packet to %s, and no lookup that found something, for %s after the lookup failed", u.To, inShort(u.For)))
	f.Blind = append(f.Blind, tracer.Blind{What: "the names that were asked for",
		Effect: fmt.Sprintf("that the lookup was for %s is concluded from nothing having followed it", u.To)})
}
