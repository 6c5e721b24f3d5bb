package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench/control"
	labserver "github.com/ringfd/ringfd/bench/server"
	"github.com/ringfd/ringfd/fd"
)

// site is where a program runs: what it listens and dials with, and counts on.
type site struct {
	spec     control.ServerSpec
	backend  *ringfd.Backend // nil on Go's net
	inside   bool            // handlers are those of Backend.Serve
	ctx      context.Context
	messages atomic.Uint64
	accepted atomic.Uint64 // by the program itself, not by what stands behind it
	filler   []byte        // of replies
}

// openSite opens the backend of a target: that of ringfd with this name, or with
// "-blocking" behind it for handlers inside Serve; or Go's net.
func openSite(ctx context.Context, spec control.ServerSpec) (*site, error) {
	s := &site{spec: spec, ctx: ctx, filler: make([]byte, max(spec.Request, spec.Reply))}
	for i := range s.filler {
		s.filler[i] = 'a' + byte(i%26)
	}
	if spec.Target == labserver.GoNet {
		return s, nil
	}
	var kind string
	kind, s.inside = strings.CutSuffix(spec.Target, "-"+string(labserver.Blocking))
	var err error
	s.backend, err = ringfd.Open(ringfd.Options{Backend: ringfd.Kind(kind), BusyPoll: spec.BusyPoll})
	if unavailable := new(ringfd.UnavailableError); errors.As(err, &unavailable) {
		return nil, fmt.Errorf("%w: %w", control.ErrUnavailable, err)
	}
	return s, err
}

// listen returns a listener of the target: as the net view, and, but on Go's net, as
// ringfd's own.
func (s *site) listen(network, address string) (net.Listener, *accept.Listener, error) {
	if s.backend == nil {
		l, err := new(net.ListenConfig).Listen(s.ctx, network, address)
		return l, nil, err
	}
	l, err := s.backend.Listen(s.ctx, network, address, accept.Config{})
	if err != nil {
		return nil, nil, err
	}
	return l.NetListener(), l, nil
}

// dial connects by the target.
func (s *site) dial(network, address string) (net.Conn, error) {
	if s.backend == nil {
		return new(net.Dialer).DialContext(s.ctx, network, address)
	}
	return s.backend.DialContext(s.ctx, network, address)
}

// behind serves what stands behind the program, on the same target, with a goroutine
// for each connection, and returns its address.
func (s *site) behind(handle func(net.Conn)) (address string, err error) {
	l, _, err := s.listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(s.ctx, func() { _ = l.Close() })
	go func() { _ = serveEach(l, handle) }()
	return l.Addr().String(), nil
}

// serveEach serves each connection on a goroutine.
func serveEach(l net.Listener, handle func(net.Conn)) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go handle(conn)
	}
}

// serveInside serves by Backend.Serve.
func (s *site) serveInside(l *accept.Listener, handle func(net.Conn)) error {
	return s.backend.Serve(s.ctx, l, ringfd.Handler{Blocking: func(f *fd.FD) {
		s.accepted.Add(1)
		handle(f.Conn())
	}})
}

// answered counts a message whose reply is about to go, after the work that a handler
// has with it.
func (s *site) answered() {
	labserver.Compute(s.spec.Work)
	s.messages.Add(1)
}

// counting counts what it accepts.
type counting struct {
	net.Listener
	accepted *atomic.Uint64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
}

// pair makes a connection whose both ends are here.
func (s *site) pair() (near, far net.Conn, err error) {
	l, _, err := s.listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = l.Close() }()
	if near, err = s.dial("tcp", l.Addr().String()); err == nil {
		far, err = counting{l, &s.accepted}.Accept()
	}
	return near, far, err
}
