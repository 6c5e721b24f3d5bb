//go:build sim

package uring

import (
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/simkernel"
)

// What sys_linux.go asks of the kernel, asked of the fake one.

func kernel() *simkernel.Kernel { return simkernel.Current() }

// ResetForSim forgets what outlives an Engine: channels and times that belong to
// the simulated run before, and the answer of its probe.
func ResetForSim() {
	probeCached = nil
	startedAt = time.Now()
	grave.memory = nil
}

// heldLock is a lock that is held while the kernel is waited for. Unlike a
// sync.Mutex's, who waits for it is at rest as testing/synctest has it.
type heldLock struct {
	mu   sync.Mutex
	cond *sync.Cond
	held bool
}

func (l *heldLock) Lock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cond == nil {
		l.cond = sync.NewCond(&l.mu)
	}
	for l.held {
		l.cond.Wait()
	}
	l.held = true
}

func (l *heldLock) TryLock() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		return false
	}
	l.held = true
	return true
}

func (l *heldLock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		panic("unlock of an unlocked heldLock")
	}
	l.held = false
	if l.cond != nil {
		l.cond.Signal()
	}
}

func asError(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func sysSetup(entries uint32, p *params) (int, syscall.Errno) {
	return kernel().Setup(entries, (*simkernel.Params)(unsafe.Pointer(p)))
}

func sysMapRing(fd int, offset int64, size int) ([]byte, error) {
	return kernel().Map(fd, offset, size), nil
}

func sysUnmapRing([]byte) {}

func sysEnter(fd int, submit, minComplete, flags uint32) syscall.Errno {
	return kernel().Enter(fd, submit, minComplete, flags, -1)
}

func sysEnterWaiting(fd int, submit, minComplete, flags uint32) syscall.Errno {
	return kernel().Enter(fd, submit, minComplete, flags, -1)
}

func sysEnterUntil(fd int, submit, minComplete, flags uint32, arg *getEventsArg) syscall.Errno {
	addr := arg.timeout
	timeout := (*(**unix.Timespec)(unsafe.Pointer(&addr))).Nano()
	return kernel().Enter(fd, submit, minComplete, flags, timeout)
}

func sysRegister(fd int, opcode uint32, arg unsafe.Pointer, n uint32) syscall.Errno {
	return kernel().Register(fd, opcode, arg, n)
}

func sysRecv(fd int32, p []byte, flags int) (int, syscall.Errno) {
	return kernel().Recv(int(fd), p, flags)
}

func sysSend(fd int32, p []byte, flags int) (int, syscall.Errno) {
	return kernel().Send(int(fd), p, flags)
}

func sysRecvLong(fd int32, p []byte, flags int) (int, syscall.Errno) { return sysRecv(fd, p, flags) }

func sysSendLong(fd int32, p []byte, flags int) (int, syscall.Errno) { return sysSend(fd, p, flags) }

func sysSendmsg(fd int32, msg *unix.Msghdr, flags int) (int, syscall.Errno) {
	segments := make([][]byte, msg.Iovlen)
	for i, v := range unsafe.Slice(msg.Iov, msg.Iovlen) {
		segments[i] = unsafe.Slice(v.Base, v.Len)
	}
	return kernel().Sendmsg(int(fd), segments, flags)
}

func sysClose(fd int) error { return asError(kernel().Close(fd)) }

func sysShutdown(fd, how int) error { return asError(kernel().Shutdown(fd, how)) }

func sysSocket(family int) (int, error) {
	fd, errno := kernel().Socket(family)
	return fd, asError(errno)
}

func sysSocketpair() ([2]int, error) { return kernel().Socketpair(), nil }

func (r *rawAddr) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&r.any)), unix.SizeofSockaddrAny)
}

func sysBind(fd int, a *rawAddr) syscall.Errno { return kernel().Bind(fd, a.bytes()[:a.len]) }

func sysListen(fd, _ int) error { return asError(kernel().Listen(fd)) }

func sysConnect(fd int, a *rawAddr) syscall.Errno { return kernel().Connect(fd, a.bytes()[:a.len]) }

func sysAccept(fd int32, a *rawAddr) (int32, syscall.Errno) {
	sock, addr, errno := kernel().Accept(int(fd))
	a.len = uint32(copy(a.bytes(), addr))
	return int32(sock), errno
}

func sysSocketError(fd int) (syscall.Errno, error) {
	pending, errno := kernel().SocketError(fd)
	return pending, asError(errno)
}

func sysSetNonblock(fd int, on bool) error { return asError(kernel().SetNonblock(fd, on)) }

func name(fd int, a *rawAddr, peer bool) syscall.Errno {
	b, errno := kernel().Name(fd, peer)
	a.len = uint32(copy(a.bytes(), b))
	return errno
}

func sysGetsockname(fd int, a *rawAddr) syscall.Errno { return name(fd, a, false) }

func sysGetpeername(fd int, a *rawAddr) syscall.Errno { return name(fd, a, true) }

func sysPeerOfReset(int, *rawAddr) syscall.Errno { return syscall.ENOTCONN }

func sysSetsockopt(fd, _, _, _ int) error { return asError(kernel().Option(fd)) }

func sysSetLinger(fd int, _ *unix.Linger) error { return asError(kernel().Option(fd)) }

func sysGetLinger(fd int) (*unix.Linger, error) {
	return new(unix.Linger), asError(kernel().Option(fd))
}

func sysEventfd() (int, error) { return kernel().Eventfd(), nil }

func sysReplaceEventfd(fd int) error { return asError(kernel().ReplaceEventfd(fd)) }

func sysRead(fd int, p []byte) (int, error) {
	n, errno := kernel().Read(fd, p)
	return n, asError(errno)
}

func sysWrite(fd int, p []byte) (int, error) {
	n, errno := kernel().Write(fd, p)
	return n, asError(errno)
}

func sysPollIn(fd, milliseconds int) (bool, error) { return kernel().PollIn(fd, milliseconds), nil }

func sysDup(fd int) (int, error) { return kernel().Dup(fd), nil }

func sysDisconnect(fd int) { kernel().Disconnect(fd) }

func sysEpollCreate() (int, error) {
	fd, errno := kernel().EpollCreate()
	return fd, asError(errno)
}

func sysEpollAdd(epoll, fd int, events uint32, token uint64) error {
	return asError(kernel().EpollAdd(epoll, fd, events, token))
}

func sysEpollAwaitRoom(epoll int, fd int32, token uint64, again bool) syscall.Errno {
	const events = unix.EPOLLOUT | unix.EPOLLONESHOT
	if again {
		return kernel().EpollModify(epoll, int(fd), events, token)
	}
	return kernel().EpollAdd(epoll, int(fd), events, token)
}

func sysEpollModify(epoll, fd int, events uint32, token uint64) error {
	return asError(kernel().EpollModify(epoll, fd, events, token))
}

func sysEpollDelete(epoll, fd int) { _ = kernel().EpollDelete(epoll, fd) }

// epollEvent is struct epoll_event.
type epollEvent = unix.EpollEvent

func tokenOf(e *epollEvent) uint64 { return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32 }

func sysEpollWait(epoll int, events []epollEvent) int {
	taken := kernel().EpollWait(epoll, len(events))
	for i, e := range taken {
		events[i] = epollEvent{Events: e.Events, Fd: int32(uint32(e.Token)), Pad: int32(uint32(e.Token >> 32))}
	}
	return len(taken)
}

// pollWatch tells of events.
type pollWatch struct {
	fd   int
	stop func()
}

func watchEpoll(epoll int) (*pollWatch, error) {
	return &pollWatch{epoll, sync.OnceFunc(func() { kernel().UnwatchEpoll(epoll) })}, nil
}

func (w *pollWatch) each(f func()) {
	kernel().WatchEpoll(w.fd, f)
	_ = sysClose(w.fd)
}

func (w *pollWatch) close() { _ = sysClose(w.fd) }
