package uring

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Connect makes the OS socket and connects it through the ring. ctx ends it by
// a cancel request; when it fails the socket is closed, since the kernel may
// have sent a SYN already and a cancelled connect leaves it half way.
func (s *Socket) Connect(ctx context.Context, addr net.Addr) error {
	s.write.lock.Lock()
	defer s.write.lock.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	d := &s.write.deadline // is for Write; and ctx, for Connect
	d.suspend(s.ring, &s.write.op)
	defer d.resume(&s.write.op)
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
		return err // FD.Connect closes s
	}
	local := localAddrOf(sysfd)
	s.addrs.mu.Lock()
	s.addrs.local, s.addrs.remote = local, addr
	s.addrs.mu.Unlock()
	return nil
}

func (s *Socket) connect(ctx context.Context, addr net.Addr) error {
	p, o := s.ring, &s.write.op
	o.remote = new(rawAddr)
	defer func() { o.remote = nil }()
	if err := o.remote.set(addr, s.family); err != nil {
		return err
	}
	defer p.abortOn(ctx, o)()
	s.connecting.Store(true)
	defer s.connecting.Store(false)
	if s.closed.Load() { // perhaps shut down already
		return s.failure("connect", net.ErrClosed)
	}
	o.sqe = sqe{opcode: opConnect, fd: s.sysfd, addr: o.remote.address(), off: uint64(o.remote.len)}
	_, err := p.run(o, false)
	if err == syscall.EISCONN { // a repeated request found the first one done
		err = nil
	}
	if err != nil {
		return s.failure("connect", err)
	}
	return nil
}

// abortOn aborts o when ctx ends. The function it returns stops that, and
// waits for it where it is under way.
func (p *parked) abortOn(ctx context.Context, o *op) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stopAfter := context.AfterFunc(ctx, func() {
		p.abort(o, abortContext, ctx.Err())
		close(done)
	})
	return func() {
		if !stopAfter() {
			<-done
			p.allow(o, abortContext)
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

// newSocket makes a blocking socket: io_uring never blocks on it, and before
// Linux 5.19 a non-blocking one would answer EAGAIN instead of waiting.
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
