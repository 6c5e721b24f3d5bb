package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench/control"
)

// GoNet is the target that runs on Go's net without ringfd. The other targets
// are the names of ringfd's backends.
const GoNet = "go-net"

// Child is the process of a server. See control.ServeChild.
func Child(in io.Reader, out io.Writer) error { return control.ServeChild(in, out, new(child)) }

type child struct {
	*Server
	backend *ringfd.Backend // nil for GoNet
	cancel  context.CancelFunc
	done    chan error
}

func (c *child) Start(spec control.ServerSpec) (control.Ready, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan error, 1)
	c.Server = New(Spec{Service: spec.Service, Request: spec.Request, Reply: spec.Reply, Buffer: spec.Buffer})
	ready, err := c.listen(ctx, spec)
	if err != nil {
		cancel()
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
	backend, err := ringfd.Open(ringfd.Options{Backend: ringfd.Kind(spec.Target), BusyPoll: spec.BusyPoll})
	var unavailable *ringfd.UnavailableError
	if errors.As(err, &unavailable) {
		err = fmt.Errorf("%w: %w", control.ErrUnavailable, err)
	}
	if err != nil {
		return control.Ready{}, err
	}
	l, err := backend.Listen(ctx, spec.Network, spec.Address, accept.Config{})
	if err != nil {
		return control.Ready{}, errors.Join(err, backend.Close())
	}
	c.backend = backend
	go func() { c.done <- c.Serve(ctx, l) }()
	return control.Ready{Kind: string(backend.Kind()), Why: backend.Why(), Address: l.Addr().String()}, nil
}

// Engine returns ringfd.Stats.
func (c *child) Engine() any {
	if c.backend == nil {
		return nil
	}
	return c.backend.Stats()
}

func (c *child) Stop() error {
	c.Drain(control.DrainLimit)
	c.cancel()
	err := <-c.done
	if c.backend != nil {
		err = errors.Join(err, c.backend.Close())
	}
	return err
}
