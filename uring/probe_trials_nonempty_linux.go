package uring

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockNonempty receives over TCP, of which each kernel that has the flag tells.
func (p *prober) sockNonempty() error {
	pair, err := loopbackPair()
	if err != nil {
		return err
	}
	defer pair.close()
	return p.nonempty(pair)
}

// unixNonempty receives over unix sockets, of which kernels tell since Linux 6.17.
func (p *prober) unixNonempty() error {
	pair, err := newSocketPair()
	if err != nil {
		return err
	}
	defer pair.close()
	return p.nonempty(pair)
}

// nonempty sends two bytes and receives each: the flag must say of the first that there
// is more, and of the second that there is not.
func (p *prober) nonempty(pair socketPair) error {
	if _, err := sysWrite(pair[0], []byte{1, 2}); err != nil {
		return err
	}
	for _, more := range []bool{true, false} {
		c, err := p.ring.do(sqe{opcode: opRecv, fd: int32(pair[1]), addr: address(trialIn), len: 1})
		if err == nil {
			err = c.result()
		}
		if err != nil {
			return err
		}
		if c.flags&cqeSockNonempty != 0 != more {
			return fmt.Errorf("the flag that says that there is more is %t, and ought to be %t", !more, more)
		}
	}
	return nil
}

// acceptDontwait accepts where nobody has connected.
func (p *prober) acceptDontwait() error {
	r, err := newSmallRing(0) // of its own: closing it ends an accept that waits all the same
	if err != nil {
		return err
	}
	defer r.close()
	listener, _, err := loopbackListener()
	if err != nil {
		return err
	}
	defer sysClose(listener)
	c, err := r.do(sqe{opcode: opAccept, fd: int32(listener), ioprio: acceptDontwait, opFlags: unix.SOCK_CLOEXEC})
	if err != nil {
		return err
	}
	switch err := c.result(); {
	case err == nil:
		_ = sysClose(int(c.res))
		return errors.New("a stranger connected meanwhile")
	case !errors.Is(err, syscall.EAGAIN):
		return err
	}
	return nil
}

// loopbackListener listens on a free port of 127.0.0.1.
func loopbackListener() (listener int, name *rawAddr, err error) {
	name = new(rawAddr)
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(&name.any)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	name.len = unix.SizeofSockaddrInet4
	if listener, err = newSocket(unix.AF_INET); err != nil {
		return 0, nil, err
	}
	if err = bind(listener, name); err == nil {
		err = sysListen(listener, 1)
	}
	if err == nil {
		if errno := sysGetsockname(listener, name); errno != 0 {
			err = errno
		}
	}
	if err != nil {
		_ = sysClose(listener)
		return 0, nil, err
	}
	return listener, name, nil
}

// loopbackPair is two sockets that are connected over TCP. It does not wait long where a
// filter drops packets.
func loopbackPair() (pair socketPair, err error) {
	listener, name, err := loopbackListener()
	if err != nil {
		return pair, err
	}
	defer sysClose(listener)
	client, err := newSocket(unix.AF_INET)
	if err != nil {
		return pair, err
	}
	errno := sysConnect(client, name)
	if errno == 0 || errno == syscall.EINPROGRESS {
		const longest = 1000 // milliseconds
		if _, err := sysPollIn(listener, longest); err == nil || err == syscall.EINTR {
			var server int32
			if server, errno = sysAccept(int32(listener), new(rawAddr)); errno == 0 {
				return socketPair{client, int(server)}, nil
			}
		}
	}
	_ = sysClose(client)
	return pair, errno
}
