package uring

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// Socket is fd.Socket for goroutines. A call that finds nothing, or no room, parks its
// goroutine until the poller says that this has changed; or until a deadline, a context
// or Close ends it, all of which act on the parked goroutine and need no system call.
type Socket struct {
	endpoint
	handle
	dial *fd.DialConfig

	behind  behind
	closing gate // held throughout Close: the engine's waits for it
	family  int
}

var _ fd.Socket = (*Socket)(nil)

// NewSocket returns a socket that Connect will make. It makes no system call.
func (e *Engine) NewSocket(config *fd.DialConfig) *Socket {
	s := &Socket{endpoint: endpoint{engine: e, poller: e.poller()}, dial: config, handle: handle{descriptor: descriptor{sysfd: noFD}}}
	s.read.state.Store(dirReady) // unknown: the first calls look
	s.write.state.Store(dirReady)
	return s
}

// open gives s its OS socket, which it closes when that fails.
func (s *Socket) open(sysfd int32, family int) error {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || s.closed.Load() {
		_ = sysClose(int(sysfd))
		return net.ErrClosed
	}
	e.sockets[s] = struct{}{}
	if family == unix.AF_UNIX && !e.used.Has(FeatureUnixNonempty) {
		s.inexact.Store(true)
	}
	s.family = family
	s.descriptor.open(sysfd)
	return nil
}

// Read receives straight into p: by its own recv(2) where something may be there, or
// by the poller, together with other parked readers, when something comes.
func (s *Socket) Read(p []byte) (int, error) {
	d := &s.read
	if err := d.gate.lock(s.engine); err != nil {
		return 0, err
	}
	defer d.gate.unlock()
	const tries = 3 // at an urgent mark: see dirUrgent
	left := tries
	for spun := false; ; {
		state := d.state.Load()
		switch {
		case state&dirAborted != 0:
			return 0, d.refusal(state)
		case state&dirOpen != 0:
			had := d.attempt(state)
			n, errno := receive(s.sysfd, p)
			if errno == syscall.EAGAIN {
				if state&dirUrgent != 0 && left > 0 {
					left--
					d.found(had)
				}
				continue
			}
			d.found(had)
			if errno != syscall.EINTR {
				return s.received(n, errno)
			}
		case s.engine.config.BusyPoll > 0 && !spun:
			spun = true
			if n, errno := s.spin(p); errno != syscall.EAGAIN {
				d.found(0)
				return s.received(n, errno)
			}
		default:
			left = tries
			if err := s.park(d, p, eventsRead); err != nil {
				return 0, named("read", err)
			}
			if d.done {
				d.done = false
				return s.received(int(max(d.res, 0)), syscall.Errno(max(-d.res, 0)))
			}
		}
	}
}

// receive is recv(2) without waiting. One that may copy much gives its P up.
func receive(sysfd int32, p []byte) (int, syscall.Errno) {
	if len(p) <= longCall {
		return sysRecv(sysfd, p, unix.MSG_DONTWAIT)
	}
	return sysRecvLong(sysfd, p, unix.MSG_DONTWAIT)
}

// received is what a Read returns for the result of a receive.
func (s *Socket) received(n int, errno syscall.Errno) (int, error) {
	switch {
	case n > 0 && errno == 0:
		s.read.last = n
		raceAcquire()
		return n, nil
	case errno == 0:
		return 0, io.EOF
	}
	return 0, os.NewSyscallError("read", errno)
}

// park waits for an event of d, which has none, or for a receive into buf.
func (s *Socket) park(d *direction, buf []byte, events uint32) error {
	if err := s.watch(s.sysfd, events); err != nil {
		return err
	}
	return d.park(s.engine, buf)
}

// yieldLimit is how long a yield may take before the spinner takes it that another
// goroutine ran, and parks: a P that has work must not spin.
const yieldLimit = 3 * time.Microsecond

// lookTime is less than a look takes. It bounds the looks where no time passes: in a
// testing/synctest bubble.
const lookTime = 50 * time.Nanosecond

// spin looks for data for as long as BusyPoll says: EAGAIN says that none came. One
// goroutine spins at a time. It yields between looks, and gives up when another
// goroutine has run meanwhile.
func (s *Socket) spin(p []byte) (n int, errno syscall.Errno) {
	e := s.engine
	if !e.spinning.CompareAndSwap(false, true) {
		return 0, syscall.EAGAIN
	}
	defer e.spinning.Store(false)
	start, looks := clock(), e.config.BusyPoll/lookTime
	for last := start; ; looks-- {
		if s.read.state.Load()&dirAborted != 0 {
			return 0, syscall.EAGAIN
		}
		if n, errno = sysRecv(s.sysfd, p, unix.MSG_DONTWAIT); errno != syscall.EAGAIN && errno != syscall.EINTR {
			e.spins.Add(1)
			return n, errno
		}
		runtime.Gosched()
		now := clock()
		if now-last > int64(yieldLimit) || now-start > int64(e.config.BusyPoll) || looks <= 0 {
			e.spinsLost.Add(1)
			return 0, syscall.EAGAIN
		}
		last = now
	}
}

// WaitRead waits as Read does, and receives nothing.
func (s *Socket) WaitRead() error {
	d := &s.read
	if err := d.gate.lock(s.engine); err != nil {
		return err
	}
	defer d.gate.unlock()
	for {
		state := d.state.Load()
		if state&dirAborted != 0 {
			return d.refusal(state)
		}
		if state&dirOpen != 0 {
			had := d.attempt(state)
			readable, err := sysPollIn(int(s.sysfd), 0)
			if readable || err != nil {
				d.found(had)
			}
			if readable {
				return nil
			}
			continue
		}
		if err := s.park(d, nil, eventsRead); err != nil {
			return named("poll", err)
		}
	}
}

// A call that moves more than this does not keep its P for as long as it takes: a send
// on loopback also does the receiver's work.
const longCall, longSend = 64 << 10, 16 << 10

// Write sends p by send(2), and waits for room where the socket does not take all.
func (s *Socket) Write(p []byte) (int, error) {
	if err := s.write.gate.lock(s.engine); err != nil {
		return 0, err
	}
	n, err := s.send(p)
	if cannotWait(err) { // which cannot wait; and a part of a message would tear the stream
		rest := append([]byte(nil), p[n:]...)
		s.engine.behind.Go(func() {
			defer s.write.gate.unlock()
			_, _ = s.send(rest) // the FD learns of an error at its next call
		})
		return len(p), nil
	}
	s.write.gate.unlock()
	return n, err
}

// send sends all of p, or returns why not and how much. The write gate is held.
func (s *Socket) send(p []byte) (sent int, err error) {
	for {
		n, err := s.sendNow(p[sent:])
		if sent += n; err != errNoRoom {
			return sent, err
		}
		if err := s.awaitRoom(); err != nil {
			return sent, err
		}
	}
}

// errNoRoom says that the socket takes no more for now.
var errNoRoom = errors.New("no room")

// sendNow sends as much of p as the socket takes without waiting. The write gate is held.
func (s *Socket) sendNow(p []byte) (sent int, err error) {
	raceRelease()
	for {
		if state := s.write.state.Load(); state&dirAborted != 0 {
			return sent, s.write.refusal(state)
		}
		rest := p[sent:min(len(p), sent+maxTransfer)]
		var n int
		var errno syscall.Errno
		if len(rest) <= longSend {
			n, errno = sysSend(s.sysfd, rest, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		} else {
			n, errno = sysSendLong(s.sysfd, rest, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		}
		if errno != 0 {
			if err := s.sendError(errno); err != nil {
				return sent, err
			}
		} else if sent += n; sent == len(p) {
			return sent, nil
		}
	}
}

// sendError is what the errno of a send means, nil to try it again.
func (s *Socket) sendError(errno syscall.Errno) error {
	switch {
	case errno == syscall.EINTR:
		return nil
	case errno == syscall.EAGAIN:
		return errNoRoom
	case s.closed.Load():
		return net.ErrClosed
	}
	return os.NewSyscallError("write", errno)
}

// awaitRoom waits until the socket takes more. It has just said that it does not: an
// event that came before is of the past, unless it comes again when it is asked for.
func (s *Socket) awaitRoom() error {
	d := &s.write
	if state := d.state.Load(); state&dirOpen != 0 {
		d.attempt(state)
		return nil // and the send is tried once more
	}
	if err := s.park(d, nil, eventsRoom); err != nil {
		return named("write", err)
	}
	d.attempt(d.state.Load())
	return nil
}

// writeContext is Write, and ends when ctx does.
func (s *Socket) writeContext(ctx context.Context, p []byte) (int, error) {
	if err := s.write.gate.lock(s.engine); err != nil {
		return 0, err
	}
	defer s.write.gate.unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	defer s.write.abortOn(ctx)()
	return s.send(p)
}

// SetReadDeadline aborts receives from t on.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.read.setDeadline(s.engine, t) }

// SetWriteDeadline aborts sends from t on.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.write.setDeadline(s.engine, t) }

// abortAll marks s closed and ends its calls. It does not wait.
func (s *Socket) abortAll() {
	if !s.closed.Swap(true) {
		s.abort()
	}
}

// Close ends the calls in flight, waits for them, and closes the descriptor. In a data
// handler, which cannot wait, it does the latter two behind the handler's back.
func (s *Socket) Close() error {
	if _, err := s.engine.coroutine(); err != nil {
		s.abortAll()
		s.engine.behind.Go(func() { _ = s.close() })
		return nil
	}
	return s.close()
}

func (s *Socket) close() error {
	if err := s.closing.lock(s.engine); err != nil {
		return err
	}
	defer s.closing.unlock()
	defer s.engine.dropSocket(s)
	s.abortAll()
	if err := s.lockBoth(); err != nil {
		return err
	}
	s.forget(s.duplicated.Load() || s.isUsed())
	s.giveBack()
	s.endWriting()
	s.unlockBoth() // who comes from here on is refused, and need not wait for users
	return s.engine.closeDescriptor(&s.descriptor)
}

// endWriting has the peer read an end of file, even when we leave data unread: close(2)
// alone would reset the connection then. Not where that is what the application wants
// (SO_LINGER with no time, however it was set), or where it has a duplicate.
func (s *Socket) endWriting() {
	if s.duplicated.Load() {
		return
	}
	_ = s.use("shutdown", func(sysfd int) error {
		if l, err := sysGetLinger(sysfd); err == nil && l.Onoff != 0 && l.Linger == 0 {
			return nil
		}
		return sysShutdown(sysfd, unix.SHUT_WR)
	})
}

func (e *Engine) dropSocket(s *Socket) {
	e.mu.Lock()
	delete(e.sockets, s)
	e.mu.Unlock()
}

// named wraps an errno as net does; other errors stay as they are.
func named(call string, err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(call, errno)
	}
	return err
}

// detach lets go of the descriptor of a connected socket, which the caller owns from
// then on. It waits in the kernel from here on, as loops want it.
func (s *Socket) detach() (int32, error) {
	if err := s.closing.lock(s.engine); err != nil {
		return noFD, err
	}
	defer s.closing.unlock()
	if err := s.lockBoth(); err != nil {
		return noFD, err
	}
	defer s.unlockBoth()
	if s.closed.Swap(true) {
		return noFD, net.ErrClosed
	}
	s.forget(true)
	sysfd, _ := s.descriptor.close(nil) // nobody else has s
	s.giveBack()
	s.engine.dropSocket(s)
	return sysfd, os.NewSyscallError("fcntl", sysSetNonblock(int(sysfd), false))
}
