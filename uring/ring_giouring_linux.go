//go:build linux && giouring && (amd64 || arm64 || loong64 || ppc64le || riscv64)

// The platforms are those that giouring is right on: 64 bits, little-endian,
// with the generic system call numbers. On others the tag changes nothing.

package uring

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// RingImplementation names the ring below: the package's own, or giouring
// under the build tag of that name.
const RingImplementation = "giouring"

// ring is one io_uring, made and entered by giouring. As to locks it is what
// the package's own ring is: submission belongs to whoever holds the engine's
// submission lock, completion to whoever holds its completion lock, and enter
// to anyone.
//
// Of giouring only these are used: QueueInitParams, GetSQE, CQAdvance, Enter2,
// Register and QueueExit. Its Submit publishes requests only while it enters
// the kernel, and one thread's Submit would race with another's GetSQE; its
// Peek and Wait calls enter the kernel when they please.
type ring struct {
	fd       int
	setup    uint32 // flags it was made with
	features uint32

	giouring  *giouring.Ring
	sq        *giouringSQ
	cq        *giouringCQ
	sqEntries uint32
	cqMask    uint32
	sqes      []sqe
	cqes      []cqe
}

// What giouring keeps to itself, laid out as it has it, field by field: there
// is no other way to publish a request without entering the kernel, or to read
// the queue's flags. giouring is at its last version, so the layout will not
// move; a test compares it by reflection all the same.
type (
	giouringSQ struct {
		head, tail, ringMask, ringEntries, flags, dropped, array *uint32

		sqes             *sqe
		ringSize         uint
		ringPtr          unsafe.Pointer
		sqeHead, sqeTail uint32
		pad              [2]uint32
	}

	giouringCQ struct {
		head, tail, ringMask, ringEntries, flags, overflow *uint32

		cqes     *cqe
		ringSize uint
		ringPtr  unsafe.Pointer
		pad      [2]uint32
	}

	giouringRing struct {
		sqRing      *giouringSQ
		cqRing      *giouringCQ
		flags       uint32
		ringFd      int
		features    uint32
		enterRingFd int
		intFlags    uint8
		pad         [3]uint8
		pad2        uint32
	}
)

// errNoSQArray answers for a flag that giouring does not know of: it would
// write its array of indices over the ring's head. So the probe never finds
// FeatureNoSQArray, and no ring is made with it.
var errNoSQArray = errors.New("giouring always writes the array of indices")

// newRing makes a ring. Its error is that of io_uring_setup or mmap.
// Reference: io_uring_setup(2).
func newRing(entries, cqEntries, flags uint32) (*ring, error) {
	if flags&setupNoSQArray != 0 {
		return nil, errNoSQArray
	}
	// giouring.Params has no exported field, and ours is the same struct.
	p := params{flags: flags | setupClamp, cqEntries: cqEntries}
	if cqEntries != 0 {
		p.flags |= setupCQSize
	}
	g := giouring.NewRing()
	if err := g.QueueInitParams(entries, (*giouring.Params)(unsafe.Pointer(&p))); err != nil {
		return nil, os.NewSyscallError("io_uring_setup", err)
	}
	inner := (*giouringRing)(unsafe.Pointer(g))
	sq, cq := inner.sqRing, inner.cqRing
	r := &ring{
		fd: g.RingFd(), setup: p.flags, features: p.features, giouring: g,
		sq: sq, cq: cq, sqEntries: *sq.ringEntries, cqMask: *cq.ringMask,
		sqes: unsafe.Slice(sq.sqes, p.sqEntries), cqes: unsafe.Slice(cq.cqes, p.cqEntries),
	}
	r.dontFork()
	return r, nil
}

// dontFork keeps the ring's memory from a forked child. giouring's RingDontFork
// takes success for an error and stops half way.
func (r *ring) dontFork() {
	_ = unix.Madvise(unsafe.Slice((*byte)(r.sq.ringPtr), r.sq.ringSize), unix.MADV_DONTFORK)
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(r.sq.sqes)), len(r.sqes)*sqeSize), unix.MADV_DONTFORK)
}

// full reports whether the submission queue has no room.
func (r *ring) full() bool { return r.sq.sqeTail-atomic.LoadUint32(r.sq.head) == r.sqEntries }

// push copies request into the queue, which is not full, and lets the kernel
// see it. All 64 bytes are written: giouring leaves in an entry what the
// request before put there.
func (r *ring) push(request *sqe) {
	*(*sqe)(unsafe.Pointer(r.giouring.GetSQE())) = *request
	atomic.StoreUint32(r.sq.tail, r.sq.sqeTail)
}

// head returns how many requests the kernel has taken since the start. It moves
// only after those requests were issued and, where they ended at once, their
// CQEs posted.
func (r *ring) head() uint32 { return atomic.LoadUint32(r.sq.head) }

// queued yields the requests that the kernel has not taken yet.
func (r *ring) queued(yield func(*sqe) bool) {
	for i := atomic.LoadUint32(r.sq.head); i != r.sq.sqeTail; i++ {
		if !yield(&r.sqes[i&(r.sqEntries-1)]) {
			return
		}
	}
}

// ready returns how many CQEs wait. giouring's CQReady reads the head without
// an atomic load, and anyone may ask.
func (r *ring) ready() uint32 { return atomic.LoadUint32(r.cq.tail) - atomic.LoadUint32(r.cq.head) }

// peek returns the i-th waiting CQE.
func (r *ring) peek(i uint32) cqe { return r.cqes[(*r.cq.head+i)&r.cqMask] }

// advance gives n CQEs back to the kernel.
func (r *ring) advance(n uint32) { r.giouring.CQAdvance(n) }

// flags returns the flags of the submission ring.
func (r *ring) flags() uint32 { return atomic.LoadUint32(r.sq.flags) }

// enter submits n SQEs; head says how many were taken. Reference:
// io_uring_enter(2).
func (r *ring) enter(n, minComplete, flags uint32) syscall.Errno {
	_, err := r.giouring.Enter2(n, minComplete, flags, nil, 0)
	errno, _ := err.(syscall.Errno)
	return errno
}

// register is io_uring_register(2).
func (r *ring) register(opcode uint32, arg unsafe.Pointer, n uint32) syscall.Errno {
	_, errno := r.giouring.Register(r.fd, opcode, arg, n)
	return errno
}

// disown has close leave the descriptor alone: it is somebody else's by now.
func (r *ring) disown() { (*giouringRing)(unsafe.Pointer(r.giouring)).ringFd = -1 }

// close unmaps the ring and closes its descriptor. No request may be in flight.
func (r *ring) close() { r.giouring.QueueExit() }
