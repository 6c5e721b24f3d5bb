package ringfd

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/ringfd/ringfd/fd"
)

var errForeignFD = errors.New("the FD is of another Backend")

// broadcast gives every connection what it takes without waiting, and a goroutine
// to each that does not take all.
func (b *netBackend) broadcast(ctx context.Context, fds []*fd.FD, message []byte, done func(i, n int, err error)) {
	var slow []*slowWrite
	for i, f := range fds {
		if f == nil {
			continue
		}
		s := onNet(f)
		switch {
		case s == nil:
			done(i, 0, errForeignFD)
			continue
		case ctx.Err() != nil:
			done(i, 0, ctx.Err())
			continue
		}
		q := &slowWrite{i: i, s: s, ctx: ctx}
		if s.writing.TryLock() {
			var err error
			if q.n, err = s.writeNow(message); err != nil || q.n == len(message) {
				s.writing.Unlock()
				done(i, q.n, err)
				continue
			}
			q.begun, q.state = true, writes
		}
		q.rest = message[q.n:]
		slow = append(slow, q)
	}
	ended := make(chan *slowWrite, len(slow))
	left := 0
	for _, q := range slow {
		if !b.begin() {
			if q.begun {
				q.s.writing.Unlock()
			}
			q.s.mu.Lock()
			q.state = finished
			q.s.mu.Unlock()
			done(q.i, q.n, net.ErrClosed)
			continue
		}
		left++
		go func() {
			defer b.running.Done()
			q.run(ended)
		}()
	}
	for stop := ctx.Done(); left > 0; {
		select {
		case q := <-ended:
			left--
			done(q.i, q.n, q.err)
		case <-stop:
			stop = nil
			for _, q := range slow {
				if q.abort() {
					left--
					done(q.i, 0, ctx.Err())
				}
			}
		}
	}
}

func onNet(f *fd.FD) *netSocket {
	switch s := f.Socket().(type) {
	case *netSocket:
		return s
	case *servedSocket:
		return s.netSocket
	}
	return nil
}

// slowWrite is one connection's part in a Broadcast that has to wait for it.
type slowWrite struct {
	i     int // in the fds
	s     *netSocket
	ctx   context.Context
	begun bool // from the start: it holds s.writing
	rest  []byte
	n     int
	err   error
	state slowState // guarded by s.mu
}

type slowState uint8

const (
	waits    slowState = iota // for s.writing
	writes                    // and holds it
	finished                  // or never began
)

// run writes the rest, and says so; but not when the context ended before its
// turn came.
func (q *slowWrite) run(ended chan<- *slowWrite) {
	s := q.s
	if !q.begun {
		s.writing.Lock()
	}
	defer s.writing.Unlock()
	s.mu.Lock()
	if q.state == finished {
		s.mu.Unlock()
		return
	}
	q.state = writes
	s.mu.Unlock()

	n, err := s.conn.Write(q.rest)
	q.n += n
	if err != nil {
		q.err = s.ended(err, writeHalf)
	}
	s.mu.Lock()
	q.state = finished
	if s.abortingWrite {
		s.abortingWrite = false
		if q.err == os.ErrDeadlineExceeded {
			q.err = q.ctx.Err()
		}
		if !s.closed && !s.halves[writeHalf] {
			_ = s.conn.SetWriteDeadline(s.writeDeadline)
		}
	}
	s.mu.Unlock()
	ended <- q
}

// abort ends q, because the context has ended. It reports whether q had not begun.
func (q *slowWrite) abort() bool {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	switch q.state {
	case waits:
		q.state = finished
		return true
	case writes:
		q.s.abortingWrite = true
		if !q.s.closed {
			_ = q.s.conn.SetWriteDeadline(longAgo)
		}
	}
	return false
}
