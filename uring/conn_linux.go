package uring

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// conn is fd.Socket on a loop. But for what is atomic or in the handle, it belongs
// to the thread of its loop; calls from elsewhere go through the loop's mail.
type conn struct {
	handle
	loop     *loop
	f        *fd.FD
	serving  *serving
	dialing  *Socket    // what connects it; nil for one that was accepted
	starting sync.Mutex // guards started
	started  bool       // it was given to its loop

	slot, gen uint32 // as its requests carry them

	phase     phase
	isTouched bool // in loop.touched
	isNext    bool // in loop.again
	handling  bool // its blocking handler has not returned
	idle      bool // its data handler has got nothing for IdleTimeout
	opened    bool // its data handler has been called, with Open
	ended     bool // and with End
	isUnix    bool
	// closesByRing: the ring was asked to close the descriptor.
	closesByRing bool

	receivedAt int64 // by the clock: when its data handler last got something

	receive receiving
	send    sending

	closers *request     // calls of Close that wait
	linger  *unix.Linger // SO_LINGER, from when it begins to close
	// calls waits for a deadline, or not: one for each kind of timer.
	deadlines [timerKinds]deadlineOfCalls
	// remote is how many bytes data handlers of other loops have written that are
	// not sent yet.
	remote atomic.Int64
}

var (
	_ fd.Socket    = (*conn)(nil)
	_ fd.Offloader = (*conn)(nil)
)

// engine is c's, which may not be on a loop yet.
func (c *conn) engine() *Engine {
	if c.dialing != nil {
		return c.dialing.engine
	}
	return c.loop.set.engine
}

// phase is how far a connection has got; it only grows.
type phase uint8

const (
	phaseNew       phase = iota // not on its loop yet
	phaseOpen                   // served
	phaseFlushing               // closed by us; what was written still leaves
	phaseEnding                 // its requests are being ended
	phaseReleasing              // the descriptor is being closed
	phaseGone
)

// connTable maps slots to connections.
type connTable struct {
	slots []connSlot
	free  []uint32
	live  int
}

// connSlot keeps the generation of a slot that is free, so that it goes on
// growing.
type connSlot struct {
	c   *conn
	gen uint32
}

// add gives c a slot; false when all are taken.
func (t *connTable) add(c *conn) bool {
	if n := len(t.free); n > 0 {
		c.slot, t.free = t.free[n-1], t.free[:n-1]
	} else if len(t.slots) <= slotMask {
		c.slot = uint32(len(t.slots))
		t.slots = append(t.slots, connSlot{})
	} else {
		return false
	}
	s := &t.slots[c.slot]
	s.c = c
	c.gen = s.gen
	t.live++
	return true
}

// remove frees the slot of c, whose last completion has been seen.
func (t *connTable) remove(c *conn) {
	t.slots[c.slot] = connSlot{gen: c.gen + 1}
	t.free = append(t.free, c.slot)
	t.live--
}

// find returns the connection that a completion is for, or nil.
func (t *connTable) find(data uint64) *conn {
	slot := uint32(data>>32) & slotMask
	if int(slot) >= len(t.slots) || t.slots[slot].gen != uint32(data) {
		return nil
	}
	return t.slots[slot].c
}

// userData is that of a request of c.
func (c *conn) userData(kind uint64) uint64 { return kind | uint64(c.slot)<<32 | uint64(c.gen) }

// isData reports that a data handler serves c.
func (c *conn) isData() bool { return c.serving.handler.Data != nil }

// anywhere returns who runs if the caller is on the thread of any loop, or nil.
func (l *loop) anywhere() *runner {
	if r := l.here(); r != nil {
		return r
	}
	for _, other := range l.set.all {
		if r := other.here(); r != nil {
			return r
		}
	}
	return l.set.nested()
}

// adopt makes l serve c, which is connected.
func (l *loop) adopt(c *conn) {
	if l.dead != nil && c.f != nil {
		_ = c.f.ReceiveEnded(l.dead) // which closes it
	}
	if c.closed.Load() || l.stopping || l.dead != nil || !l.conns.add(c) {
		l.refuse(c)
		return
	}
	c.phase = phaseOpen
	_, c.isUnix = c.RemoteAddr().(*net.UnixAddr)
	l.touch(c)
	h := &c.serving.handler
	if h.Blocking != nil {
		l.spawn(c)
		return
	}
	c.opened = true
	c.receivedAt = clock()
	c.deadlines[timerRead].waiting.Store(true) // for data, always
	l.deadlineSet(c, timerRead)                // of one that was set before
	l.watchIdle(c)
	if h.Open != nil {
		l.callHandler(c, callOpen, nil, nil)
	}
}

// refuse closes a connection that no loop will serve.
func (l *loop) refuse(c *conn) {
	c.phase = phaseGone
	c.release()
	if c.f != nil {
		_ = c.f.Close()
	}
	for r := c.closers; r != nil; {
		next := r.next
		l.finish(r)
		r = next
	}
	c.closers = nil
	c.serving.done()
}

// dataCall is one of the functions of a data handler.
type dataCall uint8

const (
	callOpen dataCall = iota
	callData
	callEnd
)

// callHandler calls a function of c's data handler, and survives it.
func (l *loop) callHandler(c *conn, call dataCall, data []byte, err error) {
	l.self.c = c
	l.self.fdID.Store(c.f.ID())
	l.enterHandler(&l.self)
	returned := false
	defer func() {
		if !returned {
			c.panicked(recover()) // nil: it ends its goroutine, and main goes on
		}
		l.self.c = nil
		l.leaveHandler()
	}()
	switch h := &c.serving.handler; call {
	case callOpen:
		h.Open(c.f)
	case callData:
		raceAcquire()
		c.receivedAt = l.turnStart.Load()
		c.f.Received(len(data))
		h.Data(c.f, data)
	case callEnd:
		h.End(c.f, err)
	}
	returned = true
}

// handled is called when the blocking handler of c has returned. It closes the
// connection, and what was written is still sent.
func (l *loop) handled(c *conn) {
	c.handling = false
	l.unreturned--
	if c.phase != phaseGone {
		_ = c.f.Close() // which does not wait: nobody is there to
	}
	c.doneIfOver()
}

// doneIfOver tells the Serve of c when the last has happened to it.
func (c *conn) doneIfOver() {
	if c.phase == phaseGone && !c.handling {
		c.serving.done()
	}
}

// Connect has a goroutine's socket connect, and takes it over.
func (c *conn) Connect(ctx context.Context, addr net.Addr) error {
	if c.loop == nil {
		return c.serving.broken
	}
	s := c.dialing
	if err := s.Connect(ctx, addr); err != nil {
		return err
	}
	sysfd, err := s.detach()
	if err != nil {
		return err
	}
	if !c.descriptor.open(sysfd) { // it was closed meanwhile
		_ = sysClose(int(sysfd))
		return net.ErrClosed
	}
	c.addrs.mu.Lock()
	c.addrs.local, c.addrs.remote = s.addrs.local, s.addrs.remote
	c.addrs.mu.Unlock()
	return nil
}

// SyscallConn gives access to the descriptor, for Control only: what waits for
// readiness would wait beside the loop.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	return &rawConn{lend: c.lend}, nil
}

func (c *conn) lend(name string, f func(fd uintptr)) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	return c.loop.set.engine.lend(&c.descriptor, name, f)
}

// SetReadDeadline aborts the waits of Read from t on.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadline(timerRead, t) }

// SetWriteDeadline aborts the waits of Write from t on.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(timerWrite, t) }
