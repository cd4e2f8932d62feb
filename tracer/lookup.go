package tracer

import "time"

// Lookup sums up the DNS messages of one flow. Which questions they ask is not
// known; the identifiers tell them apart.
type Lookup struct {
	// Asked counts the questions, Answered those with an answer of any kind.
	Asked    int `json:"asked"`
	Answered int `json:"answered"`
	// RCode is the gravest of the last answers to each question: any failure
	// before NXDOMAIN before NOERROR.
	RCode uint8 `json:"rcode"`
	// Records is the most that one answer held.
	Records uint16 `json:"records,omitempty"`
	// Truncated: an answer did not fit, and is to be asked for over TCP.
	Truncated bool `json:"truncated,omitempty"`
	// Slowest is the longest time from a question's first sending to its answer.
	Slowest time.Duration `json:"slowest_ns,omitempty"`
	// Repeated counts questions that were sent more than once before the answer.
	Repeated int `json:"repeated,omitempty"`
	// Unasked: only an answer was seen, which is a failure. Its question came before
	// the trace, and how long it took is not known.
	Unasked bool `json:"unasked,omitempty"`
	// FoundLater: the client asked on, and was answered with records shortly
	// after: what had no answer was one try of its search list.
	FoundLater bool `json:"found_later,omitempty"`
	// AskedOn: the client went on at once with the next try of its search list, and
	// that, or one after it, failed in another way or is not answered yet: that the
	// name of this try does not exist is not what keeps the client from its answer.
	AskedOn bool `json:"asked_on,omitempty"`
	// Together: two questions were sent at once by one socket, as resolvers ask
	// for the addresses of both families.
	Together bool `json:"together,omitempty"`
	// Misses counts the questions right before this one that found nothing: tries
	// of the client's search list for one name, unless there are too many for
	// that. Took is what it spent on all of
	// them, set if there were any.
	Misses int           `json:"misses,omitempty"`
	Took   time.Duration `json:"took_ns,omitempty"`
}
