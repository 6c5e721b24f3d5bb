// Command ringfd shows what this machine offers, or what a running process does
// with it (doctor, doctor --live), compares the backends on it (bench), soaks one
// for long (soak), and runs an echo server (echo).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/cockroachdb/errors"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench"
)

// The exit codes.
const (
	exitFailure = 1
	exitUsage   = 2 // what was asked for cannot be meant, or not be had as given
)

type command struct {
	Doctor doctorCommand `cmd:"" help:"Show what this machine's kernel offers, which backend is chosen, and why; or with --live what a running process does."`
	Echo   echoCommand   `cmd:"" help:"Run an echo server until interrupted, and print its totals."`
	Bench  benchCommand  `cmd:"" help:"Compare the backends on this machine, side by side."`
	Soak   soakCommand   `cmd:"" help:"Keep a server under load for long, with peers that come and go and misbehave, and tell whether anything grows. Exit code 1: something did."`

	Child childCommand `cmd:"" name:"bench-child" hidden:""`
}

// childCommand is a server or generator process of bench.
type childCommand struct {
	Role string `arg:""`
}

func (c *childCommand) Run(io stdio) error { return bench.Child(c.Role, io.in, io.out) }

// stdio is what a command reads and prints.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

func run(args []string, io stdio) int {
	// The first signal ends ctx; after that they have their usual effect, so
	// that a second one ends a command that hangs.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()

	exited := -1
	parser, err := kong.New(new(command),
		kong.Name("ringfd"),
		kong.Description("A file-descriptor layer on io_uring, with a twin on Go's net."),
		kong.Writers(io.out, io.err),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(io),
	)
	if err != nil {
		return fail(io.err, err, exitFailure)
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help was asked for, and printed
		return exited
	}
	if err != nil {
		return fail(io.err, err, exitUsage)
	}
	if err := parsed.Run(); err != nil {
		return fail(io.err, err, exitCode(err))
	}
	return 0
}

// usageError is a mistake in the command line that the parser cannot see.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode tells mistakes of the caller from failures.
func exitCode(err error) int {
	var usage usageError
	var listen *accept.ListenError
	if errors.As(err, &usage) || errors.As(err, &listen) {
		return exitUsage
	}
	return exitFailure
}

// fail prints err, with its hints, on one line.
func fail(w io.Writer, err error, code int) int {
	line := "ringfd: " + err.Error()
	if hint := errors.FlattenHints(err); hint != "" {
		line += " (" + hint + ")"
	}
	fmt.Fprintln(w, strings.Join(strings.Fields(line), " "))
	return code
}

// backendFlag is --backend. Empty leaves the choice to RINGFD_BACKEND.
type backendFlag struct{ kind ringfd.Kind }

func (b *backendFlag) UnmarshalText(text []byte) error {
	kind, err := ringfd.ParseKind(string(text))
	b.kind = kind
	return err
}

// open opens a backend; what is wrong with the options or the environment is a
// mistake of the caller, what the machine lacks is not.
func open(o ringfd.Options) (*ringfd.Backend, error) {
	backend, err := ringfd.Open(o)
	var unavailable *ringfd.UnavailableError
	if err != nil && !errors.As(err, &unavailable) {
		return nil, usageError{err}
	}
	return backend, err
}
