package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// epollLoad is the cheap generator: non-blocking sockets and one epoll loop on
// one thread, so that the server and not the generator is what is measured.
type epollLoad struct {
	epoll  int
	conns  []epollConn
	events []unix.EpollEvent
	in     []byte
	size   int

	outstanding int // messages without their whole reply
	deadline    time.Time
	result      *LoadResult
	latencies   *hdrhistogram.Histogram
}

type epollConn struct {
	fd             int
	message        []byte
	sent, received int
	seq            uint64
	start          time.Time
}

func openGenerator(spec loadSpec) (generator, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &epollLoad{
		epoll:  epoll,
		events: make([]unix.EpollEvent, 256),
		in:     make([]byte, spec.Size),
		size:   spec.Size,
	}
	address, err := netip.ParseAddrPort(spec.Address)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	for i := range spec.Conns {
		fd, err := connect(address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connection %d: %w", i, err), l.close())
		}
		l.conns = append(l.conns, epollConn{fd: fd, message: make([]byte, spec.Size), sent: spec.Size, received: spec.Size})
		// Edge triggered: registered once, no call to change interest later.
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(i)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, errors.Join(os.NewSyscallError("epoll_ctl", err), l.close())
		}
	}
	return l, nil
}

func connect(address netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrInet4{
		Port: int(address.Port()), Addr: address.Addr().As4(),
	}))
	if err == nil {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	if err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (l *epollLoad) run(d time.Duration, r *LoadResult, latencies *hdrhistogram.Histogram) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.result, l.latencies = r, latencies
	l.deadline = time.Now().Add(d)
	for i := range l.conns {
		if err := l.begin(i, time.Now()); err != nil {
			return err
		}
	}
	for l.outstanding > 0 {
		n, err := unix.EpollWait(l.epoll, l.events, int(stallLimit.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("epoll_wait", err)
		case n == 0:
			return fmt.Errorf("%w on %d of %d connections", errStalled, l.outstanding, len(l.conns))
		}
		for _, event := range l.events[:n] {
			if err := l.progress(int(event.Fd), event.Events&unix.EPOLLRDHUP != 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin sends the next message of connection i, or as much of it as fits.
func (l *epollLoad) begin(i int, now time.Time) error {
	c := &l.conns[i]
	c.seq++
	binary.NativeEndian.PutUint64(c.message, stamp(i, c.seq))
	c.sent, c.received, c.start = 0, 0, now
	l.outstanding++
	return l.send(c)
}

func (l *epollLoad) send(c *epollConn) error {
	for c.sent < l.size {
		n, err := unix.Write(c.fd, c.message[c.sent:])
		if err == unix.EAGAIN {
			return nil // there will be an event when there is room
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		c.sent += n
		l.result.Sent += uint64(n)
	}
	return nil
}

// progress does what an event of connection i allows. A message that is all
// there is recorded, and the next one sent. ended says that the peer has sent
// its last byte.
func (l *epollLoad) progress(i int, ended bool) error {
	c := &l.conns[i]
	if err := l.send(c); err != nil {
		return err
	}
	for c.received < l.size {
		want := l.size - c.received
		n, err := unix.Read(c.fd, l.in[:want])
		switch {
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return os.NewSyscallError("read", err)
		case n == 0:
			return fmt.Errorf("connection %d: %w", i, io.ErrUnexpectedEOF)
		}
		if c.received == 0 && n >= minSize && binary.NativeEndian.Uint64(l.in) != stamp(i, c.seq) {
			return fmt.Errorf("connection %d: %w", i, errMixedUp)
		}
		c.received += n
		l.result.Received += uint64(n)
		if n < want {
			if ended {
				continue // the end of file behind it gives no new edge
			}
			return nil // all that was there: more of it is a new edge
		}
		now := time.Now()
		record(l.latencies, int64(now.Sub(c.start)))
		l.result.Messages++
		l.outstanding--
		if now.Before(l.deadline) {
			return l.begin(i, now)
		}
	}
	return nil
}

func (l *epollLoad) close() error {
	var errs []error
	for _, c := range l.conns {
		errs = append(errs, unix.Close(c.fd))
	}
	return errors.Join(append(errs, unix.Close(l.epoll))...)
}
