package uring

import (
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn is syscall.RawConn on a socket or a listener. The descriptor is made
// non-blocking at the first Read or Write, whose callbacks expect EAGAIN; from
// then on the kernel may answer our own requests with EAGAIN too, and waitReady
// deals with it.
type rawConn struct {
	ring        *parked
	control     func(name string, f func(sysfd int) error) error
	read, write *direction
	nonblock    sync.Once
}

// SyscallConn gives access to the descriptor.
func (s *Socket) SyscallConn() (syscall.RawConn, error) {
	return &rawConn{ring: s.ring, control: s.control, read: &s.read, write: &s.write}, nil
}

// Control calls f with the descriptor, which stays open meanwhile.
func (c *rawConn) Control(f func(fd uintptr)) error {
	return c.control("raw-control", func(sysfd int) error {
		f(uintptr(sysfd))
		return nil
	})
}

// Read calls f until it returns true, and waits for data in between, as a Read
// does: one at a time, ended by the deadline and by Close.
func (c *rawConn) Read(f func(fd uintptr) (done bool)) error {
	return c.until(f, c.read, unix.POLLIN)
}

// Write is Read for the writing half.
func (c *rawConn) Write(f func(fd uintptr) (done bool)) error {
	return c.until(f, c.write, unix.POLLOUT)
}

func (c *rawConn) until(f func(fd uintptr) bool, d *direction, events uint32) error {
	if d == nil {
		return os.NewSyscallError("raw-read", syscall.EOPNOTSUPP)
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	for {
		var done bool
		var sysfd int
		err := c.control("raw-read", func(fd int) error {
			sysfd = fd
			c.nonblock.Do(func() { _ = unix.SetNonblock(fd, true) })
			done = f(uintptr(fd))
			return nil
		})
		if err != nil || done {
			return err
		}
		if _, err := c.ring.poll(&d.op, int32(sysfd), events, false); err != nil {
			return named("poll", err)
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
