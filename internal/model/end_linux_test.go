package model

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"pgregory.net/rapid"
)

// Close closes one, at any phase, and again.
func (m *machine) Close(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return true })
	m.close(t, c, nil)
}

// CloseWithReason is Close with a reason of the application's own.
func (m *machine) CloseWithReason(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return true })
	m.close(t, c, errors.New(rapid.SampledFrom([]string{"banned", "full"}).Draw(t, "reason")))
}

// AddReason adds a reason.
func (m *machine) AddReason(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return true })
	reason := rapid.SampledFrom([]string{"one", "two"}).Draw(t, "reason")
	c.f.AddReason(errors.New(reason))
	c.f.AddReason(nil)
	if c.phase != closed {
		c.reasons = append(c.reasons, reason)
	}
}

// SetPeer names the peer.
func (m *machine) SetPeer(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.phase != closed })
	c.name = rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "name")
	c.f.SetPeer(c.name)
}

// SetLinger makes Close reset the connection.
func (m *machine) SetLinger(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.phase == connected && !c.broken })
	if err := c.f.Conn().SetLinger(0); err != nil {
		t.Fatalf("fd %d: SetLinger: %v", c.f.ID(), err)
	}
	c.resets = true
}

func (m *machine) close(t *rapid.T, c *conn, reason error) {
	t.Helper()
	first := c.phase != closed
	pending := c.reading != nil && c.writing != nil
	err := await(t, async(func() error {
		if reason != nil {
			return c.f.CloseWithReason(reason)
		}
		return c.f.Close()
	}), "the end of Close")
	if err != nil {
		t.Fatalf("fd %d: Close: %v", c.f.ID(), err)
	}
	c.released = true
	if !first {
		return
	}
	if reason != nil {
		c.reasons = append(c.reasons, reason.Error())
	}
	o := ourEnd(net.ErrClosed)
	c.end(o)
	// The Write that Close ended tells beside it.
	if c.writing != nil || pending {
		c.racy = true
	}
	m.wake(t, c)
	c.checkPeer(t)
}

// checkPeer reads, at the far end, all that an FD has written before it was
// closed, and its end.
func (c *conn) checkPeer(t *rapid.T) {
	t.Helper()
	if c.peer == nil || c.peerGone || c.broken {
		return
	}
	_ = c.peer.SetReadDeadline(time.Now().Add(patience))
	got, err := c.readPeer(c.onTheWay() + 1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("fd %d: its peer sees no end", c.f.ID())
	}
	all := got == c.onTheWay()
	unread := c.sent > c.read
	fits := c.onTheWay() <= window
	var ok bool
	switch {
	case c.resets && c.writeEnded: // the end of file may have been there first
		ok = (all || !fits) && (err == io.EOF || errors.Is(err, syscall.ECONNRESET))
	case c.resets:
		ok = (all || !fits) && errors.Is(err, syscall.ECONNRESET)
	case unread && (c.style == heldLoop || !fits): // data that nobody has read makes the kernel reset
		ok = (all || !fits) && (err == io.EOF || errors.Is(err, syscall.ECONNRESET))
	default:
		ok = all && err == io.EOF
	}
	if !ok {
		t.Fatalf("fd %d: its peer read %d of %d bytes, and then %v", c.f.ID(), got, c.onTheWay(), err)
	}
	_ = c.peer.Close()
	c.peer, c.peerGone = nil, true
}

// CloseRead ends the reading half.
func (m *machine) CloseRead(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return true })
	m.closeHalf(t, c, c.f.CloseRead, &c.readEnded)
}

// CloseWrite ends the writing half.
func (m *machine) CloseWrite(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool {
		return c.onTheWay() <= window && c.writing == nil || !c.fin
	})
	m.closeHalf(t, c, c.f.CloseWrite, &c.writeEnded)
	c.awaitEnd(t)
}

func (m *machine) closeHalf(t *rapid.T, c *conn, call func() error, ended *bool) {
	t.Helper()
	err := await(t, async(call), "the end of a half-close")
	if v, ok := c.unusable(); ok {
		c.check(t, "close", result{err: err}, v)
		return
	}
	if c.broken || c.fin && c.writeEnded { // there is nothing left to shut down
		c.check(t, "close", result{err: err}, fails(outcome{is: []error{syscall.ENOTCONN}}))
	} else if err != nil {
		t.Fatalf("fd %d: a half-close: %v", c.f.ID(), err)
	}
	*ended = true
}

// PeerWrite has the peer send.
func (m *machine) PeerWrite(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool {
		return c.phase == connected && c.peer != nil && !c.fin && !c.broken && c.sent-c.read < window &&
			!(c.readEnded && c.writeEnded) // Linux answers that with a reset
	})
	n := max(sizes.Draw(t, "size"), 1)
	if k, err := c.peer.Write(stream(c.sent, n)); k != n || err != nil {
		t.Fatalf("fd %d: its peer wrote %d, %v", c.f.ID(), k, err)
	}
	c.sent += uint64(n)
	if !c.readEnded {
		c.sure = c.sent
	}
}

// PeerRead has the peer read what is on the way: some, or all that a Write that
// waits has, too.
func (m *machine) PeerRead(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.peer != nil && !c.broken && (c.onTheWay() > 0 || c.writing != nil) })
	n := c.onTheWay()
	if c.writing != nil {
		n += uint64(c.writing.size)
	} else if n <= window {
		n = uint64(rapid.IntRange(1, int(n)).Draw(t, "size"))
	}
	_ = c.peer.SetReadDeadline(time.Now().Add(patience))
	if got, err := c.readPeer(n); got != n || err != nil {
		t.Fatalf("fd %d: its peer read %d of %d bytes, %v", c.f.ID(), got, n, err)
	}
	c.taken += n
}

// readPeer reads n bytes at the far end, and checks them.
func (c *conn) readPeer(n uint64) (got uint64, err error) {
	buf := make([]byte, min(n, 64<<10))
	for got < n {
		var k int
		k, err = c.peer.Read(buf[:min(uint64(len(buf)), n-got)])
		for i, b := range buf[:k] {
			if want := byte((c.taken + got + uint64(i)) % period); b != want {
				return got, errors.New("other bytes than were written")
			}
		}
		got += uint64(k)
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// PeerCloseWrite has the peer end its sending half.
func (m *machine) PeerCloseWrite(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool {
		return c.phase == connected && c.peer != nil && !c.fin && !c.broken && !(c.writeEnded && c.onTheWay() > window)
	})
	if err := c.peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.fin = true
	c.awaitEnd(t)
}

// PeerClose has the peer close. With data that it has not read, its kernel sends
// a reset.
func (m *machine) PeerClose(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.phase == connected && c.peer != nil })
	reset := c.onTheWay() > 0 || c.writing != nil
	m.peerEnds(t, c, reset)
}

// PeerReset has the peer send a reset.
func (m *machine) PeerReset(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.phase == connected && c.peer != nil })
	if err := c.peer.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	m.peerEnds(t, c, true)
}

func (m *machine) peerEnds(t *rapid.T, c *conn, reset bool) {
	t.Helper()
	if err := c.peer.Close(); err != nil {
		t.Fatal(err)
	}
	c.peer, c.peerGone = nil, true
	switch {
	case c.fin && c.writeEnded: // both have ended: there is nothing to reset
	case !reset:
		c.fin = true
	case c.fin:
		c.broken, c.pending = true, syscall.EPIPE
	default:
		c.broken, c.pending = true, syscall.ECONNRESET
	}
	c.awaitEnd(t)
}
