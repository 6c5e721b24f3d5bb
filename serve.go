package ringfd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// Handler serves connections, in blocking style or in data style.
type Handler = fd.Handler

// LoopOptions configure Serve, DialServe and Broadcast. The zero value is right
// for most. On the net backend only Drain means something: nothing is kept there
// for later, so that every Write waits, a Data handler's too.
type LoopOptions struct {
	// Count is how many loops there are, each with a thread and a ring of its
	// own. Zero is one per P, but no more than there are cores. They start with
	// the first connection and end with the Backend.
	Count int
	// WriteLimit is how many bytes of a connection may wait to be sent because its
	// peer does not read. Beyond it a Blocking handler's Write waits, as a
	// goroutine's does; a Data handler's fails with a Retryable error, and from
	// half of it on nothing more is received. Zero is 1 MiB.
	WriteLimit int
	// Drain is how long handlers may go on after the context of Serve has ended,
	// and what is written after a Close. Zero is 5 seconds; negative is not at all.
	Drain time.Duration
	// HandlerLimit is how long a handler may hold its loop before Events.Held is
	// called and Stats counts it. Zero is 100 ms; negative watches nothing.
	HandlerLimit time.Duration
	// ZeroCopy makes writes of at least so many bytes leave without a copy
	// (MSG_ZEROCOPY's trade: worth it from some 10 KiB on a real network card).
	// Such a Write returns when the card has sent the bytes. It turns itself off
	// for connections on which the kernel copies anyway: loopback, and unix
	// sockets. Zero, the default, never.
	ZeroCopy int
	// NAPI lets a loop that waits poll the network card for up to this long
	// (io_uring_register(2), IORING_REGISTER_NAPI). Zero, the default, never.
	NAPI time.Duration
}

func (o LoopOptions) check() error {
	switch {
	case o.Count < 0:
		return fmt.Errorf("Loops.Count is %d: give a positive number, or zero for one per P", o.Count)
	case o.WriteLimit < 0:
		return fmt.Errorf("Loops.WriteLimit is %d: give a positive number of bytes, or zero for %d", o.WriteLimit, defaultWriteLimit)
	case o.ZeroCopy < 0:
		return fmt.Errorf("Loops.ZeroCopy is %d: give a positive number of bytes, or zero to always copy", o.ZeroCopy)
	case o.NAPI < 0:
		return fmt.Errorf("Loops.NAPI is %v: give a positive duration, or zero to leave it off", o.NAPI)
	}
	return nil
}

const (
	defaultWriteLimit   = 1 << 20
	defaultDrain        = 5 * time.Second
	defaultHandlerLimit = 100 * time.Millisecond
)

// withDefaults returns o with its zero values replaced, and zero for never.
func (o LoopOptions) withDefaults() LoopOptions {
	if o.WriteLimit == 0 {
		o.WriteLimit = defaultWriteLimit
	}
	o.Drain = durationOr(o.Drain, defaultDrain)
	o.HandlerLimit = durationOr(o.HandlerLimit, defaultHandlerLimit)
	return o
}

func durationOr(d, ifZero time.Duration) time.Duration {
	switch {
	case d == 0:
		return ifZero
	case d < 0:
		return 0
	}
	return d
}

// Serve accepts connections from l, which is a listener of this Backend, and
// serves them with h, until ctx ends, or l is closed, or accepting fails for
// good (Options.Accept says when). Then it drains: the receiving half of every
// connection that it accepted is ended, so that handlers read what was received
// and then an end of file of reason ClosedLocally; they may still write, and
// return. After Options.Loops.Drain those that have not are closed. It returns
// when the last handler has.
//
// On io_uring the connections are spread over the loops in turns. On net every
// connection has a goroutine.
//
// The error is nil when ctx ended or l was closed, net.ErrClosed when the
// Backend was, and the *accept.Error that ended it otherwise. It does not close
// l. A deadline of l means nothing here.
func (b *Backend) Serve(ctx context.Context, l *accept.Listener, h Handler) error {
	if err := h.Check(); err != nil {
		return err
	}
	return b.impl.serve(ctx, l, h)
}

// DialServe is Dial, and serves the connection with h as Serve does: on a loop
// where there are loops. It returns as soon as it is connected. ctx bounds the
// connecting only; the handler ends with the connection. The FD may be used and
// closed by anyone.
func (b *Backend) DialServe(ctx context.Context, network, address string, h Handler) (*fd.FD, error) {
	if err := h.Check(); err != nil {
		return nil, err
	}
	f, _, err := b.dialWith(ctx, network, address, func() *fd.FD { return b.impl.served(h) })
	if err != nil {
		return nil, err
	}
	b.impl.start(f)
	return f, nil
}

// Broadcast writes message to every FD of fds, which are of this Backend, each at
// most once in fds, as a Write to each would, but at once: with one submission
// per loop on io_uring, without a copy per connection, and none waits for
// another. errs[i] is the error of fds[i], as Write gives it; errs is nil when all
// took the message.
//
// It returns when every connection has taken the message or failed, or when ctx
// ends. Then a connection that has taken nothing of it gets nothing, and its
// error matches ctx's; one that has taken a part is closed, with reason ClosedLocally,
// since what it would send next would be torn: its error matches fd.ErrSlowConsumer and
// ctx's.
//
// message belongs to the library until it returns. In a Data handler on a loop it
// does not wait: it keeps one copy of message for all, returns at once with the
// errors that are known by then, and ctx has no say in what follows.
func (b *Backend) Broadcast(ctx context.Context, fds []*fd.FD, message []byte) (errs []error) {
	if len(message) == 0 || len(fds) == 0 {
		return nil
	}
	failed := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(fds))
		}
		errs[i] = err
	}
	begun := fds // nil where it failed to begin
	for i, f := range fds {
		if err := f.BeginWrite(len(message)); err != nil {
			if errs == nil {
				begun = slices.Clone(fds)
			}
			failed(i, err)
			begun[i] = nil
		}
	}
	b.impl.broadcast(ctx, begun, message, func(i, n int, err error) {
		if err = endWrite(ctx, fds[i], n, len(message), err); err != nil {
			failed(i, err)
		}
	})
	return errs
}

// endWrite is EndWrite, but for the end of ctx: that ends only an FD that has
// taken a part of the message.
func endWrite(ctx context.Context, f *fd.FD, n, size int, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		if n == 0 {
			return &fd.Error{Op: "write", Err: err}
		}
		err = fmt.Errorf("%w (%d of %d bytes): %w", fd.ErrSlowConsumer, n, size, err)
		f.AddReason(err)
	}
	return f.EndWrite(n, err)
}
