package lab

import (
	"context"
	"time"
)

// lossFaults lose a packet that is sent again, and then fail for another reason:
// what was lost is the louder, and not the cause.
func lossFaults() []Fault {
	f := func(code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "application", Code: code, Protocols: []string{"tcp"}, Visible: visible,
			arrange: func(ctx context.Context, l *Lab) (*scene, error) {
				s, err := arrange(ctx, l)
				if err != nil {
					return nil, err
				}
				return s, l.loseOne()
			}}
	}
	return []Fault{
		f("app-reset", "reset-after-loss", "a lost packet, and a reset", "A packet is lost and sent again; then the application resets the connection.", 3*time.Second, arrangeReset),
		f("app-no-listener", "not-listening-after-loss", "a lost packet, and nobody listens", "A packet is lost and sent again; then it is refused, since nobody listens.", 3*time.Second, arrangeNotListening),
		f("app-hang", "hang-after-loss", "a lost packet, and no answer", "A packet is lost and sent again; then the application does not answer.", silence+time.Second, arrangeHang),
	}
}
