package uring

import (
	"context"
	"sync"

	"github.com/ringfd/ringfd/fd"
)

// behind are the writes that data handlers have broadcast to a parked socket, and
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

// writeBehind writes the message of b after what was broadcast to s before.
func (s *Socket) writeBehind(b *broadcast, q *request) {
	h := &s.behind
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes = append(h.writes, behindWrite{b, q})
	h.size += len(b.message)
	if !h.running {
		h.running = true
		go s.catchUp()
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

// refuseFull notes for those of fds that are parked sockets with more than the limit
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
			b.asks[i].err = errBacklog
		}
	}
}
