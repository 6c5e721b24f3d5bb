package uring

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// endpoint is what a poller knows of a socket or a listener: its descriptor, and the
// calls that may be parked on it. The kernel keeps one epoll registration of it, from
// the first call that has to wait until Close, and nothing else.
type endpoint struct {
	engine *Engine
	poller *poller
	fd     int32 // from the first registration on
	kind   endpointKind
	// inexact: the ring's word for "there is no more" does not hold here, so that a
	// call is repeated until it finds nothing. It does not hold on unix sockets of older
	// kernels, on unix listeners, and where the application may have changed what a
	// receive is (TCP_ULP), which it can with the descriptor in its hands.
	inexact atomic.Bool

	watched atomic.Uint32 // the events of the registration; 0: there is none
	mu      sync.Mutex    // guards changes of that
	token   uint64

	read  direction // of a listener: its accepts
	write direction

	remote *rawAddr // of a connection that a listener accepts; the holder of the read gate owns it
}

type endpointKind uint8

const (
	stream endpointKind = iota
	listening
)

// The events of a registration. A writer seldom waits, and a unix socket would tell of
// room for every message that the peer takes.
const (
	eventsRead = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1)
	eventsRoom = eventsRead | unix.EPOLLOUT
)

// watch registers ep, if it is not, for events. What is ready already comes as an event
// at once.
func (ep *endpoint) watch(fd int32, events uint32) error {
	if ep.watched.Load()&events == events {
		return nil
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	p := ep.poller
	switch had := ep.watched.Load(); {
	case had&events == events:
		return nil
	case had != 0:
		if err := sysEpollModify(p.epoll, int(fd), events, ep.token); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	default:
		ep.fd = fd
		token, ok := p.endpoints.add(ep)
		if !ok {
			return os.NewSyscallError("epoll_ctl", syscall.ENFILE)
		}
		if err := sysEpollAdd(p.epoll, int(fd), events, token); err != nil {
			p.endpoints.remove(token)
			return os.NewSyscallError("epoll_ctl", err)
		}
		ep.token = token
	}
	ep.watched.Store(events)
	return nil
}

// forget ends the registration, before the descriptor is closed or given away. stays:
// somebody else has the socket too. No call is parked.
func (ep *endpoint) forget(stays bool) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.watched.Swap(0) == 0 {
		return
	}
	ep.poller.endpoints.remove(ep.token)
	if stays { // else close(2) takes it out
		sysEpollDelete(ep.poller.epoll, int(ep.fd))
	}
}

// abort refuses calls from here on, and ends those that wait.
func (ep *endpoint) abort() {
	for _, d := range []*direction{&ep.read, &ep.write} {
		d.stopDeadline()
		d.abort(abortClosed)
	}
}

// giveBack returns what the engine has lent. No call is parked, or will be.
func (ep *endpoint) giveBack() {
	for _, d := range []*direction{&ep.read, &ep.write} {
		ep.engine.wakers.put(d.waker)
		d.waker = nil
	}
}

// lockBoth takes the gates of both directions, which waits for the calls in them. They
// have been aborted. The error is that of a data handler, which cannot wait.
func (ep *endpoint) lockBoth() error {
	if err := ep.read.gate.lock(ep.engine); err != nil {
		return err
	}
	if err := ep.write.gate.lock(ep.engine); err != nil {
		ep.read.gate.unlock()
		return err
	}
	return nil
}

func (ep *endpoint) unlockBoth() {
	ep.write.gate.unlock()
	ep.read.gate.unlock()
}

// receiveLimit is how much the poller may have to copy for a parked reader: as much as
// the last receive brought, if the buffer has room. More than that its own reader copies,
// on the reader's P, while the poller goes on.
const receiveLimit = 16 << 10

// request describes the system call of the parked call that the poller has taken, or
// reports that the call makes it better itself.
func (ep *endpoint) request(r *sqe, used Features) bool {
	*r = sqe{fd: ep.fd}
	if ep.kind == listening {
		if !used.Has(FeatureAcceptDontwait) {
			return false
		}
		ep.remote.len = unix.SizeofSockaddrAny
		r.opcode, r.ioprio = opAccept, acceptDontwait
		r.addr, r.off = ep.remote.address(), uint64(uintptr(unsafe.Pointer(&ep.remote.len)))
		r.opFlags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
		return true
	}
	buf := ep.read.buf
	if len(buf) == 0 || min(len(buf), ep.read.last) > receiveLimit {
		return false
	}
	r.opcode, r.addr, r.len, r.opFlags = opRecv, address(buf), length(buf), unix.MSG_DONTWAIT
	return true
}

// finish gives the parked call the result of its request.
func (ep *endpoint) finish(c cqe) {
	ep.read.finish(c.res, c.res <= 0 || c.flags&cqeSockNonempty != 0 || ep.inexact.Load())
}

// endpointTable finds endpoints by the token of their events: slot and generation, so
// that a late event of a closed socket finds nothing. Looking up takes no lock.
type endpointTable struct {
	mu     sync.Mutex
	free   []uint32
	used   uint32
	chunks [1 << (slotBits - chunkBits)]atomic.Pointer[endpointChunk]
}

const chunkBits = 10

type endpointSlot struct {
	gen      atomic.Uint32
	endpoint atomic.Pointer[endpoint]
}

type endpointChunk [1 << chunkBits]endpointSlot

// slot returns the place with a number, or nil if there is none yet.
func (t *endpointTable) slot(n uint32) *endpointSlot {
	chunk := t.chunks[n&slotMask>>chunkBits].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[n&(1<<chunkBits-1)]
}

// add gives ep a token; false when all slots are taken.
func (t *endpointTable) add(ep *endpoint) (token uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n uint32
	if last := len(t.free) - 1; last >= 0 {
		n, t.free = t.free[last], t.free[:last]
	} else if t.used > slotMask {
		return 0, false
	} else {
		n = t.used
		t.used++
		if chunk := &t.chunks[n>>chunkBits]; chunk.Load() == nil {
			chunk.Store(new(endpointChunk))
		}
	}
	s := t.slot(n)
	gen := s.gen.Add(1)
	s.endpoint.Store(ep)
	return uint64(n) | uint64(gen)<<32, true
}

func (t *endpointTable) remove(token uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.slot(uint32(token))
	s.endpoint.Store(nil)
	s.gen.Add(1)
	t.free = append(t.free, uint32(token))
}

// find returns the endpoint of a token, or nil if it has gone.
func (t *endpointTable) find(token uint64) *endpoint {
	s := t.slot(uint32(token))
	if s == nil {
		return nil
	}
	ep := s.endpoint.Load()
	if s.gen.Load() != uint32(token>>32) {
		return nil
	}
	return ep
}
