package uring

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// Listener is accept.Acceptor. An Accept that finds no connection parks, as a Read does.
type Listener struct {
	endpoint
	addr net.Addr
	path accept.Path // to remove at Close
	// duplicated: others have the descriptor (File), and may make it block.
	duplicated atomic.Bool

	descriptor

	closing gate // held throughout Close: the engine's waits for it
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
	l := &Listener{endpoint: endpoint{engine: e, poller: e.poller(), kind: listening, remote: new(rawAddr)}}
	l.descriptor.open(int32(sysfd))
	l.read.state.Store(dirReady) // unknown: the first Accept looks
	l.inexact.Store(family == unix.AF_UNIX)
	if err := l.open(addr, family, v6Only, c); err != nil {
		l.path.Remove()
		_ = sysClose(sysfd)
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		l.path.Remove()
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
	l.path.Bound(addr)
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

// Accept waits for its turn, then for a connection. A connection that the kernel hands
// over is returned, even when ctx ended meanwhile.
func (l *Listener) Accept(ctx context.Context) (fd.Socket, error) {
	d := &l.read
	if err := d.gate.lockContext(ctx, l.engine); err != nil {
		return nil, err
	}
	defer d.gate.unlock()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		state := d.state.Load()
		switch {
		case state&dirAborted != 0:
			return nil, d.refusal(state)
		case state&dirOpen != 0:
			had := d.attempt(state)
			if l.duplicated.Load() { // whose holder may have made it block
				_ = sysSetNonblock(int(l.sysfd), true)
			}
			sysfd, errno := sysAccept(l.sysfd, l.remote)
			if errno == syscall.EAGAIN {
				continue
			}
			d.found(had)
			if errno != syscall.EINTR {
				return l.accepted(sysfd, errno)
			}
		default:
			if err := l.watch(l.sysfd, eventsRead); err != nil {
				return nil, err
			}
			stop := d.abortOn(ctx)
			err := d.park(l.engine, nil)
			stop()
			if err != nil {
				return nil, err
			}
			if d.done {
				d.done = false
				return l.accepted(d.res, syscall.Errno(max(-d.res, 0)))
			}
		}
	}
}

// accepted is what an Accept returns for the result of accept(2).
func (l *Listener) accepted(sysfd int32, errno syscall.Errno) (fd.Socket, error) {
	if errno != 0 {
		if l.closed.Load() {
			return nil, net.ErrClosed
		}
		return nil, os.NewSyscallError("accept", errno)
	}
	raceAcquire()
	s := l.engine.NewSocket(nil)
	s.addrs.remote = l.remote.get()
	s.addrs.listener = l.addr
	family := unix.AF_INET
	if _, ok := l.addr.(*net.UnixAddr); ok {
		family = unix.AF_UNIX
	}
	if err := s.open(sysfd, family); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the Accept that waits, and closes the socket. It does not shut it down: a
// duplicate (File) goes on listening.
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
	if err := l.closing.lock(l.engine); err != nil {
		return err
	}
	defer l.closing.unlock()
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	l.endAcceptors()
	l.abort()
	if err := l.lockBoth(); err != nil {
		return err
	}
	l.path.Remove()
	l.forget(true) // a duplicate may go on listening
	l.giveBack()
	l.unlockBoth() // who comes from here on is refused, and need not wait for users
	err := l.engine.closeDescriptor(&l.descriptor)
	l.engine.mu.Lock()
	delete(l.engine.listeners, l)
	l.engine.mu.Unlock()
	return err
}

// Addr returns the address it listens on.
func (l *Listener) Addr() net.Addr { return l.addr }

// SetDeadline ends accepts from t on.
func (l *Listener) SetDeadline(t time.Time) error { return l.read.setDeadline(l.engine, t) }

func (l *Listener) control(name string, f func(sysfd int) error) error {
	if l.closed.Load() {
		return net.ErrClosed
	}
	return l.use(name, f)
}

func (l *Listener) lend(name string, f func(fd uintptr)) error {
	if l.closed.Load() {
		return net.ErrClosed
	}
	return l.engine.lend(&l.descriptor, name, f)
}

// SyscallConn gives access to the descriptor, for Control only, as with net.
func (l *Listener) SyscallConn() (syscall.RawConn, error) {
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	return &rawConn{lend: l.lend}, nil
}

// File duplicates the descriptor.
func (l *Listener) File() (*os.File, error) {
	l.duplicated.Store(true)
	return duplicate(l.control, fileName(l.addr, nil))
}

// SetUnlinkOnClose says whether Close removes the path.
func (l *Listener) SetUnlinkOnClose(unlink bool) { l.path.SetUnlinkOnClose(unlink) }

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
