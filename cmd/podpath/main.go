// Command podpath tells, from the packets themselves, why a pod cannot reach
// something and whose fault it is.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/podpath/podpath/tracer/lab"
)

//go:generate go test -count=1 -run ^TestPublished$ . -update

func main() {
	lab.ServeIfChild()
	// A reader that has seen enough (head) is an error of the write, which ends
	// the run in order, and not a death on the spot.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	code := run(ctx, os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
