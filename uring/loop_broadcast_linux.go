package uring

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ringfd/ringfd/fd"
)

// broadcast is one message to many connections.
type broadcast struct {
	message []byte
	asks    []request // one per FD, with what came of it
	perLoop []loopAsks
	left    atomic.Int32
	leaves  bool       // nobody waits: the message is in own, and the last to end recycles
	co      *coroutine // who waits, or
	done    waker      // one who is no coroutine

	own []byte
}

// loopAsks are those of the connections of one loop.
type loopAsks struct {
	loop *loop
	asks []*request
}

var broadcasts = sync.Pool{New: func() any { return new(broadcast) }}

// mostOwn is how large a copied message may be whose memory is kept.
const mostOwn = 64 << 10

func newBroadcast(message []byte, n int) *broadcast {
	b := broadcasts.Get().(*broadcast)
	b.message = message
	b.asks = slices.Grow(b.asks, n)[:n]
	b.left.Store(1) // so that it does not end while it begins
	return b
}

// recycle is called when nothing refers to b any more.
func (b *broadcast) recycle() {
	clear(b.asks)
	for i := range b.perLoop {
		b.perLoop[i].loop, b.perLoop[i].asks = nil, b.perLoop[i].asks[:0]
	}
	b.message, b.asks, b.perLoop, b.leaves, b.co, b.done = nil, b.asks[:0], b.perLoop[:0], false, nil, nil
	if cap(b.own) > mostOwn {
		b.own = nil
	}
	broadcasts.Put(b)
}

var errForeign = errors.New("it is of another backend, or not connected by this one")

// Broadcast writes message to the FDs that are not nil, each as by Write, and calls
// done for each, before it returns.
func (e *Engine) Broadcast(ctx context.Context, fds []*fd.FD, message []byte, done func(i, n int, err error)) {
	raceRelease()
	b := newBroadcast(message, len(fds))
	r := e.runner()
	if r != nil && !r.canWait() {
		b.leave(r, fds, done)
		return
	}
	recyclable := b.run(ctx, e, r, fds)
	for i, f := range fds {
		if f != nil {
			done(i, b.asks[i].n, b.asks[i].err)
		}
	}
	if recyclable {
		b.recycle()
	}
}

// run writes to all and waits for them. It reports whether nothing of b is on its way
// to a loop any more.
func (b *broadcast) run(ctx context.Context, e *Engine, r *runner, fds []*fd.FD) (recyclable bool) {
	if err := ctx.Err(); err != nil {
		for i := range b.asks {
			b.asks[i].err = err
		}
		return true
	}
	if r != nil {
		b.co = r.co
	} else {
		b.done = e.wakers.get()
		defer e.wakers.put(b.done)
	}
	b.begin(ctx, fds, requestWrite, func(*conn) error { return nil })
	for _, of := range b.perLoop {
		if !of.loop.post(&request{kind: requestRun, run: func(l *loop) { l.startAll(of.asks) }}) {
			for _, q := range of.asks {
				q.err = net.ErrClosed
				b.finished(of.loop)
			}
		}
	}
	// After the writes have been asked for, or it could come before them.
	stop := context.AfterFunc(ctx, func() {
		for _, of := range b.perLoop {
			of.loop.post(&request{kind: requestRun, run: func(l *loop) { b.cancel(l, of.asks, ctx.Err()) }})
		}
	})
	if b.left.Add(-1) > 0 {
		if b.co != nil {
			b.co.wait()
		} else {
			<-b.done
		}
	}
	return stop()
}

// begin sorts the connections by loop, but for those that admit has an error for,
// and starts the writes of those that are on none.
func (b *broadcast) begin(ctx context.Context, fds []*fd.FD, kind requestKind, admit func(*conn) error) {
	for i, f := range fds {
		q := &b.asks[i]
		if f == nil || q.err != nil {
			continue
		}
		switch s := f.Socket().(type) {
		case *conn:
			if q.err = admit(s); q.err != nil {
				continue
			}
			*q = request{kind: kind, c: s, buf: b.message, left: len(b.message), whole: b}
			b.left.Add(1)
			b.addTo(s.loop, q)
		case *Socket:
			b.left.Add(1)
			if b.leaves {
				q.whole = b
				s.writeBehind(b, q)
				continue
			}
			s.broadcast(ctx, b, q)
		default:
			q.err = errForeign
		}
	}
}

func (b *broadcast) addTo(l *loop, q *request) {
	i := slices.IndexFunc(b.perLoop, func(of loopAsks) bool { return of.loop == l })
	if i < 0 {
		i = len(b.perLoop)
		b.perLoop = slices.Grow(b.perLoop, 1)[:i+1] // with the memory of what was there
		b.perLoop[i].loop = l
	}
	b.perLoop[i].asks = append(b.perLoop[i].asks, q)
}

// leave begins the writes for a data handler, with a copy of the message, and waits
// for none.
func (b *broadcast) leave(r *runner, fds []*fd.FD, done func(i, n int, err error)) {
	b.leaves = true
	b.own = append(b.own[:0], b.message...)
	b.message = b.own
	b.refuseFull(fds, r.loop.set.config.WriteLimit)
	b.begin(context.Background(), fds, requestCopy, func(c *conn) error {
		if c.loop == r.loop && c.send.queued > c.loop.set.config.WriteLimit {
			return fd.ErrWriteLimit
		}
		return c.admit(len(b.message))
	})
	for _, of := range b.perLoop {
		if of.loop == r.loop && of.loop.mailLeft == nil && !of.loop.mail.there.Load() { // what is there was written before
			of.loop.startAll(of.asks)
		} else {
			of.loop.post(&request{kind: requestRun, run: func(l *loop) { l.startAll(of.asks) }})
		}
	}
	for i, f := range fds {
		if f == nil {
			continue
		}
		q := &b.asks[i]
		// What has begun elsewhere is not known yet.
		if known := q.whole == nil || q.c != nil && q.c.loop == r.loop; known && q.err != nil {
			done(i, q.n, q.err)
		} else {
			done(i, len(b.message), nil)
		}
	}
	b.finished(nil)
}

// startAll starts the writes of l.
func (l *loop) startAll(asks []*request) {
	for _, q := range asks {
		l.startWrite(q)
	}
}

// cancel ends what is left of the writes of l, when the context has ended.
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
	case b.leaves:
		b.recycle()
	case b.co != nil:
		b.co.goOn()
	default:
		b.done <- struct{}{}
		if l != nil {
			l.wokeOthers = true
		}
	}
}
