package uring

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newEngine makes an engine that lives as long as the test.
func newEngine(t testing.TB, c Config) *Engine {
	t.Helper()
	needRing(t)
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		until(t, "every request completes", func() bool { return e.Stats().InFlight == 0 })
		_ = e.Close() // the test may have
	})
	return e
}

// newPair makes a connection between a Socket of e and a blocking descriptor,
// which live as long as the test.
func newPair(t testing.TB, e *Engine) (s *Socket, peer int) {
	t.Helper()
	fds, err := newSocketPair()
	if err != nil {
		t.Fatal(err)
	}
	s = e.NewSocket(nil)
	if err := s.open(int32(fds[0]), unix.AF_UNIX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close() // the test may have
		_ = unix.Close(fds[1])
	})
	return s, fds[1]
}

// newSocketOn is newPair on the ring p.
func newSocketOn(t testing.TB, e *Engine, p *parked) *Socket {
	t.Helper()
	for range e.rings {
		if s, _ := newPair(t, e); s.ring == p {
			return s
		}
	}
	t.Fatal("no socket is given the ring")
	return nil
}

// until waits for what nothing tells of.
func until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !happened(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("this did not happen: ", what)
		}
	}
}

// count returns how many requests were published.
func (p *parked) count() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.submitted
}

// hold keeps the requests that come in the queue until release: the test is the
// flusher of their batch.
func hold(p *parked) (release func()) {
	p.lockWithRoom()
	defer p.mu.Unlock()
	p.push(nothing)
	return p.flush
}

// nothing is a request that ends at once: there is nothing to cancel.
var nothing = &sqe{opcode: opAsyncCancel, addr: kindMask, userData: kindCancel}

// queuedRequests returns the requests that the kernel has not taken.
func queuedRequests(p *parked) (requests []sqe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for request := range p.ring.queued {
		requests = append(requests, *request)
	}
	return requests
}
