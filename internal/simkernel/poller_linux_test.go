package simkernel

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"
)

func (b *bed) ring() *ring {
	b.Helper()
	b.k.features.Setup = setupNoSQArray
	_, errno := b.k.Setup(8, &Params{Flags: setupNoSQArray})
	b.noErrno(errno)
	return b.k.rings[len(b.k.rings)-1]
}

// submit submits requests and returns the completions that are there then, by their
// user data.
func (b *bed) submit(r *ring, requests ...sqe) map[uint64]cqe {
	b.Helper()
	tail := *r.word(wordSQTail)
	for i, s := range requests {
		r.entries[(tail+uint32(i))&(r.sq-1)] = s
	}
	atomic.StoreUint32(r.word(wordSQTail), tail+uint32(len(requests)))
	b.noErrno(b.k.Enter(r.f.fd, uint32(len(requests)), 0, 0, -1))
	results := make(map[uint64]cqe)
	for ; r.ready() > 0; *r.word(wordCQHead)++ {
		c := *(*cqe)(unsafe.Pointer(r.word(wordCQ + 16*(*r.word(wordCQHead)&(r.cq-1)))))
		results[c.userData] = c
	}
	return results
}

func receiving(fd int, buf []byte, userData uint64) sqe {
	return sqe{
		opcode: opRecv, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))), len: uint32(len(buf)),
		opFlags: syscall.MSG_DONTWAIT, userData: userData,
	}
}

func TestReceiveDontwait(t *testing.T) {
	b := newBed(t, Weights{Delay: 1000})
	r := b.ring()
	full, outside := b.connected()
	empty, _ := b.connected()
	outside.Send(10)
	b.rest()
	buf := make([]byte, 16)
	got := b.submit(r, receiving(full, buf[:4], 1), receiving(empty, buf[8:], 2))
	if c := got[1]; c.res != 4 || c.flags != cqeNonempty {
		t.Errorf("a receive of a part: %+v", c)
	}
	if c := got[2]; c.res != -int32(syscall.EAGAIN) || c.flags != 0 {
		t.Errorf("a receive of nothing: %+v", c)
	}
	if c := b.submit(r, receiving(full, buf, 3))[3]; c.res != 6 || c.flags != 0 {
		t.Errorf("a receive of the rest: %+v", c)
	}
	outside.Send(2)
	outside.ShutWrite()
	b.rest()
	if c := b.submit(r, receiving(full, buf, 4))[4]; c.res != 2 || c.flags != 0 {
		t.Errorf("a receive with the end behind it: %+v", c)
	}
	if n := b.k.InFlight(r.f.fd); n != 0 {
		t.Errorf("%d requests are in flight", n)
	}
}

func TestAcceptDontwait(t *testing.T) {
	b := newBed(t, Weights{})
	r := b.ring()
	l := b.socket()
	b.noErrno(b.k.Bind(l, inetAddr(80)))
	b.noErrno(b.k.Listen(l))
	accepting := func(userData uint64) sqe {
		return sqe{opcode: opAccept, fd: int32(l), ioprio: acceptDontwait, opFlags: syscall.SOCK_NONBLOCK, userData: userData}
	}
	if c := b.submit(r, accepting(1))[1]; c.res != -int32(syscall.EAGAIN) {
		t.Errorf("an empty backlog: %+v", c)
	}
	b.k.Outside(80)
	b.k.Outside(80)
	if c := b.submit(r, accepting(2))[2]; c.res <= 0 || c.flags != cqeNonempty {
		t.Errorf("a backlog of two: %+v", c)
	}
	if c := b.submit(r, accepting(3))[3]; c.res <= 0 || c.flags != 0 {
		t.Errorf("a backlog of one: %+v", c)
	}
	b.k.features.AcceptDontwait = false
	if c := b.submit(r, accepting(4))[4]; c.res != -int32(syscall.EINVAL) {
		t.Errorf("on an older kernel: %+v", c)
	}
}

// TestPollerRules breaks the rules that pollers and their callers keep.
func TestPollerRules(t *testing.T) {
	for want, breakIt := range map[string]func(b *bed, r *ring, fd int, buf []byte){
		"outlives the io_uring_enter": func(b *bed, r *ring, fd int, buf []byte) {
			waits := receiving(fd, buf, 2)
			waits.opFlags = 0
			b.noErrno(b.k.SetNonblock(fd, false))
			other, _ := b.connected()
			b.submit(r, receiving(other, buf[8:], 1))
			b.submit(r, waits)
		},
		"two receives are in flight": func(b *bed, r *ring, fd int, buf []byte) {
			b.submit(r, receiving(fd, buf[:8], 1), receiving(fd, buf[8:], 2))
		},
		"two receives write to the same memory": func(b *bed, r *ring, fd int, buf []byte) {
			other, _ := b.connected()
			b.submit(r, receiving(fd, buf, 1), receiving(other, buf[1:], 2))
		},
		"lies in a submission queue": func(b *bed, r *ring, fd int, buf []byte) {
			r.entries[0] = receiving(fd, buf, 1)
			atomic.StoreUint32(r.word(wordSQTail), 1)
			_, _ = b.k.Recv(fd, buf, syscall.MSG_DONTWAIT)
		},
		"may wait": func(b *bed, _ *ring, fd int, buf []byte) {
			b.noErrno(b.k.SetNonblock(fd, false))
			_, _ = b.k.Recv(fd, buf, 0)
		},
		"which does not block": func(b *bed, r *ring, fd int, buf []byte) {
			waits := receiving(fd, buf, 1)
			waits.opFlags = 0
			b.submit(r, waits)
		},
		"which is closed": func(b *bed, _ *ring, fd int, _ []byte) {
			b.noErrno(b.k.Close(fd))
			_ = b.k.EpollAdd(b.epoll, fd, readEvents, 1)
		},
	} {
		t.Run(want, func(t *testing.T) {
			b := newBed(t, Weights{})
			fd, _ := b.connected()
			breakIt(b, b.ring(), fd, make([]byte, 16))
			if got := strings.Join(b.k.Violations(), "; "); !strings.Contains(got, want) || len(b.k.Violations()) != 1 {
				t.Errorf("found out: %q, want %q", got, want)
			}
			b.k.violations = nil
		})
	}
}
