package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
	labserver "github.com/ringfd/ringfd/bench/server"
)

// server is a program at work, as the lab drives it.
type server struct {
	*site
	cancel  context.CancelFunc
	pairs   *load.Callers // of a program with both ends here
	serving chan error
}

func (s *server) Start(spec control.ServerSpec) (control.Ready, error) {
	if spec.Service != control.Program {
		spec.Program = "echo" // the lab asks whether the target can run at all
	}
	p, err := find(spec.Program)
	if err != nil {
		return control.Ready{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.serving = cancel, make(chan error, 1)
	if s.site, err = openSite(ctx, spec); err == nil {
		var ready control.Ready
		if ready, err = s.begin(p); err == nil {
			return ready, nil
		}
		err = errors.Join(err, s.close())
	}
	cancel()
	return control.Ready{}, err
}

func (s *server) begin(p program) (control.Ready, error) {
	ready := control.Ready{Kind: labserver.GoNet, Why: "Go's net, without ringfd"}
	if s.backend != nil {
		ready.Kind, ready.Why = string(s.backend.Kind()), s.backend.Why()
	}
	if p.pair != nil {
		var err error
		s.pairs, err = load.OpenCallers(s.spec.Conns, func(i int) (load.Caller, error) { return p.pair(s.site, i) })
		return ready, err
	}
	var handle func(net.Conn)
	if p.handler != nil {
		var err error
		if handle, err = p.handler(s.site); err != nil {
			return ready, err
		}
	}
	if s.inside && handle == nil {
		return ready, fmt.Errorf("%w: %s is no handler of a connection, which Serve needs", control.ErrUnavailable, s.spec.Program)
	}
	l, ours, err := s.listen(s.spec.Network, s.spec.Address)
	if err != nil {
		return ready, err
	}
	context.AfterFunc(s.ctx, func() { _ = l.Close() })
	ready.Address = l.Addr().String()
	counted := counting{l, &s.accepted}
	go func() {
		switch {
		case s.inside:
			s.serving <- s.serveInside(ours, handle)
		case p.serve != nil:
			s.serving <- p.serve(s.site, counted)
		default:
			s.serving <- serveEach(counted, handle)
		}
	}()
	return ready, nil
}

// Run is for a program that has both ends in this process.
func (s *server) Run(d time.Duration) (any, error) {
	if s.pairs == nil {
		return nil, fmt.Errorf("%s has no clients in the server's process", s.spec.Program)
	}
	result, err := s.pairs.Run(d)
	if err != nil {
		return nil, err
	}
	result.Usage, result.Busy = control.Usage{}, 0 // it is all the server's
	return result, nil
}

func (s *server) Totals() control.Totals {
	return control.Totals{Accepted: s.accepted.Load(), Messages: s.messages.Load()}
}

// Engine returns ringfd.Stats.
func (s *server) Engine() any {
	if s.backend == nil {
		return nil
	}
	return s.backend.Stats()
}

// Stop ends the server, whose connections the generator has closed.
func (s *server) Stop() error {
	var errs []error
	if s.pairs != nil {
		errs = append(errs, s.pairs.Close())
	}
	s.cancel()
	if s.pairs == nil {
		if err := <-s.serving; !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return cmp.Or(errors.Join(errs...), s.close())
}

func (s *server) close() error {
	if s.backend == nil {
		return nil
	}
	return s.backend.Close()
}
