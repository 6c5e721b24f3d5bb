package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// targets are where connections go to, in turns.
type targets []*target

func newTargets(spec Spec) (targets, error) {
	var all targets
	for _, address := range spec.addresses() {
		spec.Address = address
		t, err := newTarget(spec)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// connect makes connection i.
func (t targets) connect(i int) (fd int, err error) { return t[i%len(t)].connect() }

// target is where connections go to.
type target struct {
	family int
	to     unix.Sockaddr
	from   []unix.Sockaddr // in turn; none lets the kernel choose
	next   int
}

// sources is how many addresses connections come from, in Churn to 127.0.0.1.
// A connection that we close keeps its port for a minute. The kernel takes such
// a port again after a second where both ends are on this machine
// (tcp_tw_reuse), but searches for it the longer the fewer are free; another
// address has ports of its own. With a server in C and 64 at a time a connection
// costs 39 µs from 8 addresses, 25 000 per second for as long as one likes, and
// 70 µs and 14 000 per second from one. IPv6 has only one of this machine's own.
const sources = 8

func newTarget(spec Spec) (*target, error) {
	if spec.Network == "unix" {
		return &target{family: unix.AF_UNIX, to: &unix.SockaddrUnix{Name: spec.Address}}, nil
	}
	address, err := netip.ParseAddrPort(spec.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: an address and a port are needed, as in 127.0.0.1:80 or [::1]:80", err)
	}
	ip, port := address.Addr().Unmap(), int(address.Port())
	if ip.Is6() {
		to := &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
		if ip.Zone() != "" {
			zone, err := net.InterfaceByName(ip.Zone())
			if err != nil {
				return nil, err
			}
			to.ZoneId = uint32(zone.Index)
		}
		return &target{family: unix.AF_INET6, to: to}, nil
	}
	t := &target{family: unix.AF_INET, to: &unix.SockaddrInet4{Port: port, Addr: ip.As4()}}
	if spec.Workload == Churn && ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		for i := range sources {
			t.from = append(t.from, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + i)}})
		}
	}
	return t, nil
}

// connect makes a socket and connects it. A TCP connection may be still under
// way when it returns: sending waits for it.
func (t *target) connect() (fd int, err error) {
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if t.family != unix.AF_UNIX {
		// On a unix socket connect waits for room in the server's queue, which
		// no event tells of.
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err = unix.Socket(t.family, kind, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = t.prepare(fd); err == nil {
		err = unix.Connect(fd, t.to)
		if err == unix.EINPROGRESS {
			err = nil
		}
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// connected waits until the connection of connect is there.
func connected(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(StallLimit.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("poll", err)
		}
		_, err = unix.Getpeername(fd)
		if code, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); code != 0 {
			err = syscall.Errno(code)
		} else if err == unix.ENOTCONN {
			err = unix.ETIMEDOUT
		}
		return os.NewSyscallError("connect", err)
	}
}

func (t *target) prepare(fd int) error {
	if t.family == unix.AF_UNIX {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if len(t.from) == 0 {
		return nil
	}
	t.next = (t.next + 1) % len(t.from)
	// Connect chooses the port then, and may take one that other connections
	// from this address have, to elsewhere. Reference: ip(7).
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, t.from[t.next]))
}

// connectAll connects all connections of a script, but of Churn.
func connectAll(s *script, t targets) (fds []int, err error) {
	fds = make([]int, len(s.conns))
	for i := range fds {
		fds[i] = -1
	}
	if s.spec.Workload == Churn {
		return fds, nil
	}
	for i := range fds {
		if fds[i], err = t.connect(i); err == nil {
			err = connected(fds[i])
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connection %d to %s: %w", i, s.spec.Address, err), closeAll(fds))
		}
	}
	return fds, nil
}

func closeAll(fds []int) error {
	var errs []error
	for i, fd := range fds {
		if fd >= 0 {
			fds[i] = -1
			errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	return errors.Join(errs...)
}

// send and receive never wait, and so need not tell the scheduler of Go.

func send(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

func receive(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// timespec is struct __kernel_timespec: the same on every architecture.
type timespec struct{ seconds, nanoseconds int64 }

func newTimespec(d time.Duration) timespec {
	return timespec{int64(d / time.Second), int64(d % time.Second)}
}
