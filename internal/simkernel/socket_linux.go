package simkernel

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"
)

// The system calls on sockets. Addresses are those of 127.0.0.1: a client has the
// port FirstPort plus the number of its connection.

// FirstPort is the first port of a client.
const FirstPort = 10000

func inetKey(port int) string { return fmt.Sprint("port ", port) }

func inetAddr(port int) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint16(b, syscall.AF_INET)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	copy(b[4:], []byte{127, 0, 0, 1})
	return b
}

// keyOf names an address; the port is 0 for one that has none.
func keyOf(b []byte) (key string, port int) {
	switch binary.NativeEndian.Uint16(b) {
	case syscall.AF_INET, syscall.AF_INET6:
		port = int(binary.BigEndian.Uint16(b[2:]))
		return inetKey(port), port
	}
	return "unix " + string(b[2:]), 0
}

// Socket is socket(2), of a socket that does not block.
func (k *Kernel) Socket(family int) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.newFile(kindSocket)
	f.family, f.nonblock = family, true
	return f.fd, 0
}

// Socketpair is socketpair(2): what one end sends has arrived at once.
func (k *Kernel) Socketpair() (fds [2]int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, b := k.connect()
	a.limit, b.limit = 4<<10, 4<<10
	for i, e := range []*Endpoint{a, b} {
		f := k.newFile(kindSocket)
		f.attach(e)
		f.family = syscall.AF_UNIX
		fds[i] = f.fd
	}
	return fds
}

// Bind is bind(2).
func (k *Kernel) Bind(fd int, addr []byte) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "bind(2)")
	if f == nil {
		return syscall.EBADF
	}
	key, port := keyOf(addr)
	if key == inetKey(0) {
		k.nextPort++
		port = k.nextPort
		key = inetKey(port)
	} else if port == 0 && len(addr) <= 2 {
		k.nextPort++
		key = fmt.Sprint("unix ", k.nextPort)
	}
	if k.listeners[key] != nil {
		return syscall.EADDRINUSE
	}
	f.local = []byte(key)
	f.count = uint64(port)
	return 0
}

// Listen is listen(2).
func (k *Kernel) Listen(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "listen(2)")
	if f == nil {
		return syscall.EBADF
	}
	f.kind = kindListen
	k.listeners[string(f.local)] = f
	return 0
}

func (k *Kernel) connectFile(f *file, addr []byte) syscall.Errno {
	if f.end != nil {
		return syscall.EISCONN
	}
	key, port := keyOf(addr)
	l := k.listeners[key]
	switch {
	case l != nil:
		client, server := k.connect()
		f.attach(client)
		l.arrived(server)
	case k.remote[key]:
		client, server := k.connect()
		server.outside = true
		f.attach(client)
		k.accepted = append(k.accepted, server)
	default:
		return syscall.ECONNREFUSED
	}
	f.count = uint64(port)
	k.note("connected", int64(f.end.Conn))
	return 0
}

// Name is getsockname(2), or getpeername(2).
func (k *Kernel) Name(fd int, peer bool) ([]byte, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "getsockname(2)")
	switch {
	case f == nil:
		return nil, syscall.EBADF
	case f.kind == kindListen && f.count == 0: // on a unix address
		b := append(make([]byte, 2), f.local[len("unix "):]...)
		binary.NativeEndian.PutUint16(b, syscall.AF_UNIX)
		return b, 0
	case f.kind == kindListen:
		return inetAddr(int(f.count)), 0
	case f.end == nil && peer:
		return nil, syscall.ENOTCONN
	case f.end == nil:
		return inetAddr(0), 0
	case peer && (f.end.dead || f.end.peer == nil):
		return nil, syscall.ENOTCONN
	case f.end.Side == 0 != peer:
		return inetAddr(FirstPort + f.end.Conn), 0
	}
	return inetAddr(int(f.count)), 0
}

// Shutdown is shutdown(2).
func (k *Kernel) Shutdown(fd, how int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "shutdown(2)")
	switch {
	case f == nil:
		return syscall.EBADF
	case f.dial != nil: // it ends the connect
		f.dial, f.err = nil, syscall.ECONNRESET
		f.edge(0)
		return 0
	case f.end == nil:
		for _, o := range k.pending {
			if o.f == f && o.s.opcode == opConnect && !o.ended && o.fail == 0 { // it ends a connect under way
				o.fail = syscall.ECONNRESET
				return 0
			}
		}
		return syscall.ENOTCONN
	}
	k.note("shutdown", int64(f.end.Conn), int64(f.end.Side), int64(how))
	return f.end.shutdown(how)
}

// Send is send(2), of a socket that does not block or with MSG_DONTWAIT.
func (k *Kernel) Send(fd int, p []byte, flags int) (int, syscall.Errno) {
	return k.Sendmsg(fd, [][]byte{p}, flags)
}

// Sendmsg is sendmsg(2), likewise.
func (k *Kernel) Sendmsg(fd int, segments [][]byte, flags int) (sent int, errno syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "send(2)")
	switch {
	case f == nil:
		return 0, syscall.EBADF
	case f.err != 0:
		return 0, f.takeError()
	case f.dial != nil:
		return 0, syscall.EAGAIN
	case f.end == nil:
		return 0, syscall.EPIPE
	case !f.nonblock && flags&syscall.MSG_DONTWAIT == 0:
		k.violate("send(2) on descriptor %d may wait", fd)
	}
	for _, o := range k.pending {
		if o.f == f && !o.receives() && o.s.opcode != opPollAdd && o.ring.dead == 0 {
			k.violate("send(2) on descriptor %d while a send is in flight on it", fd)
		}
	}
	k.checkQueued(f, "send(2)", (*op).moves)
	e, d := f.end, f.dice[1]
	if d.Roll(k.Weights.Fail) {
		errno := sendErrnos[d.N(len(sendErrnos))]
		k.note("send fails", int64(e.Conn), int64(errno))
		e.noSpace = e.noSpace || errno == syscall.EAGAIN // an event follows
		return 0, errno
	}
	total := 0
	for _, p := range segments {
		total += len(p)
	}
	most := k.shorten(d, total)
	e.noSpace = e.noSpace || most < total // epoll(7): a short transfer is followed by an event
	for _, p := range segments {
		var n int
		n, errno = e.take(p, most-sent)
		sent += n
		if errno != 0 || n < len(p) || sent == most {
			break
		}
	}
	if sent > 0 {
		errno = 0
	}
	k.note("send", int64(e.Conn), int64(e.Side), int64(sent), int64(errno))
	return sent, errno
}

func (k *Kernel) shorten(d *Dice, n int) int {
	if n > 1 && !k.probing && d.Roll(k.Weights.Short) {
		k.played("short")
		return 1 + d.N(n)
	}
	return n
}

// Recv is recv(2), of a socket that does not block or with MSG_DONTWAIT.
func (k *Kernel) Recv(fd int, p []byte, flags int) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "recv(2)")
	switch {
	case f == nil:
		return 0, syscall.EBADF
	case f.err != 0:
		return 0, f.takeError()
	case f.dial != nil:
		return 0, syscall.EAGAIN
	case f.end == nil:
		return 0, syscall.ENOTCONN
	case !f.nonblock && flags&syscall.MSG_DONTWAIT == 0:
		k.violate("recv(2) on descriptor %d may wait", fd)
	}
	for _, o := range k.pending {
		if o.f == f && o.s.opcode == opRecv && o.ring.dead == 0 {
			k.violate("recv(2) on descriptor %d while a receive is in flight on it", fd)
		}
	}
	k.checkQueued(f, "recv(2)", func(o *op) bool { return o.s.opcode == opRecv })
	d := f.dice[0]
	if d.Roll(k.Weights.Fail) {
		errno := recvErrnos[d.N(len(recvErrnos))]
		f.kept = f.kept || errno == syscall.EAGAIN
		return 0, errno
	}
	n, errno := f.end.give(p, k.shorten(d, len(p)))
	k.note("recv", int64(f.end.Conn), int64(f.end.Side), int64(n), int64(errno))
	return n, errno
}

// Eventfd is eventfd(2).
func (k *Kernel) Eventfd() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.newFile(kindEvent).fd
}

// ReplaceEventfd puts a new eventfd in the place of fd.
func (k *Kernel) ReplaceEventfd(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "dup3(2)")
	if f == nil {
		return syscall.EBADF
	}
	if f.kind == kindRing {
		k.dropRing(f)
	}
	// The requests in flight keep the old one.
	k.files[fd] = &file{k: k, fd: fd, kind: kindEvent, dice: f.dice, wake: make(chan struct{}, 1)}
	return 0
}

// Dup is F_DUPFD of a ring.
func (k *Kernel) Dup(fd int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "fcntl(2)")
	dup := k.newFile(kindRing)
	dup.ring = f.ring
	f.ring.files++
	return dup.fd
}

// Disconnect is connect(2) to AF_UNSPEC.
func (k *Kernel) Disconnect(fd int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.find(fd, "connect(2)"); f != nil && f.end != nil && f.end.peer != nil {
		f.end.peer.resetBy()
	}
}

// Read is read(2) of an eventfd, without waiting.
func (k *Kernel) Read(fd int, p []byte) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "read(2)")
	switch {
	case f == nil:
		return 0, syscall.EBADF
	case f.count == 0:
		return 0, syscall.EAGAIN
	}
	binary.NativeEndian.PutUint64(p, f.count)
	f.count = 0
	return len(p), 0
}

// Write is write(2), to an eventfd or, in a probe, to a socket.
func (k *Kernel) Write(fd int, p []byte) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.find(fd, "write(2)")
	if f == nil {
		return 0, syscall.EBADF
	}
	if f.kind == kindEvent {
		f.count += binary.NativeEndian.Uint64(p)
		signal(f.wake)
		return len(p), 0
	}
	to := f.end.peer
	to.in = append(to.in, p...)
	return len(p), 0
}

// signal puts a token into c unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// PollIn is poll(2) of one descriptor for POLLIN.
func (k *Kernel) PollIn(fd, milliseconds int) bool {
	k.mu.Lock()
	f := k.find(fd, "poll(2)")
	if f == nil {
		k.mu.Unlock()
		return false
	}
	if f.kind == kindRing {
		k.completeAll(f.ring)
		if f.ring.ready() > 0 {
			k.mu.Unlock()
			return true
		}
	} else if f.kind == kindEvent && f.count > 0 || f.kind == kindSocket && f.readiness()&(epollIn|epollHup|epollErr) != 0 {
		k.mu.Unlock()
		return true
	}
	k.mu.Unlock()
	if milliseconds == 0 {
		return false
	}
	t := time.NewTimer(time.Duration(milliseconds) * time.Millisecond)
	defer t.Stop()
	select {
	case <-f.wake:
	case <-t.C:
		return false
	}
	return true
}

// Option is setsockopt(2), and getsockopt(2), of which nothing depends.
func (k *Kernel) Option(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.find(fd, "setsockopt(2)") == nil {
		return syscall.EBADF
	}
	return 0
}
