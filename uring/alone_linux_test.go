package uring

import (
	"bytes"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newAlone is a pair whose ring has had batches of a single request only.
func newAlone(t *testing.T) (e *Engine, s *Socket, peer int) {
	t.Helper()
	e = newEngine(t, Config{})
	s, peer = newPair(t, e)
	for range aloneAfter {
		writeAll(t, s, peer, []byte("x"))
	}
	return e, s, peer
}

// writeAll writes p and reads it at the other end.
func writeAll(t *testing.T, s *Socket, peer int, p []byte) {
	t.Helper()
	if n, err := s.Write(p); n != len(p) || err != nil {
		t.Fatalf("wrote %d bytes of %d: %v", n, len(p), err)
	}
	got := make([]byte, len(p)+1)
	if n, err := unix.Read(peer, got); err != nil || !bytes.Equal(got[:n], p) {
		t.Fatalf("%q arrived as %q, %v", p, got[:max(n, 0)], err)
	}
}

// A send that would be a batch of its own does not enter the ring, until
// another request waits to be in its batch.
func TestSendAlone(t *testing.T) {
	e, s, peer := newAlone(t)
	before := s.ring.count()
	for range 100 {
		writeAll(t, s, peer, []byte("hello"))
	}
	if n := s.ring.count() - before; n != 0 {
		t.Errorf("%d requests for sends that go alone", n)
	}
	release := hold(s.ring)
	before = s.ring.count()
	done := make(chan error, 1)
	go func() {
		_, err := s.Write([]byte("together"))
		done <- err
	}()
	until(t, "the send joins the batch", func() bool { return s.ring.count() == before+1 })
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s.ring.alone != 0 {
		t.Errorf("after a batch of two the ring is alone for %d batches", s.ring.alone)
	}
	if e.Stats().InFlight < 0 {
		t.Errorf("%+v", e.Stats())
	}
}

// What does not fit goes through the ring, in order.
func TestSendAloneFull(t *testing.T) {
	_, s, peer := newAlone(t)
	message := make([]byte, 64*aloneLimit) // more than a socket holds
	for i := range message {
		message[i] = byte(i / 7)
	}
	before := s.ring.count()
	done := make(chan error, 1)
	go func() {
		for rest := message; len(rest) > 0; rest = rest[aloneLimit:] {
			if _, err := s.Write(rest[:aloneLimit]); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	until(t, "a send waits in the ring", func() bool { return s.ring.count() > before })
	var got []byte
	buffer := make([]byte, 64<<10)
	for len(got) < len(message) {
		n, err := unix.Read(peer, buffer)
		if n <= 0 {
			t.Fatal(n, err)
		}
		got = append(got, buffer[:n]...)
	}
	if err := <-done; err != nil || !bytes.Equal(got, message) {
		t.Errorf("%d bytes of %d arrived, or others: %v", len(got), len(message), err)
	}
}

// A send alone meets the deadline, the end of the peer, and our own close as
// any other does.
func TestSendAloneRefused(t *testing.T) {
	_, s, peer := newAlone(t)
	if err := s.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("late")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %d, %v", n, err)
	}
	if err := s.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	writeAll(t, s, peer, []byte("in time"))
	if err := unix.Shutdown(peer, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("nobody reads")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("to a peer that has shut down: %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Write([]byte("closed")); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
}
