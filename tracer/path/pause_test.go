package path

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// The last time in which nothing passed is known, from events as from counts, and
// whether the reset that ended it came from one who does not know the connection.
func TestPause(t *testing.T) {
	there := tracer.Tuple{Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: netip.MustParseAddrPort("203.0.113.9:443"), Proto: tracer.ProtoTCP}
	began := time.Unix(1000, 0)
	at := func(after time.Duration, kind tracer.EventKind, tuple tracer.Tuple, flags uint8) *tracer.Event {
		return &tracer.Event{Seq: uint64(after), Time: began.Add(after), MonoNS: uint64(after) + 1, Kind: kind, NetNS: 1, IfIndex: 2, Tuple: tuple, TCPFlags: flags, TCPSeq: 7, Payload: 10}
	}
	data := func(after time.Duration) *tracer.Event {
		return at(after, tracer.EventTX, there, tracer.TCPAck|tracer.TCPPsh)
	}
	for name, tt := range map[string]struct {
		events []*tracer.Event
		counts []time.Duration // of the request, before the last event
		quiet  time.Duration   // 0: no pause
		bare   bool
	}{
		"none":                      {[]*tracer.Event{data(0), data(400 * time.Millisecond)}, nil, 0, false},
		"one":                       {[]*tracer.Event{data(0), data(90 * time.Second)}, nil, 90 * time.Second, false},
		"the last of two":           {[]*tracer.Event{data(0), data(90 * time.Second), data(92 * time.Second)}, nil, 2 * time.Second, false},
		"ended by a reset":          {[]*tracer.Event{data(0), at(90*time.Second, tracer.EventRX, there.Reverse(), tracer.TCPRst)}, nil, 90 * time.Second, true},
		"a reset that acknowledges": {[]*tracer.Event{data(0), at(90*time.Second, tracer.EventRX, there.Reverse(), tracer.TCPRst|tracer.TCPAck)}, nil, 90 * time.Second, false},
		"busy, as the counts say":   {[]*tracer.Event{data(0), data(2500 * time.Millisecond)}, []time.Duration{900 * time.Millisecond, 1800 * time.Millisecond}, 0, false},
		"a pause that was counted":  {[]*tracer.Event{data(0), data(70100 * time.Millisecond)}, []time.Duration{400 * time.Millisecond, 70 * time.Second}, 69600 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			jn := New(nil)
			var id uint64
			for i, e := range tt.events {
				if i == len(tt.events)-1 {
					for n, c := range tt.counts {
						jn.Count(&tracer.FlowCount{Kind: tracer.EventTX, Device: tracer.DeviceKey{NetNS: 1, IfIndex: 2}, Tuple: there, Packets: uint64(n + 2), Last: began.Add(c), FirstMonoNS: 1})
					}
				}
				id = jn.Add(e)
			}
			j, _ := jn.Journey(id)
			switch {
			case tt.quiet == 0 && j.Pause != nil:
				t.Errorf("a pause of %s", j.Pause.Quiet)
			case tt.quiet != 0 && (j.Pause == nil || j.Pause.Quiet != tt.quiet):
				t.Errorf("pause %+v, want %s", j.Pause, tt.quiet)
			}
			for _, a := range j.Answers {
				if a.Kind == tracer.AnswerRST && a.Bare != tt.bare {
					t.Errorf("a bare reset: %v, want %v", a.Bare, tt.bare)
				}
			}
		})
	}
}
