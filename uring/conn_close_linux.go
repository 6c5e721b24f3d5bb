package uring

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Close ends the calls in flight, sends what was written, and closes the
// descriptor. In a data handler, and after a blocking one, it does not wait.
func (c *conn) Close() error {
	if c.loop == nil {
		c.closed.Store(true)
		return nil
	}
	if c.dialing != nil && c.abandon() {
		return nil
	}
	r := c.loop.anywhere()
	switch {
	case r == nil:
		q := c.engine().newRequest()
		q.kind = requestClose
		c.ask(q, nil)
		err := q.err
		c.engine().putRequest(q)
		if err == net.ErrClosed { // the loop has ended, and all its connections
			return nil
		}
		return err
	case r.canWait():
		q := r.co.ask(requestClose)
		c.ask(q, r.co)
		return q.err
	}
	if r.loop == c.loop && !c.hasMail() {
		c.loop.startClose(&request{kind: requestClose, c: c})
	} else {
		c.loop.post(&request{kind: requestClose, c: c})
	}
	return nil
}

// abandon closes a connection that never came to its loop, and reports whether it
// was one.
func (c *conn) abandon() bool {
	c.starting.Lock()
	started := c.started
	wasClosed := c.closed.Swap(true)
	c.starting.Unlock()
	if started || wasClosed {
		return false
	}
	_ = c.dialing.Close() // ends Connect
	c.release()
	c.serving.done()
	return true
}

// release closes the descriptor directly.
func (c *conn) release() {
	sysfd, used := c.descriptor.close(func() { _ = sysClose(int(c.sysfd)) })
	if sysfd != noFD && !used {
		_ = sysClose(int(sysfd))
	}
}

// startClose begins to close q's connection. q ends when it is closed.
func (l *loop) startClose(q *request) {
	c := q.c
	if c.phase == phaseGone {
		l.finish(q)
		return
	}
	q.next, c.closers = c.closers, q
	switch c.phase {
	case phaseNew: // adopt is on its way here, and will see it
		c.closed.Store(true)
		return
	case phaseOpen:
		l.beginClose(c)
	}
	l.touch(c)
}

// beginClose marks c, and ends the calls in flight.
func (l *loop) beginClose(c *conn) {
	c.phase = phaseFlushing
	c.closed.Store(true)
	// Whoever set the option, and however: a listener's is inherited, and the application
	// may have had the descriptor.
	c.linger, _ = sysGetLinger(int(c.sysfd))
	l.failReads(c, net.ErrClosed)
	l.failWrites(c, func(*request) error { return net.ErrClosed })
	c.receive.unread, c.receive.consumed = nil, 0
	c.deadlines[timerWrite].at.Store(0)
}

// closeOn goes on with closing c, as far as it gets without waiting.
func (l *loop) closeOn(c *conn) {
	if c.phase == phaseFlushing && !l.stillFlushes(c) {
		l.endRequests(c)
	}
	if c.phase == phaseEnding && c.receive.inFlight == 0 && c.send.inFlight == 0 {
		l.sendFailed(c, net.ErrClosed) // what nobody will take
		l.closeDescriptor(c)
	}
}

// stillFlushes reports that what was written goes on leaving. Who closes waits for
// the first attempt only.
func (l *loop) stillFlushes(c *conn) bool {
	s := &c.send
	switch {
	case s.first == nil, s.err != nil, c.resets():
		return false
	case s.inFlight == sendCopying, s.inFlight == sendZeroCopy:
		return true
	case l.stopping && s.inFlight != sendNotified:
		return false
	}
	d := &c.deadlines[timerClose]
	if d.at.Load() == 0 {
		at := later(l.set.config.Drain)
		d.at.Store(at)
		l.timers.arm(c, timerClose, at)
		l.releaseClosers(c, nil)
	}
	return !d.expired()
}

// endRequests ends what the kernel has of c: mark, shut down, cancel.
func (l *loop) endRequests(c *conn) {
	c.phase = phaseEnding
	if c.send.inFlight == sendNotified {
		sysDisconnect(int(c.sysfd)) // or the kernel would keep the memory until the peer has read
	}
	if !c.resets() && !c.duplicated.Load() {
		// Or a request in flight would keep the connection, and data that was left unread
		// would make a reset of its end.
		_ = sysShutdown(int(c.sysfd), unix.SHUT_RDWR) // ENOTCONN after a reset
	}
	l.cancelReceive(c)
}

// closeDescriptor closes it through the ring. A descriptor that lingers would make
// the loop wait: it is closed on a goroutine; and one that the application uses, by the
// last of its users, which nobody waits for but the end of the loop.
func (l *loop) closeDescriptor(c *conn) {
	c.phase = phaseReleasing
	l.timers.disarm(c)
	elsewhere := func() {
		q := &request{kind: requestRun, c: c, n: int(errnoResult(sysClose(int(c.sysfd))))}
		q.run = func(l *loop) { l.descriptorClosed(c, int32(q.n)) }
		l.post(q)
	}
	sysfd, used := c.descriptor.close(elsewhere)
	switch {
	case used:
		l.releaseClosers(c, nil)
		return
	case c.lingers():
		go elsewhere()
		return
	}
	if c.closesByRing = l.push(&sqe{opcode: opClose, fd: sysfd, userData: c.userData(kindCloseFD)}); !c.closesByRing {
		l.descriptorClosed(c, errnoResult(sysClose(int(sysfd))))
	}
}

// lingers reports that closing waits, and resets that it resets the connection, which is
// not shut down first then: the peer would read an end of file (SO_LINGER).
func (c *conn) lingers() bool { return c.linger != nil && c.linger.Onoff != 0 && c.linger.Linger > 0 }
func (c *conn) resets() bool  { return c.linger != nil && c.linger.Onoff != 0 && c.linger.Linger == 0 }

func errnoResult(err error) int32 {
	if errno, ok := err.(syscall.Errno); ok {
		return -int32(errno)
	}
	return 0
}

// descriptorClosed is the end of c.
func (l *loop) descriptorClosed(c *conn, res int32) {
	var err error
	if res < 0 && res != -int32(syscall.EINTR) { // an interrupted one has closed it
		err = os.NewSyscallError("close", syscall.Errno(-res))
	}
	c.phase = phaseGone
	l.conns.remove(c)
	l.releaseClosers(c, err)
	c.doneIfOver()
}

// releaseClosers lets those go on who wait for Close.
func (l *loop) releaseClosers(c *conn, err error) {
	for c.closers != nil {
		q := c.closers
		c.closers, q.next = q.next, nil
		q.err = err
		l.finish(q)
	}
}

// CloseWrite is shutdown(2) with SHUT_WR, after what was written has been sent,
// which it does not wait for. A Write that waits ends.
func (c *conn) CloseWrite() error {
	q := &request{kind: requestRun, c: c}
	r := c.loop.anywhere()
	if r != nil && r.loop == c.loop && !c.hasMail() {
		return c.loop.closeWrite(c)
	}
	q.run = func(l *loop) {
		q.err = l.closeWrite(c)
		l.finish(q)
	}
	switch {
	case r == nil:
		w := &c.engine().wakers
		q.done = w.get()
		c.ask(q, nil)
		w.put(q.done)
	case r.canWait():
		q.co = r.co
		c.ask(q, r.co)
	default:
		c.loop.post(q)
	}
	return q.err
}

// closeWrite ends the sending half of c once the queue is empty.
func (l *loop) closeWrite(c *conn) error {
	s := &c.send
	if c.closed.Load() {
		return net.ErrClosed
	}
	s.halfClose = true
	l.failWrites(c, func(q *request) error {
		if q.kind == requestCopy {
			return nil // written, as far as who wrote it knows
		}
		return os.NewSyscallError("write", syscall.EPIPE)
	})
	if s.first == nil {
		s.halfClosed = true
		return c.handle.CloseWrite()
	}
	l.touch(c)
	return nil
}

// halfCloseOn ends the sending half when all has been sent.
func (l *loop) halfCloseOn(c *conn) {
	s := &c.send
	if s.halfClose && !s.halfClosed && s.first == nil {
		s.halfClosed = true
		_ = c.handle.CloseWrite() // it was closed meanwhile, or the peer has reset it
	}
}

// settleConn does what is to be done for c at the end of a turn.
func (l *loop) settleConn(c *conn) {
	if c.phase == phaseNew || c.phase == phaseGone {
		return
	}
	if c.isData() {
		l.deliverKept(c)
		l.endData(c)
	}
	l.flush(c)
	l.halfCloseOn(c)
	if c.phase == phaseOpen {
		l.armReceive(c)
	} else {
		l.closeOn(c)
	}
}

// endData tells the data handler of the end, once, and closes the connection
// after.
func (l *loop) endData(c *conn) {
	err := c.receive.err
	if c.receive.keeps() {
		err = nil // that comes first
	}
	if c.phase != phaseOpen {
		err = net.ErrClosed
	} else if err == nil && c.overdue() {
		err = os.ErrDeadlineExceeded
		if c.send.first != nil && c.send.inFlight == 0 && c.deadlines[timerWrite].expired() {
			l.sendFailed(c, err) // it would wait for the peer until Drain has passed
		}
	} else if err == nil && c.send.err != nil {
		err = c.send.err
	}
	if err == nil || c.ended || !c.opened {
		return
	}
	c.ended = true
	end := c.f.ReceiveEnded(err)
	if c.serving.handler.End != nil {
		l.callHandler(c, callEnd, nil, end)
	}
	_ = c.f.Close()
}
