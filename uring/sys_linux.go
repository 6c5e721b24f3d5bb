//go:build !sim

package uring

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All that the ring, the pollers and the loops ask of the kernel, one
// function per system call. Under the build tag sim another file answers in the
// kernel's place: see "The fake kernel" in ARCHITECTURE.md.

// heldLock is a lock that is held while the kernel is waited for.
type heldLock = sync.Mutex

// sysSetup is io_uring_setup(2).
func sysSetup(entries uint32, p *params) (int, syscall.Errno) {
	fd, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	return int(fd), errno
}

// sysMapRing maps a part of a ring. A forked child must not share it.
func sysMapRing(fd int, offset int64, size int) ([]byte, error) {
	mem, err := unix.Mmap(fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err == nil {
		_ = unix.Madvise(mem, unix.MADV_DONTFORK)
	}
	return mem, err
}

func sysUnmapRing(mem []byte) { _ = unix.Munmap(mem) }

// sysEnter is io_uring_enter(2) that does not wait, and keeps its P.
func sysEnter(fd int, submit, minComplete, flags uint32) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(minComplete), uintptr(flags), 0, 0)
	return errno
}

// sysEnterWaiting is io_uring_enter(2) that may wait.
func sysEnterWaiting(fd int, submit, minComplete, flags uint32) syscall.Errno {
	_, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(minComplete), uintptr(flags), 0, 0)
	return errno
}

// sysEnterUntil is io_uring_enter(2) that may wait, with a timeout.
func sysEnterUntil(fd int, submit, minComplete, flags uint32, arg *getEventsArg) syscall.Errno {
	_, _, errno := syscall.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(minComplete),
		uintptr(flags), uintptr(unsafe.Pointer(arg)), unsafe.Sizeof(*arg))
	return errno
}

// sysRegister is io_uring_register(2). Before Linux 5.14 it waits until nobody else uses
// the ring, and a signal, which Go's scheduler sends now and then, interrupts that: then
// it is called again with signals blocked.
func sysRegister(fd int, opcode uint32, arg unsafe.Pointer, n uint32) syscall.Errno {
	call := func() syscall.Errno {
		_, _, errno := syscall.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), uintptr(opcode), uintptr(arg), uintptr(n), 0, 0)
		return errno
	}
	errno := call()
	if errno != syscall.EINTR {
		return errno
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err == nil {
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	}
	for errno == syscall.EINTR {
		errno = call()
	}
	return errno
}

// sysRecv is recv(2) that keeps its P: it must not wait.
func sysRecv(fd int32, p []byte, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return int(n), errno
}

// sysSend is send(2) that keeps its P: it must not wait.
func sysSend(fd int32, p []byte, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return int(n), errno
}

// sysRecvLong is recv(2) that gives its P up if it takes long.
func sysRecvLong(fd int32, p []byte, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return int(n), errno
}

// sysSendLong is send(2) that gives its P up if it takes long.
func sysSendLong(fd int32, p []byte, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return int(n), errno
}

func sysClose(fd int) error { return unix.Close(fd) }

func sysShutdown(fd, how int) error { return unix.Shutdown(fd, how) }

// sysSocket makes a stream socket that does not block.
func sysSocket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

// sysSocketpair makes two connected stream sockets.
func sysSocketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

func sysBind(fd int, a *rawAddr) syscall.Errno {
	_, _, errno := syscall.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.any)), uintptr(a.len))
	return errno
}

func sysListen(fd, backlog int) error { return unix.Listen(fd, backlog) }

func sysConnect(fd int, a *rawAddr) syscall.Errno {
	_, _, errno := syscall.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.any)), uintptr(a.len))
	return errno
}

func sysGetsockname(fd int, a *rawAddr) syscall.Errno {
	_, _, errno := syscall.Syscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.any)), uintptr(unsafe.Pointer(&a.len)))
	return errno
}

// sysGetpeername keeps its P.
func sysGetpeername(fd int, a *rawAddr) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.any)), uintptr(unsafe.Pointer(&a.len)))
	return errno
}

// sysPeerOfReset is getpeername(2) of a connection that was reset since it was accepted,
// of which that says that it has none: accept(2) would have told it. The kernel wants the
// exact size of the address (SO_PEERNAME).
func sysPeerOfReset(fd int, a *rawAddr) syscall.Errno {
	for _, size := range []uint32{unix.SizeofSockaddrInet6, unix.SizeofSockaddrInet4} {
		a.len = size
		_, _, errno := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERNAME,
			uintptr(unsafe.Pointer(&a.any)), uintptr(unsafe.Pointer(&a.len)), 0)
		if errno == 0 {
			return 0
		}
	}
	return syscall.ENOTCONN
}

func sysSetsockopt(fd, level, name, value int) error {
	return unix.SetsockoptInt(fd, level, name, value)
}

func sysSetLinger(fd int, l *unix.Linger) error {
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, l)
}

func sysGetLinger(fd int) (*unix.Linger, error) {
	return unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
}

// sysEventfd makes an eventfd(2).
func sysEventfd() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) }

// sysReplaceEventfd puts a new eventfd in the place of fd.
func sysReplaceEventfd(fd int) error {
	other, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(other)
	return unix.Dup3(other, fd, unix.O_CLOEXEC)
}

func sysRead(fd int, p []byte) (int, error) { return unix.Read(fd, p) }

func sysWrite(fd int, p []byte) (int, error) { return unix.Write(fd, p) }

// sysPollIn waits until fd is readable, for so many milliseconds at most.
func sysPollIn(fd, milliseconds int) (readable bool, err error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, milliseconds)
	return n > 0, err
}

// sysDup duplicates a descriptor.
func sysDup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// sysDisconnect drops what a connection has to send, and resets it. Reference:
// connect(2), AF_UNSPEC.
func sysDisconnect(fd int) {
	none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, _ = syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
}

// sysAccept is accept4(2) that keeps its P: the listener does not block.
func sysAccept(fd int32, a *rawAddr) (int32, syscall.Errno) {
	a.len = unix.SizeofSockaddrAny
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&a.any)),
		uintptr(unsafe.Pointer(&a.len)), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, 0)
	return int32(n), errno
}

// sysSendmsg is sendmsg(2).
func sysSendmsg(fd int32, msg *unix.Msghdr, flags int) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), uintptr(flags))
	return int(n), errno
}

// sysSocketError takes the pending error of a socket (SO_ERROR), which a connect that
// failed leaves.
func sysSocketError(fd int) (syscall.Errno, error) {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return syscall.Errno(n), err
}

// sysSetNonblock sets or clears O_NONBLOCK.
func sysSetNonblock(fd int, on bool) error { return unix.SetNonblock(fd, on) }

// sysEpollCreate makes an epoll instance.
func sysEpollCreate() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) }

// sysEpollAdd has epoll tell of events of fd, with the token.
func sysEpollAdd(epoll, fd int, events uint32, token uint64) error {
	return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, newEpollEvent(events, token))
}

// sysEpollModify changes which events epoll tells of. What is ready comes anew.
func sysEpollModify(epoll, fd int, events uint32, token uint64) error {
	return unix.EpollCtl(epoll, unix.EPOLL_CTL_MOD, fd, newEpollEvent(events, token))
}

func newEpollEvent(events uint32, token uint64) *epollEvent {
	return &epollEvent{Events: events, Fd: int32(uint32(token)), Pad: int32(uint32(token >> 32))}
}

// sysEpollAwaitRoom has epoll tell once that fd has room, or an error. It keeps its P.
func sysEpollAwaitRoom(epoll int, fd int32, token uint64, again bool) syscall.Errno {
	op := unix.EPOLL_CTL_ADD
	if again {
		op = unix.EPOLL_CTL_MOD
	}
	e := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLONESHOT, Fd: int32(uint32(token)), Pad: int32(uint32(token >> 32))}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	return errno
}

// sysEpollDelete takes fd out of epoll. Closing the last descriptor of a socket does so too.
func sysEpollDelete(epoll, fd int) { _ = unix.EpollCtl(epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// epollEvent is struct epoll_event.
type epollEvent = unix.EpollEvent

func tokenOf(e *epollEvent) uint64 { return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32 }

// sysEpollWait takes the events that are there, without waiting, and keeps its P.
func sysEpollWait(epoll int, events []epollEvent) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// pollWatch tells of events: an epoll instance's descriptor in Go's own netpoller, so
// that no thread is parked.
type pollWatch struct {
	file *os.File
	conn syscall.RawConn
}

// watchEpoll takes the descriptor over: it closes it when it fails.
func watchEpoll(epoll int) (*pollWatch, error) {
	if err := unix.SetNonblock(epoll, true); err != nil { // so that os.NewFile gives it to the netpoller
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &pollWatch{file: os.NewFile(uintptr(epoll), "epoll")}
	var err error
	if w.conn, err = w.file.SyscallConn(); err == nil {
		err = w.file.SetReadDeadline(time.Time{}) // fails where the netpoller did not take the descriptor
	}
	if err != nil {
		w.close()
	}
	return w, err
}

// each calls f whenever events have come, until stop. Then it closes the descriptor.
func (w *pollWatch) each(f func()) {
	_ = w.conn.Read(func(uintptr) bool {
		f()
		return false // until stop
	})
	_ = w.file.Close()
}

// stop ends each. It may be called again.
func (w *pollWatch) stop() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) }

// close is for a watch that each was not called on.
func (w *pollWatch) close() { _ = w.file.Close() }
