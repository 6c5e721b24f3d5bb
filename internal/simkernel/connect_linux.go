package simkernel

import (
	"slices"
	"syscall"
)

// dial is a connect(2) under way.
type dial struct {
	addr []byte
	fail syscall.Errno
}

// What a connect under way fails with.
var dialErrnos = []syscall.Errno{
	syscall.ECONNREFUSED, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNRESET, syscall.EACCES,
}

// Connect is connect(2). Over TCP it does not wait: a later step connects the socket, or
// refuses.
func (k *Kernel) Connect(fd int, addr []byte) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "connect(2)")
	switch {
	case f == nil:
		return syscall.EBADF
	case k.probing || f.family == syscall.AF_UNIX:
		return k.connectFile(f, addr)
	case f.end != nil:
		return syscall.EISCONN
	case f.dial != nil:
		return syscall.EALREADY
	case f.err != 0:
		return f.takeError()
	case !f.nonblock:
		k.violate("connect(2) of descriptor %d may wait", fd)
	}
	d := f.dice[1]
	if d.Roll(k.Weights.Fail) {
		k.played("errno")
		atOnce := slices.DeleteFunc(slices.Clone(connectErrnos), func(errno syscall.Errno) bool {
			return errno == syscall.EINPROGRESS || errno == syscall.EALREADY || errno == syscall.EINTR
		})
		return atOnce[d.N(len(atOnce))]
	}
	f.dial, f.failed = &dial{addr: slices.Clone(addr)}, false
	if d.Roll(k.Weights.Fail) {
		k.played("errno")
		f.dial.fail = dialErrnos[d.N(len(dialErrnos))]
	}
	k.note("connecting", f.who())
	return syscall.EINPROGRESS
}

// answered reports that a step may end the connect of f.
func (f *file) answered() bool {
	if f.dial == nil {
		return false
	}
	_, port := keyOf(f.dial.addr)
	return port != SilentPort || f.dial.fail != 0
}

// finishDial ends a connect under way.
func (f *file) finishDial() {
	errno := f.dial.fail
	if errno == 0 {
		errno = f.k.connectFile(f, f.dial.addr)
	}
	f.dial = nil
	if errno != 0 {
		f.err, f.failed = errno, true
		f.k.note("not connected", f.who(), int64(errno))
	}
	f.edge(0)
}

// Connecting counts the connects under way.
func (k *Kernel) Connecting() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		if f.dial != nil {
			n++
		}
	}
	return n
}

// Backlog counts the connections to a port that nobody has accepted.
func (k *Kernel) Backlog(port int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.listeners[inetKey(port)]; l != nil {
		return len(l.queue)
	}
	return 0
}

// takeError returns the pending error of a socket, and clears it.
func (f *file) takeError() (errno syscall.Errno) {
	pending := &f.err
	if f.end != nil {
		pending = &f.end.err
	}
	errno, *pending = *pending, 0
	return errno
}

// SocketError is getsockopt(2), SO_ERROR.
func (k *Kernel) SocketError(fd int) (pending, errno syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "getsockopt(2)")
	if f == nil {
		return 0, syscall.EBADF
	}
	return f.takeError(), 0
}

// SetNonblock sets or clears O_NONBLOCK.
func (k *Kernel) SetNonblock(fd int, on bool) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "fcntl(2)")
	if f == nil {
		return syscall.EBADF
	}
	f.nonblock = on
	return 0
}

// Accept is accept4(2) with SOCK_NONBLOCK, of a listener that does not block. It returns
// the peer's address, too.
func (k *Kernel) Accept(fd int) (sock int, addr []byte, errno syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "accept4(2)")
	switch {
	case f == nil:
		return 0, nil, syscall.EBADF
	case f.kind != kindListen:
		return 0, nil, syscall.EINVAL
	case !f.nonblock:
		k.violate("accept4(2) of descriptor %d may wait", fd)
	}
	if d := f.dice[0]; !k.probing && d.Roll(k.Weights.Fail) {
		k.played("errno")
		errno := acceptErrnos[d.N(len(acceptErrnos))]
		f.kept = f.kept || errno == syscall.EAGAIN
		return 0, nil, errno
	}
	if len(f.queue) == 0 {
		return 0, nil, syscall.EAGAIN
	}
	s := f.accept()
	s.nonblock = true
	return s.fd, inetAddr(FirstPort + s.end.Conn), 0
}

// accept takes a connection from the backlog.
func (f *file) accept() *file {
	end := f.queue[0]
	f.queue = f.queue[1:]
	s := f.k.newFile(kindSocket)
	s.attach(end)
	s.count, s.family = f.count, f.family
	f.k.note("accepted", int64(end.Conn))
	return s
}

// attach makes f the socket of an end.
func (f *file) attach(e *Endpoint) { f.end, e.f = e, f }

// arrived puts a connection into the backlog.
func (f *file) arrived(e *Endpoint) {
	f.queue = append(f.queue, e)
	f.edge(epollIn)
}

// who numbers f in the trace.
func (f *file) who() int64 {
	if f.end != nil {
		return int64(f.end.Conn*2 + f.end.Side)
	}
	return int64(-f.fd)
}
