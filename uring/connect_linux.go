package uring

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// Connect makes the OS socket and connects it. When it fails, or ctx ends, the socket is
// closed: a SYN may be under way.
func (s *Socket) Connect(ctx context.Context, addr net.Addr) error {
	if err := s.write.gate.lock(s.engine); err != nil {
		return err
	}
	defer s.write.gate.unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	raceRelease()
	s.write.suspendDeadline(s.engine, true) // it is for Write; and ctx, for Connect
	defer s.write.suspendDeadline(s.engine, false)
	if err := fd.CheckConnect(s.dial.LocalAddr, addr); err != nil {
		return err
	}
	family, err := familyOf(addr)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := s.tryConnect(ctx, addr, family)
		if attempt == connectAttempts || !isTCP(addr) || portOf(s.dial.LocalAddr) != 0 || !s.atFaultOfPort(err) {
			return err
		}
		s.letGo()
	}
}

// connectAttempts is how often a connect is made whose port the kernel has picked badly;
// as net does.
const connectAttempts = 3

// tryConnect makes the OS socket and connects it.
func (s *Socket) tryConnect(ctx context.Context, addr net.Addr, family int) error {
	sysfd, err := newSocket(family)
	if err != nil {
		return err
	}
	configured := false
	defer func() { // deferred: the application's hook may panic, or end its goroutine
		if !configured {
			_ = sysClose(sysfd)
		}
	}()
	if err := s.configure(sysfd, family, addr); err != nil {
		return err
	}
	configured = true
	if err := s.open(int32(sysfd), family); err != nil {
		return err
	}
	if err := s.connect(ctx, addr); err != nil {
		if s.closed.Load() {
			return net.ErrClosed
		}
		return named("connect", err) // FD.Connect closes s
	}
	local, remote := localAddrOf(sysfd), remoteAddrOf(sysfd)
	if remote == nil { // the peer has reset it already
		remote = fd.CloneAddr(addr)
	}
	s.addrs.mu.Lock()
	s.addrs.local, s.addrs.remote = local, remote
	s.addrs.mu.Unlock()
	return nil
}

// atFaultOfPort reports that a connect with this result is to be made again, since the
// kernel has picked our port badly: where nobody listens on an ephemeral port, a socket
// that is given that port as its own connects to itself; or the port was in use.
func (s *Socket) atFaultOfPort(err error) bool {
	if err != nil {
		return errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	local, ok := s.LocalAddr().(*net.TCPAddr)
	remote, isTCP := s.RemoteAddr().(*net.TCPAddr)
	return ok && isTCP && local.Port == remote.Port && local.IP.Equal(remote.IP)
}

func isTCP(addr net.Addr) bool {
	_, ok := addr.(*net.TCPAddr)
	return ok
}

func portOf(addr net.Addr) int {
	if a, ok := addr.(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// letGo closes the descriptor of a connect that is to be made again. The write gate is
// held, and nobody reads yet.
func (s *Socket) letGo() {
	s.addrs.mu.Lock()
	s.addrs.local, s.addrs.remote = nil, nil
	s.addrs.mu.Unlock()
	sysfd, ok := s.takeBack()
	if !ok {
		return
	}
	s.forget(false)
	_ = sysClose(int(sysfd))
	for _, d := range []*direction{&s.read, &s.write} {
		d.state.And(^dirHungUp) // of that one
		d.state.Or(dirReady)
	}
}

// connect connects, and waits for the answer. Reference: connect(2), EINPROGRESS.
func (s *Socket) connect(ctx context.Context, addr net.Addr) error {
	defer s.write.abortOn(ctx)()
	var remote rawAddr
	if err := remote.set(addr, s.family); err != nil {
		return err
	}
	switch errno := sysConnect(int(s.sysfd), &remote); errno {
	case 0, syscall.EISCONN:
		return nil
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
		return s.awaitConnected()
	default:
		return errno
	}
}

// awaitConnected waits for room, which comes with the answer. It may come without
// one: then the connection has no peer yet.
func (s *Socket) awaitConnected() error {
	d := &s.write
	d.attempt(dirReady)
	for {
		if state := d.state.Load(); state&dirAborted != 0 {
			return d.refusal(state)
		}
		if err := s.park(d, nil, eventsRoom); err != nil {
			return err
		}
		if state := d.state.Load(); state&dirAborted != 0 {
			return d.refusal(state)
		}
		d.attempt(dirReady)
		failure, err := sysSocketError(int(s.sysfd))
		switch {
		case err != nil:
			return err
		case failure == 0 && remoteAddrOf(int(s.sysfd)) != nil, failure == syscall.EISCONN:
			d.found(0)
			return nil
		case failure != 0 && failure != syscall.EINPROGRESS && failure != syscall.EALREADY && failure != syscall.EINTR:
			return failure
		}
	}
}

func familyOf(addr net.Addr) (int, error) {
	switch a := addr.(type) {
	case *net.TCPAddr:
		if a.IP.To4() != nil || len(a.IP) == 0 {
			return unix.AF_INET, nil
		}
		return unix.AF_INET6, nil
	case *net.UnixAddr:
		return unix.AF_UNIX, nil
	}
	return 0, &net.AddrError{Err: "want a *net.TCPAddr or *net.UnixAddr", Addr: addr.String()}
}

// newSocket makes a socket that does not block.
func newSocket(family int) (int, error) {
	sysfd, err := sysSocket(family)
	return sysfd, os.NewSyscallError("socket", err)
}

// configure does what must be done before connecting.
func (s *Socket) configure(sysfd, family int, addr net.Addr) error {
	if family != unix.AF_UNIX {
		// net turns Nagle's delay off for every connection.
		if err := setInt(sysfd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
	}
	c := s.dial
	if family != unix.AF_UNIX {
		if err := setKeepAlive(sysfd, c.KeepAlive); err != nil {
			return err
		}
		if err := setUserTimeout(sysfd, c.UserTimeout); err != nil {
			return err
		}
	}
	if c.Control != nil {
		if err := c.Control(networkName(addr, family), addr.String(), blockingRawConn(sysfd)); err != nil {
			return err
		}
	}
	if c.LocalAddr == nil {
		return nil
	}
	if from, ok := c.LocalAddr.(*net.UnixAddr); ok && from.Name == "" {
		return nil
	}
	var local rawAddr
	if err := local.set(c.LocalAddr, family); err != nil {
		return err
	}
	return bind(sysfd, &local)
}

// networkName is what net passes to Control: tcp4, tcp6 or unix.
func networkName(addr net.Addr, family int) string {
	name := addr.Network()
	if strings.HasPrefix(name, "tcp") {
		if family == unix.AF_INET {
			return "tcp4"
		}
		return "tcp6"
	}
	return name
}
