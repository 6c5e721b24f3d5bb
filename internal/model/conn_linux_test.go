package model

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"pgregory.net/rapid"

	"github.com/ringfd/ringfd/fd"
)

// phase is that of an FD.
type phase int

const (
	fresh phase = iota
	connecting
	connected
	closed
)

// style is what an FD is served by.
type style int

const (
	parked   style = iota // a goroutine per call
	heldNet               // Serve or DialServe on net
	heldLoop              // the same on a loop of io_uring
)

// conn is an FD, its peer, and all that the model knows of them.
type conn struct {
	f     *fd.FD
	peer  *net.TCPConn // nil before there is one, and when it is closed
	style style
	phase phase
	// onRing: the backend is io_uring.
	onRing bool

	// Why the FD ended: the sticky reason, and what errors.Is finds in its cause.
	reason   fd.Reason
	cause    []error
	released bool // the application called Close
	reasons  []string
	name     string // of SetPeer
	point    string // the remote address, once it is connected

	read, written             uint64 // the counters
	readEnded, writeEnded     bool   // CloseRead, CloseWrite
	resets                    bool   // SetLinger(0)
	readExpired, writeExpired bool   // past deadlines

	wire
	reading, writing *call
	connecting       *connectCall
	handler          chan struct{} // ends the handler of a held one
	events           []string      // that the model expects next
	racy             bool          // in any order: two calls ended at once
	optional         string        // an event that may be among them
}

// wire is the TCP connection as our kernel sees it.
type wire struct {
	sent     uint64        // bytes that the peer sent us
	sure     uint64        // how many of them can be read for sure: not those after CloseRead
	taken    uint64        // bytes that the peer read of ours
	fin      bool          // the peer ended its sending half
	peerGone bool          // the peer is closed
	broken   bool          // a reset came
	pending  syscall.Errno // of the reset; the kernel tells it once
}

// call is a Read or Write that waits.
type call struct {
	size int
	buf  []byte
	done chan result
}

type result struct {
	n   int
	err error
}

// outcome is one answer of a call that the model allows.
type outcome struct {
	reason fd.Reason
	is     []error // errors.Is finds each of them
	ends   bool    // it closes the FD
	then   func()  // what the model learns from it
}

// verdict is all that a call may do: wait, or succeed with min to max bytes, or
// fail.
type verdict struct {
	waits    bool
	succeeds bool
	min, max int
	outcomes []outcome
}

func fails(o ...outcome) verdict       { return verdict{outcomes: o} }
func succeeds(min, max int) verdict    { return verdict{succeeds: true, min: min, max: max} }
func (v verdict) or(o outcome) verdict { v.outcomes = append(v.outcomes, o); return v }

// unusable is the verdict of a call that needs a connection, where there is none.
func (c *conn) unusable() (verdict, bool) {
	switch c.phase {
	case fresh, connecting:
		return fails(outcome{is: []error{syscall.ENOTCONN}}), true
	case closed:
		return fails(c.sticky()), true
	}
	return verdict{}, false
}

// sticky is what every call on a closed FD gets.
func (c *conn) sticky() outcome {
	is := c.cause
	if c.released {
		is = append([]error{net.ErrClosed}, is...)
	}
	return outcome{reason: c.reason, is: is}
}

func expired() outcome       { return outcome{is: []error{os.ErrDeadlineExceeded}} }
func ourEnd(e error) outcome { return outcome{reason: fd.ClosedLocally, is: []error{e}} }

func (c *conn) lost(errno syscall.Errno, then func()) outcome {
	return outcome{reason: fd.Lost, is: []error{errno}, ends: true, then: then}
}

func (c *conn) told() { c.pending = 0 }

// predictRead says what a Read with room for n bytes does now.
func (c *conn) predictRead(n int) verdict {
	if v, ok := c.unusable(); ok {
		return v
	}
	if n == 0 {
		return succeeds(0, 0)
	}
	if c.readExpired {
		return fails(expired())
	}
	if c.sure > c.read {
		return succeeds(1, min(n, int(c.sent-c.read)))
	}
	v := c.predictEnd()
	if c.sent > c.read { // after CloseRead, the kernel and we are free to give it or not
		v.succeeds, v.min, v.max, v.waits = true, 1, min(n, int(c.sent-c.read)), false
		v.outcomes = append(v.outcomes, ourEnd(io.EOF))
	}
	return v
}

// predictEnd says what a Read does that finds no data.
func (c *conn) predictEnd() verdict {
	eof := outcome{reason: fd.ClosedByPeer, is: []error{io.EOF}, then: func() {
		c.expect("read 0 of %d", c.read)
		if c.reason == fd.None {
			c.reason, c.cause = fd.ClosedByPeer, []error{io.EOF}
		}
	}}
	if c.readEnded {
		eof = ourEnd(io.EOF)
	}
	switch {
	case c.fin: // Linux says end of file from then on, a reset or not
		return fails(eof)
	case c.pending != 0:
		v := fails(c.lost(c.pending, c.told))
		if c.style == heldLoop && c.readEnded { // which has seen our own end before
			v = v.or(eof)
		}
		return v
	case c.broken, c.readEnded:
		return fails(eof)
	}
	return verdict{waits: true}
}

// predictWrite says what a Write of n bytes does now, where the peer's window has
// room for them.
func (c *conn) predictWrite(n int) verdict {
	if v, ok := c.unusable(); ok {
		return v
	}
	if n == 0 {
		return succeeds(0, 0)
	}
	if c.writeExpired {
		return fails(expired())
	}
	broken := outcome{reason: fd.ClosedLocally, is: []error{syscall.EPIPE}}
	if !c.writeEnded {
		broken = c.lost(syscall.EPIPE, nil)
	}
	switch {
	case c.pending == syscall.EPIPE: // told or not, it is the same
		broken.then = c.told
		return fails(broken)
	case c.pending != 0:
		v := fails(c.lost(c.pending, c.told))
		if c.style == heldLoop { // the loop's receive may have been told already
			v = v.or(broken)
		}
		return v
	case c.broken, c.writeEnded:
		return fails(broken)
	}
	return succeeds(n, n)
}

// check compares the result of a call with its verdict. It notes what follows.
func (c *conn) check(t *rapid.T, op string, r result, v verdict) {
	t.Helper()
	if r.err == nil {
		if !v.succeeds || r.n < v.min || r.n > v.max {
			t.Fatalf("fd %d: %s = %d, nil; want %v", c.f.ID(), op, r.n, v)
		}
		return
	}
	e, ok := errors.AsType[*fd.Error](r.err)
	if !ok || e.Op != op {
		t.Fatalf("fd %d: %s: %v (%T); want an *fd.Error of this op", c.f.ID(), op, r.err, r.err)
	}
	for _, o := range v.outcomes {
		if !c.matches(e, o) {
			continue
		}
		if o.then != nil {
			o.then()
		}
		if o.ends {
			c.end(o)
		}
		return
	}
	t.Fatalf("fd %d: %s = %d, %v (reason %q); want %v", c.f.ID(), op, r.n, r.err, e.Reason, v)
}

// matches reports whether e is what o describes. The first reason of an FD is the
// reason of all its ends.
func (c *conn) matches(e *fd.Error, o outcome) bool {
	reason := o.reason
	if o.ends && c.reason != fd.None {
		reason = c.reason
	}
	if e.Reason != reason && e.Reason != untold {
		return false
	}
	for _, target := range o.is {
		if !errors.Is(e, target) {
			return false
		}
	}
	for _, other := range []error{io.EOF, net.ErrClosed, os.ErrDeadlineExceeded} {
		if errors.Is(e, other) && !contains(o.is, other) {
			return false
		}
	}
	return true
}

func contains(list []error, e error) bool {
	for _, x := range list {
		if x == e {
			return true
		}
	}
	return false
}

// end notes that the FD was closed because of o.
func (c *conn) end(o outcome) {
	if c.reason == fd.None {
		c.reason, c.cause = o.reason, o.is
	}
	c.phase = closed
	c.expectClose()
}
