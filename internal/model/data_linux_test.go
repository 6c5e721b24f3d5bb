package model

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/ringfd/ringfd/fd"
)

var sizes = rapid.OneOf(rapid.IntRange(0, 40), rapid.SampledFrom([]int{1, 1000, 4096, 4097, 20000}))

// Read reads, and leaves the call waiting where the model says that it waits.
func (m *machine) Read(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.reading == nil })
	n := sizes.Draw(t, "room")
	netView := rapid.Bool().Draw(t, "by the net view")
	c.expect("try read %d", n)
	c.reading = &call{size: n, buf: make([]byte, n), done: make(chan result, 1)}
	go func(call *call) {
		var r result
		if netView {
			r.n, r.err = c.f.Conn().Read(call.buf)
			r.err = c.unview("read", r.err)
		} else {
			r.n, r.err = c.f.Read(call.buf)
		}
		call.done <- r
	}(c.reading)
	if c.predictRead(n).waits {
		rest(t, "fd.(*FD).Read", m.count(func(c *conn) bool { return c.reading != nil }))
		return
	}
	m.wakeReader(t, c)
}

// Write writes, by Write or by Writev, as much as does not wait.
func (m *machine) Write(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return c.writing == nil && c.onTheWay() <= window })
	n := sizes.Draw(t, "size")
	how := rapid.SampledFrom([]string{"Write", "Writev", "net view"}).Draw(t, "how")
	data := stream(c.written, n)
	v := c.predictWrite(n)
	c.expect("try write %d", n)
	r := await(t, async(func() (r result) {
		switch how {
		case "Write":
			r.n, r.err = c.f.Write(data)
		case "Writev":
			var n int64
			n, r.err = c.f.Writev(pieces(data))
			r.n = int(n)
		default:
			r.n, r.err = c.f.Conn().Write(data)
			r.err = c.unview("write", r.err)
		}
		return r
	}), "the end of Write")
	if r.err != nil && r.n != 0 {
		t.Fatalf("fd %d: Write took %d bytes, and then %v", c.f.ID(), r.n, r.err)
	}
	if r.err == nil {
		c.written += uint64(r.n)
		c.expect("written %d of %d", r.n, c.written)
	}
	c.check(t, "write", r, v)
	if r.n > 0 && c.peerGone && !c.broken { // answered by a reset, which comes after the end of file
		c.broken, c.pending = true, syscall.EPIPE
		c.awaitEnd(t)
	}
}

// pieces cuts data up, with empty ones between.
func pieces(data []byte) (list [][]byte) {
	for i, cut := 0, 1; i < len(data); i, cut = i+cut, 2*cut+1 {
		list = append(list, data[i:min(i+cut, len(data))], nil)
	}
	return list
}

// Fill leaves a Write waiting.
func (m *machine) Fill(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool {
		return c.writing == nil && c.onTheWay() <= window && c.predictWrite(1).succeeds && !c.peerGone
	})
	c.expect("try write %d", fillSize)
	c.writing = &call{size: fillSize, done: make(chan result, 1)}
	data := stream(c.written, fillSize)
	go func(call *call) {
		n, err := c.f.Write(data)
		call.done <- result{n, err}
	}(c.writing)
	rest(t, "fd.(*FD).Write", m.count(func(c *conn) bool { return c.writing != nil }))
}

// onTheWay is how much the peer has not read.
func (c *conn) onTheWay() uint64 { return c.written - c.taken }

// wake ends the calls that the model says do not wait any more.
func (m *machine) wake(t *rapid.T, c *conn) {
	t.Helper()
	reads := c.reading != nil && !c.predictRead(c.reading.size).waits
	writes := c.writing != nil && !c.predictFill().waits
	if reads && writes {
		c.racy = true
		m.wakeBoth(t, c)
		return
	}
	if writes {
		m.wakeWriter(t, c)
	}
	if reads {
		m.wakeReader(t, c)
	}
	if c.reading != nil && !c.predictRead(c.reading.size).waits { // the writer's end was its end
		m.wakeReader(t, c)
	}
	if c.connecting != nil && c.phase == closed {
		err := await(t, c.connecting.done, "the end of Connect")
		c.connecting.cancel()
		c.connecting = nil
		c.check(t, "connect", result{err: err}, fails(c.sticky()))
	}
}

// wakeBoth ends two calls that the same event ends. After a reset the kernel tells
// it to one of them, and an end of file or a broken pipe to the other.
func (m *machine) wakeBoth(t *rapid.T, c *conn) {
	t.Helper()
	reset := c.phase == connected && c.pending != 0
	if !reset {
		m.wakeWriter(t, c)
		m.wakeReader(t, c)
		return
	}
	w := await(t, c.writing.done, "the end of Write")
	r := await(t, c.reading.done, "the end of Read")
	c.writing, c.reading = nil, nil
	c.wrote(w)
	var read, write *fd.Error
	if !errors.As(r.err, &read) || !errors.As(w.err, &write) {
		t.Fatalf("fd %d: after a reset Read = %v, Write = %v", c.f.ID(), r.err, w.err)
	}
	reason, cause := c.f.Reason()
	for _, e := range []*fd.Error{read, write} {
		known := e.Reason == fd.Lost || e.Reason == fd.ClosedByPeer || e.Reason == untold
		if !known || !fd.PeerClosed(e) {
			t.Fatalf("fd %d: a call ended with %q: %v", c.f.ID(), e.Reason, e)
		}
	}
	if c.reason == fd.None {
		c.reason = reason
		for _, e := range []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE} {
			if errors.Is(cause, e) {
				c.cause = append(c.cause, e)
			}
		}
	}
	if reason != fd.Lost && reason != fd.ClosedByPeer {
		t.Fatalf("fd %d: Reason = %q", c.f.ID(), reason)
	}
	// A Read that finds the end before the FD is closed tells it, whatever the
	// reason has become.
	c.optional = fmt.Sprintf("read 0 of %d", c.read)
	c.told()
	c.phase = closed
	c.expectClose()
}

// wakeReader awaits the Read that does not wait any more.
func (m *machine) wakeReader(t *rapid.T, c *conn) {
	t.Helper()
	call := c.reading
	r := await(t, call.done, "the end of Read")
	v := c.predictRead(call.size)
	c.reading = nil
	if r.n > 0 {
		if want := stream(c.read, r.n); !bytes.Equal(call.buf[:r.n], want) {
			t.Fatalf("fd %d: Read gave other bytes than were sent at %d", c.f.ID(), c.read)
		}
		c.read += uint64(r.n)
		c.expect("read %d of %d", r.n, c.read)
	}
	c.check(t, "read", r, v)
	c.sure = max(c.sure, c.read)
}

// predictFill says what the Write that waits does.
func (c *conn) predictFill() verdict {
	if v, ok := c.unusable(); ok {
		return v
	}
	v := c.predictWrite(c.writing.size)
	if c.pending == syscall.ECONNRESET && c.onRing {
		// The kernel's own retry, after a part, is told of the reset and drops it.
		broken := c.lost(syscall.EPIPE, c.told)
		if c.writeEnded {
			broken = ourEnd(syscall.EPIPE)
		}
		v = v.or(broken)
	}
	if v.succeeds {
		v.waits = c.taken < c.written+uint64(c.writing.size)
	}
	return v
}

// wakeWriter awaits the Write that does not wait any more.
func (m *machine) wakeWriter(t *rapid.T, c *conn) {
	t.Helper()
	v := c.predictFill()
	w := await(t, c.writing.done, "the end of Write")
	c.writing = nil
	c.wrote(w)
	c.check(t, "write", w, v)
}

// wrote counts what a Write took.
func (c *conn) wrote(w result) {
	c.written += uint64(w.n)
	if w.n > 0 {
		c.expect("written %d of %d", w.n, c.written)
	}
}

// untold is the reason of an error in a form that does not say it.
const untold fd.Reason = 255

// unview takes the form away that the net view gives to errors, having checked it.
func (c *conn) unview(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		return &fd.Error{Op: op, Reason: untold, Err: io.EOF}
	}
	opErr, ok := err.(*net.OpError)
	if !ok || opErr.Op != op {
		return err
	}
	if e, ok := opErr.Err.(*fd.Error); ok {
		return e
	}
	switch opErr.Err {
	case os.ErrDeadlineExceeded:
		return &fd.Error{Op: op, Err: opErr.Err}
	case net.ErrClosed: // the net view does not say what ended it
		reason, cause := c.f.Reason()
		return &fd.Error{Op: op, Reason: reason, Err: errors.Join(net.ErrClosed, cause.(*fd.Error).Err)}
	}
	return err
}

func async[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

// SetDeadline sets deadlines that have passed, or that never will in a test, or
// none.
func (m *machine) SetDeadline(t *rapid.T) {
	c := m.pick(t, func(c *conn) bool { return true })
	at := rapid.SampledFrom([]time.Time{time.Unix(1, 0), time.Now().Add(time.Hour), {}}).Draw(t, "when")
	passed := !at.IsZero() && at.Before(time.Now())
	var err error
	read, write := true, true
	switch rapid.SampledFrom([]string{"read", "write", "both"}).Draw(t, "half") {
	case "read":
		err, write = c.f.SetReadDeadline(at), false
	case "write":
		err, read = c.f.SetWriteDeadline(at), false
	default:
		err = c.f.SetDeadline(at)
	}
	if c.phase == closed {
		c.check(t, "set", result{err: err}, fails(c.sticky()))
		return
	}
	if err != nil {
		t.Fatalf("fd %d: setting a deadline: %v", c.f.ID(), err)
	}
	if read {
		c.readExpired = passed
	}
	if write {
		c.writeExpired = passed
	}
}
