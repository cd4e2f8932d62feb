// Command e2e brings up the testbed's clusters and holds podpath against them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cobra.Command{
		Use: "e2e", Short: "A real Kubernetes in network namespaces, and podpath against it",
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(buildCommand(), upCommand(), downCommand(), execCommand(), serveCommand(), runCommand(), scenariosCommand(), roundsCommand(), workloadCommand())
	err := c.ExecuteContext(ctx)
	var code exitError
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case err != nil:
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(2)
	}
}

// exitError ends the program with this code and says nothing.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
