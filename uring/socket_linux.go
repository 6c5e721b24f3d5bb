package uring

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// Socket is fd.Socket on the parked ring.
//
// Each direction has a lock that a call holds from its first request to its
// last CQE: so one receive and one send are in flight, and who takes both locks
// after Close has marked the ops knows that the kernel holds nothing any more.
type Socket struct {
	engine *Engine
	ring   *parked
	dial   *fd.DialConfig

	// The data path uses the descriptor under a direction's lock.
	read, write direction
	behind      behind
	handle

	closing    heldLock // held throughout Close: the ring must outlive it
	connecting atomic.Bool
	family     int
}

// direction is one half of a socket.
type direction struct {
	lock     heldLock
	op       op
	deadline deadline
}

var _ fd.Socket = (*Socket)(nil)

// NewSocket returns a socket that Connect will make. It makes no system call.
func (e *Engine) NewSocket(config *fd.DialConfig) *Socket {
	return &Socket{engine: e, ring: e.ring(), dial: config, handle: handle{sysfd: noFD}}
}

// open gives s its OS socket, and its ops their slots. sysfd is closed when it
// fails.
func (s *Socket) open(sysfd int32, family int) error {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || s.closed.Load() {
		_ = sysClose(int(sysfd))
		return net.ErrClosed
	}
	if !s.ring.addOp(&s.read.op) {
		_ = sysClose(int(sysfd))
		return os.NewSyscallError("io_uring", syscall.ENFILE)
	}
	if !s.ring.addOp(&s.write.op) {
		s.ring.ops.remove(&s.read.op)
		_ = sysClose(int(sysfd))
		return os.NewSyscallError("io_uring", syscall.ENFILE)
	}
	e.sockets[s] = struct{}{}
	s.use.Lock()
	s.sysfd, s.family = sysfd, family
	s.use.Unlock()
	return nil
}

// Read receives straight into p, which the kernel owns until the CQE.
func (s *Socket) Read(p []byte) (int, error) {
	d := &s.read
	d.lock.Lock()
	defer d.lock.Unlock()
	o := &d.op
	if s.ring.crowd.isHere() {
		if n, err := s.receiveAlone(p); n > 0 || err != nil {
			return n, err
		}
	}
	o.buf = p
	o.sqe = sqe{opcode: opRecv, fd: s.sysfd, addr: address(p), len: length(p)}
	n, err := s.ring.run(o, true)
	o.buf = nil
	switch {
	case err != nil:
		return 0, s.failure("read", err)
	case n > 0:
		return int(n), nil
	}
	// An end of file after our own shutdown is ours.
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	return 0, s.ring.causeOf(io.EOF)
}

// receiveAlone receives what is there without the ring. The read lock is held.
func (s *Socket) receiveAlone(p []byte) (int, error) {
	if _, err := s.ring.isAlone(&s.read.op); err != nil {
		return 0, s.failure("read", err)
	}
	return int(max(recvNow(s.sysfd, p), 0)), nil // the ring tells of an end, or an error
}

// WaitRead polls.
func (s *Socket) WaitRead() error {
	d := &s.read
	d.lock.Lock()
	defer d.lock.Unlock()
	_, err := s.ring.poll(&d.op, s.sysfd, unix.POLLIN|unix.POLLRDHUP, true)
	switch {
	case err != nil:
		return s.failure("poll", err)
	case s.closed.Load():
		return net.ErrClosed
	}
	return nil
}

// Write sends p: first without waiting, which posts no CQE when all of it goes
// at once (the common case, and cheaper by far: nobody is woken for it); what is
// left, with a request that waits. The kernel retries short sends itself
// (MSG_WAITALL); what it leaves after an abort or on old kernels is sent by the
// loop.
func (s *Socket) Write(p []byte) (int, error) {
	s.write.lock.Lock()
	defer s.write.lock.Unlock()
	return s.writeLocked(p)
}

func (s *Socket) writeLocked(p []byte) (int, error) {
	o := &s.write.op
	wait := !s.ring.used.Has(FeatureSkipSuccess)
	sent, err := s.sendAlone(p)
	if err != nil {
		return sent, s.failure("write", err)
	}
	o.buf = p
	for sent < len(p) {
		rest := p[sent:]
		o.sqe = sqe{
			opcode: opSend, fd: s.sysfd, addr: address(rest), len: length(rest),
			opFlags: s.ring.used.sendFlags(),
		}
		n, err := s.ring.send(o, int(o.sqe.len), wait)
		if err == errWouldWait {
			wait = true
			continue
		}
		if err != nil {
			o.buf = nil
			return sent, s.failure("write", err)
		}
		sent += int(n)
	}
	o.buf = nil
	return sent, nil
}

// aloneLimit is how large a send may be that keeps its P for as long as it takes.
const aloneLimit = 16 << 10

// sendAlone sends what it can of p without waiting and without the ring, where
// the ring has nothing to batch it with: then send(2) is the cheaper system
// call. The write lock is held.
func (s *Socket) sendAlone(p []byte) (int, error) {
	if len(p) > aloneLimit {
		return 0, nil
	}
	alone, err := s.ring.isAlone(&s.write.op)
	if !alone || err != nil {
		return 0, err
	}
	n, errno := sysSend(s.sysfd, p, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	switch errno {
	case 0:
		return n, nil
	case syscall.EAGAIN, syscall.EINTR:
		return 0, nil
	}
	return 0, errno
}

// errWouldWait says that a send that must not wait sent nothing.
var errWouldWait = errors.New("the send would wait")

// send runs a send or sendmsg request of size bytes: as it is, or quietly and
// without waiting.
func (p *parked) send(o *op, size int, wait bool) (int32, error) {
	if wait {
		return p.run(o, false)
	}
	o.sqe.flags |= sqeSkipSuccess
	o.sqe.opFlags |= unix.MSG_DONTWAIT
	o.quietResult = int32(size)
	if err := p.submit(o); err != nil {
		return 0, err
	}
	p.wait(o, false)
	switch {
	case o.res > 0:
		return o.res, nil
	case o.res == 0, o.res == -int32(syscall.EAGAIN), o.res == -int32(syscall.EINTR), o.res == -int32(syscall.ECANCELED):
		return 0, errWouldWait
	}
	return 0, p.causeOf(syscall.Errno(-o.res))
}

// abortAll marks s closed and ends its calls in flight: mark, shut down,
// cancel. It does not wait. The lock closing is held.
func (s *Socket) abortAll() {
	if s.closed.Swap(true) {
		return
	}
	// A kernel of before 6.1 answers a shutdown while it connects by connecting
	// again, and the cancel request may come too early for that.
	if !s.resets.Load() && !s.duplicated.Load() && !s.connecting.Load() {
		s.use.RLock()
		if s.sysfd != noFD {
			_ = sysShutdown(int(s.sysfd), unix.SHUT_RDWR) // ENOTCONN after a reset
		}
		s.use.RUnlock()
	}
	s.read.deadline.stop()
	s.write.deadline.stop()
	s.ring.abort(&s.read.op, abortClosed, net.ErrClosed)
	s.ring.abort(&s.write.op, abortClosed, net.ErrClosed)
}

// Close ends the calls in flight, waits for their last CQEs, and only then
// closes the descriptor, through the ring.
func (s *Socket) Close() error {
	s.closing.Lock() // the engine's Close waits here for the one under way
	defer s.closing.Unlock()
	defer s.engine.forget(s)
	s.abortAll()
	s.read.lock.Lock()
	defer s.read.lock.Unlock()
	s.write.lock.Lock()
	defer s.write.lock.Unlock()
	s.use.Lock()
	sysfd := s.sysfd
	s.sysfd = noFD
	s.use.Unlock()
	if sysfd == noFD {
		return nil // never opened, or closed already
	}
	var err error
	if lingers(int(sysfd)) {
		err = os.NewSyscallError("close", sysClose(int(sysfd)))
	} else {
		err = s.ring.closeFD(&s.write.op, sysfd)
	}
	s.removeOps()
	return err
}

// removeOps gives the slots back. Nothing is in flight.
func (s *Socket) removeOps() {
	s.ring.ops.remove(&s.read.op)
	s.ring.ops.remove(&s.write.op)
	s.ring.freeIfLost()
}

// lingers reports whether closing waits (SO_LINGER). Through the ring it would
// be the flusher who waits, in place of its own work, and with its P.
func lingers(sysfd int) bool {
	l, err := sysGetLinger(sysfd)
	return err == nil && l.Onoff != 0 && l.Linger > 0
}

func (e *Engine) forget(s *Socket) {
	e.mu.Lock()
	delete(e.sockets, s)
	e.mu.Unlock()
}

// closeFD closes a descriptor through the ring, with an op that is idle, or
// directly when the ring is dead. Reference: close(2); after an error the
// descriptor is closed all the same.
func (p *parked) closeFD(o *op, sysfd int32) error {
	o.sqe = sqe{opcode: opClose, fd: sysfd}
	err := p.submit(o) // not run: close must not be repeated
	if err == nil {
		p.wait(o, false)
	}
	switch {
	case err != nil, o.res == -int32(syscall.ECANCELED): // the kernel never took it
		return os.NewSyscallError("close", sysClose(int(sysfd)))
	case o.res < 0 && o.res != -int32(syscall.EINTR): // an interrupted one has closed it
		return os.NewSyscallError("close", syscall.Errno(-o.res))
	}
	return nil
}

// failure is the error of a call: our own close decides first, since the
// shutdown in it shows as EPIPE or ECONNRESET.
func (s *Socket) failure(call string, err error) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return named(call, err)
}

// named wraps an errno as net does; other errors stay as they are.
func named(call string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(call, errno)
	}
	return err
}

// detach lets go of the descriptor of a connected socket, which the caller owns
// from then on.
func (s *Socket) detach() (int32, error) {
	s.closing.Lock()
	defer s.closing.Unlock()
	s.read.lock.Lock()
	defer s.read.lock.Unlock()
	s.write.lock.Lock()
	defer s.write.lock.Unlock()
	s.use.Lock()
	defer s.use.Unlock()
	if s.closed.Swap(true) {
		return noFD, net.ErrClosed
	}
	sysfd := s.sysfd
	s.sysfd = noFD
	s.removeOps()
	s.engine.forget(s)
	return sysfd, nil
}

// writeContext is Write, and ends when ctx does.
func (s *Socket) writeContext(ctx context.Context, p []byte) (int, error) {
	s.write.lock.Lock()
	defer s.write.lock.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	defer s.ring.abortOn(ctx, &s.write.op)()
	return s.writeLocked(p)
}
