package uring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// Listener is accept.Acceptor on the parked ring.
type Listener struct {
	engine *Engine
	ring   *parked  // another when it is lost
	moving heldLock // guards ring, for those who do not hold the turn
	addr   net.Addr
	unlink string // the path to remove at Close

	turn     chan struct{} // a token: one accept is in flight
	op       op
	deadline deadline

	sysfd int32
	use   sync.RWMutex // held for writing to close sysfd

	closing heldLock // held throughout Close: the ring must outlive it
	closed  atomic.Bool

	acceptorsMu sync.Mutex
	acceptors   map[*acceptor]struct{} // of Serve; guarded by acceptorsMu
}

var _ accept.Acceptor = (*Listener)(nil)

// Listen makes a listening socket. network tells a dual-stack wildcard ("tcp")
// from one of a single family.
func (e *Engine) Listen(addr net.Addr, network string, c accept.Config) (*Listener, error) {
	if tcp, ok := addr.(*net.TCPAddr); ok && network == "tcp" && (tcp.IP == nil || tcp.IP.IsUnspecified()) {
		l, err := e.listen(addr, unix.AF_INET6, c.V6Only, c)
		if !errors.Is(err, syscall.EAFNOSUPPORT) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return l, err
		}
		return e.listen(&net.TCPAddr{Port: tcp.Port}, unix.AF_INET, false, c) // a host without IPv6
	}
	family, err := familyOf(addr)
	if err != nil {
		return nil, err
	}
	if network == "tcp6" {
		family = unix.AF_INET6
	}
	return e.listen(addr, family, true, c)
}

func (e *Engine) listen(addr net.Addr, family int, v6Only bool, c accept.Config) (*Listener, error) {
	sysfd, err := newSocket(family)
	if err != nil {
		return nil, err
	}
	l := &Listener{engine: e, ring: e.ring(), sysfd: int32(sysfd), turn: make(chan struct{}, 1)}
	if err := l.open(addr, family, v6Only, c); err != nil {
		_ = sysClose(sysfd)
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !l.ring.addOp(&l.op) {
		_ = sysClose(sysfd)
		return nil, net.ErrClosed
	}
	e.listeners[l] = struct{}{}
	return l, nil
}

// open does what makes a socket listen. Options set here are inherited by the
// accepted sockets, which saves system calls per connection (tcp(7)).
func (l *Listener) open(addr net.Addr, family int, v6Only bool, c accept.Config) error {
	sysfd := int(l.sysfd)
	if family == unix.AF_INET6 {
		value := 0
		if v6Only {
			value = 1
		}
		if err := setInt(sysfd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, value); err != nil {
			return err
		}
	}
	if family != unix.AF_UNIX {
		if err := l.inherit(c); err != nil {
			return err
		}
	}
	if c.ReusePort {
		if err := setInt(sysfd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
	}
	if c.Control != nil {
		if err := c.Control(networkName(addr, family), addr.String(), blockingRawConn(sysfd)); err != nil {
			return err
		}
	}
	var local rawAddr
	if err := local.set(addr, family); err != nil {
		return err
	}
	if err := bind(sysfd, &local); err != nil {
		return err
	}
	if a, ok := addr.(*net.UnixAddr); ok && a.Name != "" && a.Name[0] != '@' {
		l.unlink = a.Name
	}
	backlog := c.Backlog
	if backlog <= 0 {
		backlog = maxBacklog
	}
	if err := sysListen(sysfd, backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	l.addr = localAddrOf(sysfd)
	return nil
}

// maxBacklog is more than any system allows: the kernel takes its own limit,
// net.core.somaxconn (listen(2)).
const maxBacklog = 1<<31 - 1

func (l *Listener) inherit(c accept.Config) error {
	sysfd := int(l.sysfd)
	if err := setInt(sysfd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := setInt(sysfd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := setKeepAlive(sysfd, c.KeepAlive); err != nil {
		return err
	}
	return setUserTimeout(sysfd, c.UserTimeout)
}

// Accept waits for its turn, then for a connection. A connection that the
// kernel hands over is returned, even when ctx ended meanwhile.
func (l *Listener) Accept(ctx context.Context) (fd.Socket, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := l.accept(ctx)
		lost, ok := err.(*RingLostError)
		if !ok {
			return s, err
		}
		if err := l.move(lost); err != nil {
			return nil, err
		}
	}
}

// accept accepts on the ring that the listener has. The turn is held.
func (l *Listener) accept(ctx context.Context) (fd.Socket, error) {
	p, o := l.ring, &l.op
	o.remote = new(rawAddr)
	defer func() { o.remote = nil }()
	o.remote.len = unix.SizeofSockaddrAny
	defer p.abortOn(ctx, o)()
	o.sqe = sqe{
		opcode: opAccept, fd: l.sysfd, addr: o.remote.address(),
		off: uint64(uintptr(unsafe.Pointer(&o.remote.len))), opFlags: unix.SOCK_CLOEXEC,
	}
	sysfd, err := p.run(o, false)
	if err != nil {
		if l.closed.Load() {
			return nil, net.ErrClosed
		}
		return nil, named("accept", err)
	}
	return l.accepted(sysfd)
}

// move takes l to another ring when its own is lost: no connection waits for that.
// The turn is held. While there is none the error is one that passes.
func (l *Listener) move(lost *RingLostError) error {
	p := l.engine.ring()
	if p.lost.Load() {
		return fmt.Errorf("%w (%w)", lost, syscall.ENOBUFS)
	}
	l.moving.Lock()
	defer l.moving.Unlock()
	if l.closed.Load() {
		return net.ErrClosed
	}
	old := l.ring
	old.ops.remove(&l.op)
	l.ring = p
	l.deadline.move(p)
	old.freeIfLost()
	if !p.addOp(&l.op) {
		return os.NewSyscallError("io_uring", syscall.ENFILE)
	}
	return nil
}

func (l *Listener) accepted(sysfd int32) (fd.Socket, error) {
	s := l.engine.NewSocket(nil)
	s.addrs.remote = l.op.remote.get()
	s.addrs.listener = l.addr
	if err := s.open(sysfd, 0); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the accept in flight, waits for its last CQE, and closes the
// socket. It does not shut it down: a duplicate (File) goes on listening.
func (l *Listener) Close() error {
	r := l.engine.runner()
	if r == nil {
		return l.close()
	}
	// The loop that calls may be the one that accepts, and must go on.
	if l.closed.Load() {
		return net.ErrClosed
	}
	if !r.canWait() {
		go l.close()
		return nil
	}
	var err error
	r.c.Offload(func() { err = l.close() })
	return err
}

func (l *Listener) close() error {
	l.closing.Lock() // the engine's Close waits here for the one under way
	defer l.closing.Unlock()
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	l.endAcceptors()
	l.deadline.stop()
	l.moving.Lock()
	l.ring.abort(&l.op, abortClosed, net.ErrClosed)
	l.moving.Unlock()
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.unlink != "" {
		_ = unix.Unlink(l.unlink)
	}
	l.use.Lock()
	defer l.use.Unlock()
	err := l.ring.closeFD(&l.op, l.sysfd)
	l.ring.ops.remove(&l.op)
	l.ring.freeIfLost()
	l.engine.mu.Lock()
	delete(l.engine.listeners, l)
	l.engine.mu.Unlock()
	return err
}

// Addr returns the address it listens on.
func (l *Listener) Addr() net.Addr { return l.addr }

// SetDeadline ends accepts from t on.
func (l *Listener) SetDeadline(t time.Time) error {
	l.moving.Lock()
	defer l.moving.Unlock()
	return l.deadline.set(l.ring, &l.op, t)
}

func (l *Listener) control(name string, f func(sysfd int) error) error {
	l.use.RLock()
	defer l.use.RUnlock()
	if l.closed.Load() {
		return net.ErrClosed
	}
	return named(name, f(int(l.sysfd)))
}

// SyscallConn gives access to the descriptor, for Control only, as with net.
func (l *Listener) SyscallConn() (syscall.RawConn, error) {
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	return &rawConn{control: l.control}, nil
}

// File duplicates the descriptor. As with net, the path of a unix socket is
// then left alone by Close only if the application removes it itself.
func (l *Listener) File() (*os.File, error) {
	var dup int
	err := l.control("dup", func(sysfd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(sysfd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), fileName(l.addr, nil)), nil
}

// addAcceptor notes that a Serve accepts from l, unless l is closed.
func (l *Listener) addAcceptor(a *acceptor) bool {
	l.acceptorsMu.Lock()
	defer l.acceptorsMu.Unlock()
	if l.closed.Load() {
		return false
	}
	if l.acceptors == nil {
		l.acceptors = make(map[*acceptor]struct{})
	}
	l.acceptors[a] = struct{}{}
	return true
}

func (l *Listener) removeAcceptor(a *acceptor) {
	l.acceptorsMu.Lock()
	delete(l.acceptors, a)
	l.acceptorsMu.Unlock()
}

// endAcceptors ends the accepting of every Serve, and waits for that. l is marked
// as closed.
func (l *Listener) endAcceptors() {
	l.acceptorsMu.Lock()
	acceptors := l.acceptors
	l.acceptors = nil
	l.acceptorsMu.Unlock()
	for a := range acceptors {
		close(a.closed)
		a.stop()
	}
}
