package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

// version is set at build time.
var version = "devel"

// stdio are the streams of one run.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// app is what every verb shares.
type app struct {
	stdio
	kube          *genericclioptions.ConfigFlags
	allNamespaces bool
	selector      string
	dump          string
	node          string
	output        string
	noColor       bool
	verbosity     int
	symbols       *probe.Symbols
}

func newApp(s stdio) *app {
	return &app{stdio: s, kube: genericclioptions.NewConfigFlags(true), symbols: probe.NewSymbols()}
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s stdio) int {
	a := newApp(s)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := unknownVerb(root, root.ExecuteContext(ctx))
	a.complain(err)
	return exitCode(err)
}

// complain prints an error once, in one line, and then what to do about it.
func (a *app) complain(err error) {
	var e *exitError
	if err == nil || errors.As(err, &e) || errors.Is(err, unix.EPIPE) {
		return
	}
	fmt.Fprintf(a.err, "podpath: %s\n", render.Escape(err.Error()))
	var h interface{ Hint() string }
	switch {
	case errors.As(err, &h) && h.Hint() != "":
		fmt.Fprintf(a.err, "  %s\n", render.Escape(h.Hint()))
	case strings.HasPrefix(err.Error(), "required flag"):
		fmt.Fprintln(a.err, "  see podpath VERB --help")
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "podpath",
		Short: "Why can this pod not reach that, and whose fault is it?",
		Long: `podpath watches the packets of selected pods on this node with eBPF, follows
them through address translation, filters and routing, and says who is at
fault: the CNI, a NetworkPolicy, kube-proxy, egress, DNS, the node, the
application or the far side.

It changes nothing on the node. Run it as root on the node that the client pod
runs on, or in the debug pod of deploy/.`,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true,
		Version:            version,
	}
	f := root.PersistentFlags()
	a.kube.AddFlags(f)
	f.BoolVarP(&a.allNamespaces, "all-namespaces", "A", false, "look for names without a namespace in all of them")
	f.StringVarP(&a.output, "output", "o", "text", "output format: text, wide, json or yaml")
	f.StringVar(&a.dump, "cluster-dump", "", "read cluster state from a file (kubectl get ... -o json|yaml) instead of the API server; - is standard input")
	f.StringVar(&a.node, "node", "", "name of this node in the cluster (default $NODE_NAME, then the host name)")
	f.BoolVar(&a.noColor, "no-color", false, "no colours, also on a terminal")
	f.CountVarP(&a.verbosity, "verbose", "v", "more on standard error; repeat for more")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		hint := "see " + c.CommandPath() + " --help"
		if strings.Contains(err.Error(), "time: ") {
			hint = "durations are written 500ms, 30s or 5m; " + hint
		}
		return &hinted{err, hint}
	})
	root.AddCommand(a.traceCommand(), a.dropsCommand(), a.demoCommand(), a.replayCommand(), a.explainCommand(), a.versionCommand())
	root.InitDefaultCompletionCmd()
	nameArguments(root)
	return root
}

// nameArguments makes a wrong or missing argument an error that says what is
// wanted instead.
func nameArguments(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.HasSubCommands() {
			groupOnly(c)
			continue
		}
		check := c.Args
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			if len(args) == 0 {
				return &hinted{fmt.Errorf("%s needs an argument", c.Name()), "usage: " + c.UseLine()}
			}
			return &hinted{fmt.Errorf("%s does not take the arguments %q", c.Name(), args), "usage: " + c.UseLine()}
		}
	}
}

// groupOnly is a command that only holds others: alone it shows its help.
func groupOnly(group *cobra.Command) {
	group.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	group.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(c, args[0])
	}
}

// unknownVerb says better what cobra says of an unknown verb.
func unknownVerb(root *cobra.Command, err error) error {
	var name string
	var h *hinted
	if err == nil || errors.As(err, &h) {
		return err
	}
	if _, scanErr := fmt.Sscanf(err.Error(), "unknown command %q for \"podpath\"", &name); scanErr != nil {
		return err
	}
	return unknownCommand(root, name)
}

func unknownCommand(group *cobra.Command, name string) error {
	var names []string
	for _, sub := range group.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return &hinted{
		fmt.Errorf("unknown command %q for %q%s", name, group.CommandPath(), nearest(name, names)),
		"use " + strings.Join(names, ", ") + "; see " + group.CommandPath() + " --help",
	}
}

// printer makes the printer that -o asks for.
func (a *app) printer() (render.Printer, error) {
	o := render.Options{Format: a.output}
	if fd, ok := a.terminal(); ok {
		o.Colour = !a.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if w, _, err := term.GetSize(fd); err == nil {
			o.Width = w
		}
	}
	return render.New(a.out, o)
}

func (a *app) terminal() (fd int, ok bool) {
	f, isFile := a.out.(*os.File)
	if !isFile {
		return 0, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd)
}

func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.verbosity == 1:
		level = slog.LevelInfo
	case a.verbosity > 1:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// nodeName is --node, else $NODE_NAME, else the host name.
func (a *app) nodeName() string {
	if a.node != "" {
		return a.node
	}
	if n := os.Getenv("NODE_NAME"); n != "" {
		return n
	}
	n, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return n
}

func (a *app) namespace() string {
	if a.allNamespaces {
		return everywhere
	}
	ns, _, err := a.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil || ns == "" {
		return "default"
	}
	return ns
}
