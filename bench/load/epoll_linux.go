package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollMover has non-blocking sockets and one epoll. It reads the clock once
// for each receipt, before the reply's successor is sent.
type epollMover struct {
	script  *script
	targets targets
	epoll   int
	fds     []int // of the connections; -1 for one that is not open
	events  []unix.EpollEvent
	in      []byte
	coarse  bool // waits are in milliseconds
	timeout timespec
}

func newEpollMover(s *script) (mover, error) {
	targets, err := newTargets(s.spec)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	m := &epollMover{script: s, targets: targets, epoll: epoll, events: make([]unix.EpollEvent, 256), in: make([]byte, 256<<10)}
	if m.fds, err = connectAll(s, targets); err != nil {
		return nil, errors.Join(err, m.close())
	}
	for i, fd := range m.fds {
		if fd >= 0 {
			if err := m.watch(i); err != nil {
				return nil, errors.Join(err, m.close())
			}
		}
	}
	return m, nil
}

// watch is edge triggered: done once, no call to change interest later.
func (m *epollMover) watch(i int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(m.epoll, unix.EPOLL_CTL_ADD, m.fds[i], &event))
}

func (m *epollMover) do(i int) error {
	if c := &m.script.conns[i]; c.ended {
		c.ended = false
		if err := closeAll(m.fds[i : i+1]); err != nil {
			return err
		}
	}
	for {
		p := m.script.output(i)
		if len(p) == 0 {
			return nil
		}
		if m.fds[i] < 0 {
			var err error
			if m.fds[i], err = m.targets.connect(i); err == nil {
				err = m.watch(i)
			}
			if err != nil {
				return fmt.Errorf("connection %d to %s: %w", i, m.script.spec.Address, err)
			}
		}
		n, errno := send(m.fds[i], p)
		switch errno {
		case 0:
			m.script.wrote(i, n)
		case unix.EAGAIN:
			return nil // there will be an event when there is room
		default:
			return failed(i, "send", errno)
		}
	}
}

func (m *epollMover) wait(d time.Duration) (bool, error) {
	n, errno := m.poll(d)
	if errno != 0 && errno != unix.EINTR {
		return false, os.NewSyscallError("epoll_pwait2", errno)
	}
	for k := range n {
		i, events := int(m.events[k].Fd), m.events[k].Events
		if err := m.input(i, events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0); err != nil {
			return true, err
		}
		if len(m.script.output(i)) > 0 {
			m.script.list(i) // what found no room before
		}
		if err := flush(m.script, m); err != nil {
			return true, err
		}
	}
	return n > 0, nil
}

// input reads all that came on connection i. ended says that nothing will come
// behind it.
func (m *epollMover) input(i int, ended bool) error {
	for m.fds[i] >= 0 {
		n, errno := receive(m.fds[i], m.in)
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno != 0:
			return failed(i, "receive", errno)
		case n == 0:
			return fmt.Errorf("connection %d: the server closed it: %w", i, io.ErrUnexpectedEOF)
		}
		if err := m.script.input(i, m.in[:n], clock()); err != nil {
			return err
		}
		if n < len(m.in) && !ended {
			return nil // all that was there: more of it is a new edge
		}
		if m.script.conns[i].ended {
			return nil // and it is to be closed, whatever the other end does
		}
	}
	return nil
}

// poll is epoll_pwait2, which has nanoseconds. Before Linux 5.11 the time is cut
// to milliseconds, and the caller spins for the rest.
func (m *epollMover) poll(d time.Duration) (int, syscall.Errno) {
	call := unix.Syscall6
	if d == 0 {
		call = unix.RawSyscall6
	}
	events, room := uintptr(unsafe.Pointer(&m.events[0])), uintptr(len(m.events))
	for {
		var n uintptr
		var errno syscall.Errno
		if m.coarse {
			n, _, errno = call(unix.SYS_EPOLL_PWAIT, uintptr(m.epoll), events, room, uintptr(d.Milliseconds()), 0, 0)
		} else {
			m.timeout = newTimespec(d)
			n, _, errno = call(unix.SYS_EPOLL_PWAIT2, uintptr(m.epoll), events, room, uintptr(unsafe.Pointer(&m.timeout)), 0, 0)
			if errno == unix.ENOSYS || errno == unix.EPERM {
				m.coarse = true
				continue
			}
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

func (m *epollMover) close() error {
	return errors.Join(closeAll(m.fds), os.NewSyscallError("close", unix.Close(m.epoll)))
}

// failed is the error of a system call on connection i.
func failed(i int, call string, errno syscall.Errno) error {
	return fmt.Errorf("connection %d: %w", i, os.NewSyscallError(call, errno))
}
