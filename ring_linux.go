package ringfd

import (
	"context"
	"net"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/uring"
)

// ringBackend is the backend on io_uring: pollers, and loops for Serve.
type ringBackend struct {
	engine *uring.Engine
	dial   fd.DialConfig
	events *fd.Events
}

func newRingBackend(o Options) (backend, string, error) {
	engine, err := uring.New(uring.Config{Without: o.Without, BusyPoll: o.BusyPoll, Loops: uring.LoopConfig{
		Count:        o.Loops.Count,
		WriteLimit:   o.Loops.WriteLimit,
		Drain:        o.Loops.Drain,
		HandlerLimit: o.Loops.HandlerLimit,
		ZeroCopy:     o.Loops.ZeroCopy,
		NAPI:         o.Loops.NAPI,
		BusyPoll:     o.BusyPoll,
		Accept:       o.Accept,
		Events:       o.Events,
	}})
	if err != nil {
		return nil, "", err
	}
	why := "io_uring works here, with " + engine.Features().String()
	if without := uring.Probe().Found & o.Without; without != 0 {
		why += "; masked: " + without.String()
	}
	return &ringBackend{engine: engine, dial: o.Dial, events: o.Events}, why, nil
}

func (b *ringBackend) socket() fd.Socket { return b.engine.NewSocket(&b.dial) }

func (b *ringBackend) listen(addr net.Addr, network string, config accept.Config) (accept.Acceptor, error) {
	l, err := b.engine.Listen(addr, network, config)
	if err != nil {
		return nil, err // not l: a nil *Listener is no nil Acceptor
	}
	return l, nil
}

func (b *ringBackend) away(work func()) error { return b.engine.Away(work) }

func (b *ringBackend) features() Features { return b.engine.Features() }
func (b *ringBackend) close() error       { return b.engine.Close() }
func (b *ringBackend) stats() Stats       { return Stats(b.engine.Stats()) }

func (b *ringBackend) serve(ctx context.Context, l *accept.Listener, h Handler) error {
	below, ok := l.Acceptor().(*uring.Listener)
	if !ok || !b.engine.Owns(below) {
		return errForeignListener
	}
	return b.engine.Serve(ctx, below, h)
}

func (b *ringBackend) served(h Handler) *fd.FD {
	return fd.New(b.engine.Served(&b.dial, h), b.events)
}

func (b *ringBackend) start(f *fd.FD) { b.engine.Start(f) }

func (b *ringBackend) broadcast(ctx context.Context, fds []*fd.FD, message []byte, done func(i, n int, err error)) {
	b.engine.Broadcast(ctx, fds, message, done)
}
