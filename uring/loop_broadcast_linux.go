package uring

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"

	"github.com/ringfd/ringfd/fd"
)

// broadcast is one message to many connections.
type broadcast struct {
	message []byte
	asks    []request // one per FD, with what came of it
	left    atomic.Int32
	co      *coroutine // who waits, or
	done    chan struct{}
}

var errForeign = errors.New("it is of another backend, or not connected by this one")

// run writes to all and waits for them; but not in a data handler.
func (b *broadcast) run(ctx context.Context, e *Engine, fds []*fd.FD) {
	r := e.runner()
	if r != nil && !r.canWait() {
		b.leave(e, r, fds)
		return
	}
	if err := ctx.Err(); err != nil {
		for i := range b.asks {
			b.asks[i].err = err
		}
		return
	}
	b.done = make(chan struct{})
	if r != nil {
		b.co = r.co
	}
	b.left.Store(1) // so that it does not end while it begins
	perLoop := b.begin(ctx, fds, requestWrite, func(*conn) error { return nil })
	for l, asks := range perLoop {
		if !l.post(&request{kind: requestRun, run: func(l *loop) { l.startAll(asks) }}) {
			for _, q := range asks {
				q.err = net.ErrClosed
				b.finished(l)
			}
		}
	}
	// After the writes have been asked for, or it could come before them.
	stop := context.AfterFunc(ctx, func() {
		for l := range perLoop {
			l.post(&request{kind: requestRun, run: func(l *loop) { b.cancel(l, perLoop[l], ctx.Err()) }})
		}
	})
	defer stop()
	if b.left.Add(-1) == 0 {
		return
	}
	if b.co != nil {
		b.co.wait()
		return
	}
	<-b.done
}

// begin sorts the connections by loop, but for those that admit has an error for,
// and starts the writes of those that are on none.
func (b *broadcast) begin(ctx context.Context, fds []*fd.FD, kind requestKind, admit func(*conn) error) map[*loop][]*request {
	perLoop := make(map[*loop][]*request)
	for i, f := range fds {
		if f == nil {
			continue
		}
		q := &b.asks[i]
		switch s := f.Socket().(type) {
		case *conn:
			if q.err = admit(s); q.err != nil {
				continue
			}
			*q = request{kind: kind, c: s, buf: b.message, left: len(b.message), whole: b}
			perLoop[s.loop] = append(perLoop[s.loop], q)
			b.left.Add(1)
		case *Socket:
			b.left.Add(1)
			if b.done == nil { // a data handler, which does not wait
				s.writeBehind(b, q)
				continue
			}
			go func() {
				q.n, q.err = s.writeContext(ctx, b.message)
				b.finished(nil)
			}()
		default:
			q.err = errForeign
		}
	}
	return perLoop
}

// leave begins the writes for a data handler, with a copy of the message, and
// waits for none.
func (b *broadcast) leave(e *Engine, r *runner, fds []*fd.FD) {
	fds = slices.Clone(fds)
	b.refuseFull(fds, r.loop.set.config.WriteLimit)
	own := &broadcast{message: append([]byte(nil), b.message...), asks: make([]request, len(fds))}
	own.left.Store(1) // nobody waits for the last
	perLoop := own.begin(context.Background(), fds, requestCopy, func(c *conn) error {
		if c.loop == r.loop && c.send.queued > c.loop.set.config.WriteLimit {
			return errBacklog
		}
		return c.admit(len(b.message))
	})
	for l, asks := range perLoop {
		if l == r.loop && l.mailLeft == nil && !l.mail.there.Load() { // what is there was written before
			l.startAll(asks)
		} else {
			l.post(&request{kind: requestRun, run: func(l *loop) { l.startAll(asks) }})
		}
	}
	for i, f := range fds {
		if f == nil {
			continue
		}
		q := &own.asks[i]
		known := true
		switch s := f.Socket().(type) {
		case *conn:
			known = q.c == nil || s.loop == r.loop // it is not on its way to another loop
		case *Socket:
			known = false
		}
		b.asks[i].n = len(b.message)
		if known && q.err != nil {
			b.asks[i].n, b.asks[i].err = q.n, q.err
		}
	}
}

// startAll starts the writes of l.
func (l *loop) startAll(asks []*request) {
	for _, q := range asks {
		l.startWrite(q)
	}
}

// cancel ends what is left of the writes of l.
func (b *broadcast) cancel(l *loop, asks []*request, err error) {
	for _, q := range asks {
		l.failWrites(q.c, func(other *request) error {
			if other.whole == b {
				return err
			}
			return nil
		})
	}
}

// finished is called when one write has ended. l is the loop that ended it, or nil.
func (b *broadcast) finished(l *loop) {
	if b.left.Add(-1) > 0 {
		return
	}
	switch {
	case b.co != nil:
		b.co.goOn()
	case b.done != nil:
		close(b.done)
		if l != nil {
			l.wokeOthers = true
		}
	}
}
