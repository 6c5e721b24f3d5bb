package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench/control"
)

// GoNet is the target that runs on Go's net without ringfd. The other targets
// are the names of ringfd's backends, for a goroutine per connection, and those
// with a style behind them, for Backend.Serve: "io_uring-data".
const GoNet = "go-net"

// parse splits the name of a target into its backend and its style, "" without.
func parse(target string) (ringfd.Kind, Style) {
	for _, style := range []Style{Blocking, Data} {
		if kind, ok := strings.CutSuffix(target, "-"+string(style)); ok {
			return ringfd.Kind(kind), style
		}
	}
	return ringfd.Kind(target), ""
}

// Child is the process of a server. See control.ServeChild.
func Child(in io.Reader, out io.Writer) error { return control.ServeChild(in, out, new(chosen)) }

// chosen is the server that the specification asks for.
type chosen struct{ control.Server }

func (c *chosen) Start(spec control.ServerSpec) (control.Ready, error) {
	if c.Server = new(child); spec.Service == control.Soak {
		c.Server = new(soak)
	}
	return c.Server.Start(spec)
}

type child struct {
	*Server
	engine *ringfd.Backend // nil for GoNet
	cancel context.CancelFunc
	done   chan error
}

func (c *child) Start(spec control.ServerSpec) (control.Ready, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan error, 1)
	c.Server = New(Spec{Service: spec.Service, Request: spec.Request, Reply: spec.Reply, Buffer: spec.Buffer, Work: spec.Work})
	ready, err := c.listen(ctx, spec)
	if err != nil {
		cancel()
		return ready, err
	}
	for range spec.Computing {
		go computeOn(ctx)
	}
	return ready, err
}

func (c *child) listen(ctx context.Context, spec control.ServerSpec) (control.Ready, error) {
	if spec.Target == GoNet {
		l, err := new(net.ListenConfig).Listen(ctx, spec.Network, spec.Address)
		if err != nil {
			return control.Ready{}, err
		}
		go func() { c.done <- c.ServeNet(ctx, l) }()
		return control.Ready{Kind: GoNet, Why: "Go's net, without ringfd", Address: l.Addr().String()}, nil
	}
	kind, style := parse(spec.Target)
	backend, err := ringfd.Open(ringfd.Options{
		Backend: kind, BusyPoll: spec.BusyPoll,
		Accept: accept.Loop{OnError: func(err *accept.Error, _ time.Duration) { c.acceptFailed(err.Class.String()) }},
		Loops:  ringfd.LoopOptions{WriteLimit: writeLimit(spec, style)},
	})
	if err != nil {
		return control.Ready{}, whyNot(err)
	}
	l, err := backend.Listen(ctx, spec.Network, spec.Address, accept.Config{})
	if err != nil {
		return control.Ready{}, errors.Join(err, backend.Close())
	}
	if style == "" {
		go func() { c.done <- c.Serve(ctx, l) }()
	} else if err := c.serveStyle(ctx, backend, l, style); err != nil {
		return control.Ready{}, errors.Join(err, backend.Close())
	}
	c.engine = backend
	return control.Ready{Kind: string(backend.Kind()), Why: backend.Why(), Address: l.Addr().String()}, nil
}

// whyNot marks the error of a backend that this machine does not have.
func whyNot(err error) error {
	var unavailable *ringfd.UnavailableError
	if errors.As(err, &unavailable) {
		return fmt.Errorf("%w: %w", control.ErrUnavailable, err)
	}
	return err
}

// serveStyle begins Serve. An error of one whose context has ended already says
// that there is no Serve here.
func (c *child) serveStyle(ctx context.Context, backend *ringfd.Backend, l *accept.Listener, style Style) error {
	h := c.Handler(backend, style)
	ended, end := context.WithCancel(ctx)
	end()
	if err := backend.Serve(ended, l, h); err != nil {
		return fmt.Errorf("%w: Serve on %s: %w", control.ErrUnavailable, backend.Kind(), err)
	}
	go func() { c.done <- backend.Serve(ctx, l, h) }()
	return nil
}

// repliesKept is how many replies a data handler must be able to leave to the
// library at once: more than any cell has in flight on a connection.
const repliesKept = 32

// writeLimit is that of LoopOptions. A data handler, which cannot wait until the
// peer reads, is asked for several large replies in one go.
func writeLimit(spec control.ServerSpec, style Style) int {
	const usual = 1 << 20
	if style == Data && spec.Service == control.Exchange {
		return max(usual, repliesKept*spec.Reply)
	}
	return usual
}

// Engine returns ringfd.Stats.
func (c *child) Engine() any {
	if c.engine == nil {
		return nil
	}
	return c.engine.Stats()
}

func (c *child) Stop() error {
	c.Drain(control.DrainLimit)
	c.cancel()
	err := <-c.done
	if c.engine != nil {
		err = errors.Join(err, c.engine.Close())
	}
	return err
}
