package tracer

import (
	"net/netip"
	"time"
)

// Upstream sums up what a DNS server asked of another one while a client of its
// own waited. Names are not read: that the questions are about what the client
// asked is told by the time alone.
type Upstream struct {
	// Resolver is whom the server asked, Proto how.
	Resolver netip.AddrPort `json:"resolver"`
	Proto    uint8          `json:"proto"`
	// Asked counts questions over UDP, and connections over TCP; Answered those
	// with an answer of any kind, and those that were set up.
	Asked    int `json:"asked"`
	Answered int `json:"answered"`
	// RCode is the gravest of the answers over UDP.
	RCode uint8 `json:"rcode"`
	// Slowest is the longest time from a question to its answer.
	Slowest time.Duration `json:"slowest_ns,omitempty"`
	// Refused: an RST or an ICMP error came back.
	Refused bool `json:"refused,omitempty"`
	// Unshown: packets passed on a socket in use for longer, of which only the
	// number is known.
	Unshown bool `json:"unshown,omitempty"`
	// First is when the first of them was asked, Flow the oldest flow among them.
	First time.Time `json:"first"`
	Flow  uint64    `json:"flow"`
}

// Failed: whatever was asked, nobody answered.
func (u *Upstream) Failed() bool { return u.Asked > 0 && u.Answered == 0 && !u.Unshown }
