package uring

import (
	"net"
	"os"
	"syscall"
)

// rawConn is syscall.RawConn on a socket or a listener, whose descriptor does not
// block. Read and Write wait as calls of the socket do: one at a time, ended by the
// deadline and by Close.
type rawConn struct {
	lend        func(name string, f func(fd uintptr)) error
	ep          *endpoint // nil: Control only
	read, write *direction
}

// SyscallConn gives access to the descriptor.
func (s *Socket) SyscallConn() (syscall.RawConn, error) {
	s.inexact.Store(true)
	return &rawConn{lend: s.lend, ep: &s.endpoint, read: &s.read, write: &s.write}, nil
}

// lend runs f of the application on the descriptor.
func (s *Socket) lend(name string, f func(fd uintptr)) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	return s.engine.lend(&s.descriptor, name, f)
}

// Control calls f with the descriptor, which stays open meanwhile.
func (c *rawConn) Control(f func(fd uintptr)) error { return c.lend("raw-control", f) }

// Read calls f until it returns true, and waits for data in between.
func (c *rawConn) Read(f func(fd uintptr) (done bool)) error {
	return c.until("raw-read", f, c.read, eventsRead)
}

// Write is Read for the writing half.
func (c *rawConn) Write(f func(fd uintptr) (done bool)) error {
	return c.until("raw-write", f, c.write, eventsRoom)
}

func (c *rawConn) until(name string, f func(fd uintptr) bool, d *direction, events uint32) error {
	if d == nil {
		return os.NewSyscallError(name, syscall.EOPNOTSUPP)
	}
	if err := d.gate.lock(c.ep.engine); err != nil {
		return err
	}
	defer d.gate.unlock()
	for {
		state := d.state.Load()
		if state&dirAborted != 0 {
			return d.refusal(state)
		}
		had := d.attempt(state)
		var done bool
		var sysfd int
		err := c.lend(name, func(fd uintptr) {
			sysfd = int(fd)
			done = f(fd)
		})
		if err != nil || done {
			d.found(had) // f may have left something
			return err
		}
		if err := c.ep.watch(int32(sysfd), events); err != nil {
			return err
		}
		if err := d.park(c.ep.engine, nil); err != nil {
			return named(name, err)
		}
	}
}

func fileName(local, remote net.Addr) string {
	name := ""
	if local != nil {
		name = local.Network() + ":" + local.String()
	}
	if remote != nil {
		name += "->" + remote.String()
	}
	return name
}

// blockingRawConn is the RawConn of a Control hook: a descriptor that nothing
// else knows of yet.
type blockingRawConn int

func (c blockingRawConn) Control(f func(fd uintptr)) error {
	f(uintptr(c))
	return nil
}

func (blockingRawConn) Read(func(fd uintptr) bool) error  { return syscall.EINVAL }
func (blockingRawConn) Write(func(fd uintptr) bool) error { return syscall.EINVAL }
