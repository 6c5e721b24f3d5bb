package uring

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
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
	s.write.suspendDeadline(true) // it is for Write; and ctx, for Connect
	defer s.write.suspendDeadline(false)
	family, err := familyOf(addr)
	if err != nil {
		return err
	}
	sysfd, err := newSocket(family)
	if err != nil {
		return err
	}
	if err := s.configure(sysfd, family, addr); err != nil {
		_ = sysClose(sysfd)
		return err
	}
	if err := s.open(int32(sysfd), family); err != nil {
		return err
	}
	if err := s.connect(ctx, addr); err != nil {
		if s.closed.Load() {
			return net.ErrClosed
		}
		return named("connect", err) // FD.Connect closes s
	}
	local := localAddrOf(sysfd)
	s.addrs.mu.Lock()
	s.addrs.local, s.addrs.remote = local, addr
	s.addrs.mu.Unlock()
	return nil
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
		if a.IP.To4() != nil || a.IP == nil {
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
