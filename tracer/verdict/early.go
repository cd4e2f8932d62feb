package verdict

import "github.com/podpath/podpath/tracer"

// earliness says what may not be claimed yet.
type earliness int

const (
	inTime earliness = iota
	// tooEarlyForSilence: an answer can still come.
	tooEarlyForSilence
	// tooEarly: what was dropped once can still come through.
	tooEarly
)

// early judges a flow at which the trace ended before its time had come.
func (in *Input) early() earliness {
	j := in.Journey
	if in.unseen() || in.Outcome != tracer.OutcomeNoAnswer && in.Outcome != tracer.OutcomeConnectedNoData {
		return inTime
	}
	n := strikes(j)
	if in.unwatched() && n == 1 && !final(j) {
		return tooEarly // the next try may have passed where nothing looks
	}
	if _, due := outcome(j, in.Now); due {
		return inTime
	}
	switch {
	case n < 2 && in.Now.Sub(j.Last) < retryTCP:
		return tooEarly
	case in.Now.Sub(j.First) < silentTCP, j.Flow.Proto == tracer.ProtoTCP && !j.Established && j.Attempts < 2:
		return tooEarlyForSilence
	}
	return inTime
}

// unseen: there is no packet to judge.
func (in *Input) unseen() bool {
	return in.Outcome == tracer.OutcomeNotSeen
}
