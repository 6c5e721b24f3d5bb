package uring

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// serving is what the connections of one Serve have in common.
type serving struct {
	handler fd.Handler
	broken  error        // of Served: why there are no loops
	left    atomic.Int64 // connections that are not over, and one for accepting
	over    chan struct{}
}

// done takes one off what is left.
func (s *serving) done() {
	if s.left.Add(-1) == 0 && s.over != nil {
		close(s.over)
	}
}

// acceptor accepts for one Serve, on one loop.
type acceptor struct {
	serving  *serving
	listener *Listener
	loop     *loop
	failed   chan acceptFailure // read by Serve
	took     atomic.Bool        // a connection, since the last failure
	closed   chan struct{}      // the listener is being closed
	ended    chan struct{}      // the last completion was seen

	// Of the loop's thread.
	index           int // in loop.acceptors
	armed, stopping bool
	polled          bool // the kernel does not wait on this descriptor
	polling         bool // what is armed waits for readiness
	lost            bool // what was armed went with its ring
}

// acceptFailure is an accept that failed.
type acceptFailure struct {
	errno  syscall.Errno
	goesOn bool // the request is still armed
}

// Serve accepts connections from l and serves them with h on the loops, as
// Backend.Serve says.
func (e *Engine) Serve(ctx context.Context, l *Listener, h fd.Handler) (err error) {
	if away := e.Away(func() { err = e.serve(ctx, l, h) }); away != nil {
		return away
	}
	return err
}

func (e *Engine) serve(ctx context.Context, l *Listener, h fd.Handler) error {
	set, err := e.startLoops()
	if err != nil {
		return err
	}
	s := &serving{handler: h}
	s.left.Store(1)
	a := &acceptor{serving: s, listener: l, loop: set.pick()}
	if !e.wakers.outside(func() {
		s.over = make(chan struct{})
		a.failed, a.closed, a.ended = make(chan acceptFailure, 1+len(set.all)), make(chan struct{}), make(chan struct{})
	}) {
		return net.ErrClosed
	}
	if l.addAcceptor(a) {
		err = a.run(ctx, set.config.Accept.Retry())
		a.stop()
		l.removeAcceptor(a)
		set.drain(s)
	}
	if e.isClosed() {
		return net.ErrClosed
	}
	return err
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// run keeps accepting until it is over, and says why if that is an error.
func (a *acceptor) run(ctx context.Context, retry *accept.Retry) error {
	arm := request{kind: requestRun, run: func(l *loop) { l.armAccept(a) }}
	if !a.loop.post(&arm) {
		return net.ErrClosed
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.closed:
			return nil
		case failure := <-a.failed:
			if a.took.Swap(false) {
				retry.Succeeded()
			}
			err := os.NewSyscallError("accept", failure.errno)
			wait, err := retry.Failed(&accept.Error{Class: accept.Classify(err), Err: err})
			if err != nil {
				return err
			}
			if failure.goesOn {
				continue
			}
			if wait > 0 && !a.sleep(ctx, wait) {
				return nil
			}
			if !a.loop.post(&arm) {
				return net.ErrClosed
			}
		}
	}
}

// sleep waits for d, and reports whether nothing ended that.
func (a *acceptor) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-a.closed:
	}
	return false
}

// stop ends the request in flight, and waits for that.
func (a *acceptor) stop() {
	if a.loop.post(&request{kind: requestRun, run: func(l *loop) { l.stopAccept(a) }}) {
		<-a.ended
	}
}

// drain ends the receiving halves, then the connections, and waits for the
// handlers. When the engine is being closed, that ends them.
func (set *loops) drain(s *serving) {
	s.done() // accepting
	if set.engine.isClosed() {
		<-s.over
		return
	}
	set.forEach(s, func(f *fd.FD) { _ = f.CloseRead() })
	if set.config.Drain > 0 {
		t := time.NewTimer(set.config.Drain)
		defer t.Stop()
		select {
		case <-s.over:
			return
		case <-t.C:
		}
	}
	set.forEach(s, func(f *fd.FD) { _ = f.Close() })
	<-s.over
}

// forEach has every loop call do for its connections of s.
func (set *loops) forEach(s *serving, do func(f *fd.FD)) {
	for _, l := range set.all {
		l.post(&request{kind: requestRun, run: func(l *loop) {
			for i := 0; i < len(l.conns.slots); i++ { // do may change the table
				if c := l.conns.slots[i].c; c != nil && c.serving == s {
					do(c.f)
				}
			}
		}})
	}
}

func (a *acceptor) userData() uint64 { return kindAccept | uint64(a.index)<<32 }

// armAccept has the kernel accept.
func (l *loop) armAccept(a *acceptor) {
	if a.stopping {
		return
	}
	if a.index == 0 {
		l.acceptors = append(l.acceptors, a)
		a.index = len(l.acceptors)
		l.accepting++
	}
	a.armed, a.polling = true, a.polled
	request := sqe{opcode: opAccept, fd: a.listener.sysfd, opFlags: unix.SOCK_CLOEXEC, userData: a.userData()}
	switch {
	case a.polling:
		request.opcode, request.opFlags = opPollAdd, pollEvents(unix.POLLIN)
	case l.used.Has(FeatureMultishotAccept):
		request.ioprio = acceptMultishot
	}
	if !l.push(&request) {
		a.armed, a.lost = false, true // armed again with the next ring
	}
}

// stopAccept ends a's request. It is over when that has completed.
func (l *loop) stopAccept(a *acceptor) {
	if a.stopping {
		return // Serve ends, and its listener is closed as well
	}
	a.stopping = true
	if a.armed {
		l.cancel(a.userData())
		return
	}
	l.acceptEnded(a)
}

func (l *loop) acceptEnded(a *acceptor) {
	if a.index > 0 {
		l.acceptors[a.index-1] = nil
		l.accepting--
	}
	close(a.ended)
}

// accepted handles a completion of an accept.
func (l *loop) accepted(e cqe) {
	a := l.acceptors[uint32(e.userData>>32)&slotMask-1]
	polling := a.polling
	a.armed = e.flags&cqeMore != 0
	defer l.goOnAccepting(a, e, polling) // deferred: a handler that begins may end the goroutine
	if e.res >= 0 && !polling {
		l.take(a, e.res)
	}
}

// goOnAccepting does what is to be done after a completion.
func (l *loop) goOnAccepting(a *acceptor, e cqe, polling bool) {
	switch errno := syscall.Errno(-e.res); {
	case e.flags&cqeMore != 0:
	case a.stopping:
		l.acceptEnded(a)
	case polling && e.res >= 0:
		a.polled = false
		l.armAccept(a)
	case e.res >= 0, errno == syscall.ECANCELED, errno == syscall.EINTR:
		l.count.Rearms++
		l.armAccept(a)
	case errno == syscall.EAGAIN: // a duplicate was made non-blocking, and this with it
		a.polled = true
		l.armAccept(a)
	default:
		a.failed <- acceptFailure{errno: errno}
	}
}

// take gives an accepted connection to the loop whose turn it is.
func (l *loop) take(a *acceptor, sysfd int32) {
	l.count.Accepted++
	if !a.took.Load() {
		a.took.Store(true)
	}
	a.serving.left.Add(1)
	target := l.set.pick()
	if target == l {
		l.welcome(a, sysfd)
		return
	}
	if !target.post(&request{kind: requestRun, run: func(l *loop) { l.welcome(a, sysfd) }}) {
		_ = sysClose(int(sysfd))
		a.serving.done()
	}
}

// welcome makes an FD of an accepted connection and serves it. Its peer is asked
// for here, since a multishot accept does not say. One that was reset meanwhile is
// served all the same: its handler gets what was received, and then the reset.
func (l *loop) welcome(a *acceptor, sysfd int32) {
	remote := acceptedAddrOf(int(sysfd))
	if remote == nil {
		_ = sysClose(int(sysfd))
		if len(a.failed) == 0 { // so that there is always room for the acceptor's own
			a.failed <- acceptFailure{errno: syscall.ECONNABORTED, goesOn: true}
		}
		a.serving.done()
		return
	}
	raceAcquire()
	c := newConn(l, a.serving)
	c.descriptor.open(sysfd)
	c.addrs.remote, c.addrs.listener = remote, a.listener.addr
	c.f = fd.Accepted(c, l.set.config.Events)
	l.adopt(c)
}

// acceptedAddrOf asks the kernel for the peer of an accepted connection.
func acceptedAddrOf(sysfd int) net.Addr {
	if remote := remoteAddrOf(sysfd); remote != nil {
		return remote
	}
	var r rawAddr
	if errno := sysPeerOfReset(sysfd, &r); errno != 0 {
		return nil
	}
	return r.get()
}

// remoteAddrOf asks the kernel; nil when the peer has gone. Reference:
// getpeername(2).
func remoteAddrOf(sysfd int) net.Addr {
	r := rawAddr{len: unix.SizeofSockaddrAny}
	if errno := sysGetpeername(sysfd, &r); errno != 0 {
		return nil
	}
	return r.get()
}
