package simkernel

import (
	"fmt"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// system is what a script asks of a kernel: the fake one or Linux.
type system interface {
	socket() int
	connect(fd int, refused bool) syscall.Errno
	accept() int
	send(fd, n int)
	receive(fd, n int) (int, syscall.Errno)
	shutdown(fd, how int)
	reset(fd int)
	pending(fd int) syscall.Errno
	control(op, fd int, events uint32)
	// events returns all events that have come; they are to be want, if that is known.
	events(want uint32) uint32
}

// TestAsLinux plays a script on Linux, too, and compares what epoll and the calls say.
func TestAsLinux(t *testing.T) {
	fake := &fakeSystem{bed: newBed(t, Weights{})}
	fake.listener = fake.bed.socket()
	fake.noErrno(fake.k.Bind(fake.listener, inetAddr(80)))
	fake.noErrno(fake.k.Listen(fake.listener))
	want := play(fake, nil)
	got := play(newRealSystem(t), want)
	for i := range want {
		if got[i].what != want[i].what {
			t.Errorf("%d: Linux says %q, the fake kernel %q", i, got[i].what, want[i].what)
		}
	}
	if len(want) < 20 {
		t.Errorf("only %d answers were compared", len(want))
	}
}

// answer is what a kernel said at a step of the script.
type answer struct {
	what   string
	events uint32
}

func play(s system, expected []answer) (log []answer) {
	note := func(format string, args ...any) { log = append(log, answer{what: fmt.Sprintf(format, args...)}) }
	events := func(when string) {
		var want uint32
		if expected != nil {
			want = expected[len(log)].events
		}
		got := s.events(want)
		log = append(log, answer{fmt.Sprintf("%s: %#x", when, got), got})
	}
	receive := func(fd, n int) {
		got, errno := s.receive(fd, n)
		note("receive: %d, %v", got, errno)
	}
	watch := func(fd int) { s.control(unix.EPOLL_CTL_ADD, fd, roomEvents) }
	connected := func() (client, server int) {
		client = s.socket()
		note("connect: %v", s.connect(client, false))
		server = s.accept()
		watch(client)
		events("connected")
		return client, server
	}

	fresh := s.socket()
	watch(fresh)
	events("a fresh socket")
	s.control(unix.EPOLL_CTL_DEL, fresh, 0)

	refused := s.socket()
	note("connect: %v", s.connect(refused, true))
	watch(refused)
	events("refused")
	note("pending: %v, then %v", s.pending(refused), s.pending(refused))
	s.control(unix.EPOLL_CTL_MOD, refused, roomEvents)
	events("refused, and the error taken")

	client, server := connected()
	s.send(server, 10)
	events("data")
	receive(client, 4)
	events("a part is received")
	s.send(server, 1)
	events("more")
	receive(client, 100)
	receive(client, 100)
	s.send(server, 2)
	s.shutdown(server, syscall.SHUT_WR)
	events("data and the end")
	receive(client, 100)
	receive(client, 100)
	s.control(unix.EPOLL_CTL_MOD, client, readEvents)
	events("asked anew")
	s.shutdown(client, syscall.SHUT_WR)
	events("shut on both sides")

	client, server = connected()
	s.shutdown(client, syscall.SHUT_RD)
	events("shut for reading")
	s.reset(server)
	events("reset")
	note("pending: %v, then %v", s.pending(client), s.pending(client))
	receive(client, 1)
	s.control(unix.EPOLL_CTL_MOD, client, roomEvents)
	events("reset, and the error taken")

	client, server = connected()
	s.send(server, 5)
	events("data")
	s.reset(server)
	events("reset behind data")
	return log
}

type fakeSystem struct {
	*bed
	listener int
}

func (s *fakeSystem) connect(fd int, refused bool) syscall.Errno {
	port := 80
	if refused {
		port = 1
	}
	errno := s.k.Connect(fd, inetAddr(port))
	s.rest()
	return errno
}

func (s *fakeSystem) accept() int {
	fd, _, errno := s.k.Accept(s.listener)
	s.noErrno(errno)
	return fd
}

func (s *fakeSystem) send(fd, n int) {
	p := make([]byte, n)
	end := s.k.files[fd].end
	end.FillNext(p, end.sent)
	_, errno := s.k.Send(fd, p, 0)
	s.noErrno(errno)
	s.rest()
}

func (s *fakeSystem) receive(fd, n int) (int, syscall.Errno) {
	return s.k.Recv(fd, make([]byte, n), 0)
}

func (s *fakeSystem) shutdown(fd, how int) {
	s.noErrno(s.k.Shutdown(fd, how))
	s.rest()
}

func (s *fakeSystem) reset(fd int) {
	s.k.files[fd].end.Reset()
	s.noErrno(s.k.Close(fd))
	s.rest()
}

func (s *fakeSystem) pending(fd int) syscall.Errno {
	pending, errno := s.k.SocketError(fd)
	s.noErrno(errno)
	return pending
}

func (s *fakeSystem) control(op, fd int, events uint32) {
	switch op {
	case unix.EPOLL_CTL_ADD:
		s.noErrno(s.k.EpollAdd(s.epoll, fd, events, 0))
	case unix.EPOLL_CTL_MOD:
		s.noErrno(s.k.EpollModify(s.epoll, fd, events, 0))
	default:
		s.noErrno(s.k.EpollDelete(s.epoll, fd))
	}
}

func (s *fakeSystem) events(uint32) (events uint32) {
	for _, e := range s.k.EpollWait(s.epoll, 64) {
		events |= e.Events
	}
	return events
}

type realSystem struct {
	*testing.T
	epoll, listener int
	addr, nobody    unix.Sockaddr
	open            map[int]bool
}

func newRealSystem(t *testing.T) *realSystem {
	s := &realSystem{T: t, open: make(map[int]bool)}
	var err error
	s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	s.must(err)
	s.open[s.epoll] = true
	t.Cleanup(func() {
		for fd := range s.open {
			_ = unix.Close(fd)
		}
	})
	bound := func() (fd int, addr unix.Sockaddr) {
		fd = s.socket()
		s.must(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		addr, err := unix.Getsockname(fd)
		s.must(err)
		return fd, addr
	}
	s.listener, s.addr = bound()
	s.must(unix.Listen(s.listener, 8))
	_, s.nobody = bound() // nobody else listens there meanwhile
	return s
}

func (s *realSystem) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *realSystem) socket() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	s.must(err)
	s.open[fd] = true
	return fd
}

func errnoOf(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

func (s *realSystem) connect(fd int, refused bool) syscall.Errno {
	if refused {
		return errnoOf(unix.Connect(fd, s.nobody))
	}
	return errnoOf(unix.Connect(fd, s.addr))
}

func (s *realSystem) accept() int {
	if !s.await(s.listener) {
		s.Fatal("nobody connects")
	}
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	s.must(err)
	s.open[fd] = true
	return fd
}

// await waits until fd is readable, and gives up after some seconds.
func (s *realSystem) await(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		if err != unix.EINTR {
			s.must(err)
			return n > 0
		}
	}
}

func (s *realSystem) send(fd, n int) {
	_, err := unix.Write(fd, make([]byte, n))
	s.must(err)
}

func (s *realSystem) receive(fd, n int) (int, syscall.Errno) {
	n, _, err := unix.Recvfrom(fd, make([]byte, n), 0)
	return max(n, 0), errnoOf(err)
}

func (s *realSystem) shutdown(fd, how int) { s.must(unix.Shutdown(fd, how)) }

func (s *realSystem) reset(fd int) {
	s.must(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	s.must(unix.Close(fd))
	delete(s.open, fd)
}

func (s *realSystem) pending(fd int) syscall.Errno {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	s.must(err)
	return syscall.Errno(n)
}

func (s *realSystem) control(op, fd int, events uint32) {
	s.must(unix.EpollCtl(s.epoll, op, fd, &unix.EpollEvent{Events: events}))
}

func (s *realSystem) events(want uint32) (events uint32) {
	var taken [8]unix.EpollEvent
	for {
		n, err := unix.EpollWait(s.epoll, taken[:], 0)
		s.must(err)
		for _, e := range taken[:n] {
			events |= e.Events
		}
		if events&want == want || !s.await(s.epoll) {
			return events
		}
	}
}
