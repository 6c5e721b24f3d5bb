package uring

import (
	"context"
	"sync"

	"github.com/ringfd/ringfd/fd"
)

// behind are the writes that data handlers have broadcast to a goroutine's socket, and
// do not wait for. They happen in their order, on a goroutine that is there as long
// as there are any.
type behind struct {
	mu      sync.Mutex
	writes  []behindWrite
	size    int // in bytes, of those and of what is being written
	running bool
}

// behindWrite is the part that a socket has in a broadcast.
type behindWrite struct {
	whole *broadcast
	q     *request
}

// broadcast writes the message of b at once as far as the socket takes it, and on a
// goroutine what is left. A thousand goroutines for a thousand sockets would cost more
// than the sends.
func (s *Socket) broadcast(ctx context.Context, b *broadcast, q *request) {
	if !s.write.gate.tryLock() { // behind another Write
		go func() {
			q.n, q.err = s.writeContext(ctx, b.message)
			b.finished(nil)
		}()
		return
	}
	if q.n, q.err = s.sendNow(b.message); q.err != errNoRoom {
		s.write.gate.unlock()
		b.finished(nil)
		return
	}
	go func() {
		stop := s.write.abortOn(ctx)
		n, err := s.send(b.message[q.n:])
		q.n, q.err = q.n+n, err
		stop()
		s.write.gate.unlock()
		b.finished(nil)
	}()
}

// writeBehind writes the message of b after what was broadcast to s before.
func (s *Socket) writeBehind(b *broadcast, q *request) {
	h := &s.behind
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes = append(h.writes, behindWrite{b, q})
	h.size += len(b.message)
	if !h.running {
		h.running = true
		s.engine.behind.Go(s.catchUp)
	}
}

// catchUp writes until nothing is left.
func (s *Socket) catchUp() {
	h := &s.behind
	for {
		h.mu.Lock()
		writes := h.writes
		h.writes = nil
		h.running = len(writes) > 0
		h.mu.Unlock()
		if len(writes) == 0 {
			return
		}
		for _, w := range writes {
			w.q.n, w.q.err = s.writeContext(context.Background(), w.whole.message)
			h.mu.Lock()
			h.size -= len(w.whole.message)
			h.mu.Unlock()
			w.whole.finished(nil)
		}
	}
}

// refuseFull notes for those of fds that are goroutines' sockets with more than the limit
// to be written that they are left out.
func (b *broadcast) refuseFull(fds []*fd.FD, limit int) {
	for i, f := range fds {
		if f == nil {
			continue
		}
		s, ok := f.Socket().(*Socket)
		if !ok {
			continue
		}
		s.behind.mu.Lock()
		full := s.behind.size > limit
		s.behind.mu.Unlock()
		if full {
			b.asks[i].err = fd.ErrWriteLimit
		}
	}
}
