//go:build linux && !(giouring && (amd64 || arm64 || loong64 || ppc64le || riscv64))

package uring

import (
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// RingImplementation names the ring below: the package's own, or giouring
// under the build tag of that name.
const RingImplementation = "x/sys"

// ring is one io_uring: its memory and its three system calls. It has no
// locks: submission belongs to whoever holds the engine's submission lock,
// completion to whoever holds its completion lock, and enter to anyone.
type ring struct {
	fd       int
	setup    uint32 // flags it was made with
	features uint32

	sqHead, sqTail, sqFlags *uint32
	sqMask, sqEntries       uint32
	sqes                    []sqe
	tail                    uint32 // of the submission queue; ours alone to move

	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe

	memory [][]byte // what mmap gave
}

// newRing makes a ring. Its error is that of io_uring_setup or mmap.
// Reference: io_uring_setup(2).
func newRing(entries, cqEntries, flags uint32) (*ring, error) {
	p := params{flags: flags | setupClamp, cqEntries: cqEntries}
	if cqEntries != 0 {
		p.flags |= setupCQSize
	}
	fd, errno := sysSetup(entries, &p)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &ring{fd: fd, setup: p.flags, features: p.features}
	if err := r.mmap(&p); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *ring) mmap(p *params) error {
	if p.features&featSingleMmap == 0 {
		return os.NewSyscallError("io_uring_setup", syscall.ENOSYS) // before Linux 5.4
	}
	size := max(p.sqOff.array+p.sqEntries*4, p.cqOff.cqes+p.cqEntries*cqeSize)
	rings, err := r.mmapAt(offSQRing, int(size))
	if err != nil {
		return err
	}
	entries, err := r.mmapAt(offSQEs, int(p.sqEntries)*sqeSize)
	if err != nil {
		return err
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[offset])) }
	r.sqHead, r.sqTail, r.sqFlags = word(p.sqOff.head), word(p.sqOff.tail), word(p.sqOff.flags)
	r.sqMask, r.sqEntries = *word(p.sqOff.ringMask), *word(p.sqOff.ringEntries)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&entries[0])), p.sqEntries)
	r.cqHead, r.cqTail = word(p.cqOff.head), word(p.cqOff.tail)
	r.cqMask = *word(p.cqOff.ringMask)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&rings[p.cqOff.cqes])), p.cqEntries)
	if p.flags&setupNoSQArray == 0 {
		array := unsafe.Slice(word(p.sqOff.array), p.sqEntries)
		for i := range array {
			array[i] = uint32(i)
		}
	}
	return nil
}

// mmapAt maps a part of the ring.
func (r *ring) mmapAt(offset int64, size int) ([]byte, error) {
	mem, err := sysMapRing(r.fd, offset, size)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	r.memory = append(r.memory, mem)
	return mem, nil
}

// full reports whether the submission queue has no room.
func (r *ring) full() bool { return r.tail-atomic.LoadUint32(r.sqHead) == r.sqEntries }

// push copies request into the queue, which is not full, and lets the kernel
// see it.
func (r *ring) push(request *sqe) {
	r.sqes[r.tail&r.sqMask] = *request
	r.tail++
	atomic.StoreUint32(r.sqTail, r.tail)
}

// head returns how many requests the kernel has taken since the start. It moves
// only after those requests were issued and, where they ended at once, their
// CQEs posted.
func (r *ring) head() uint32 { return atomic.LoadUint32(r.sqHead) }

// queued yields the requests that the kernel has not taken yet.
func (r *ring) queued(yield func(*sqe) bool) {
	for i := atomic.LoadUint32(r.sqHead); i != r.tail; i++ {
		if !yield(&r.sqes[i&r.sqMask]) {
			return
		}
	}
}

// ready returns how many CQEs wait.
func (r *ring) ready() uint32 { return atomic.LoadUint32(r.cqTail) - atomic.LoadUint32(r.cqHead) }

// peek returns the i-th waiting CQE.
func (r *ring) peek(i uint32) cqe { return r.cqes[(*r.cqHead+i)&r.cqMask] }

// advance gives n CQEs back to the kernel.
func (r *ring) advance(n uint32) { atomic.StoreUint32(r.cqHead, *r.cqHead+n) }

// flags returns the flags of the submission ring.
func (r *ring) flags() uint32 { return atomic.LoadUint32(r.sqFlags) }

// enter submits n SQEs; head says how many were taken. Reference:
// io_uring_enter(2).
func (r *ring) enter(n, minComplete, flags uint32) syscall.Errno {
	return sysEnter(r.fd, n, minComplete, flags)
}

// register is io_uring_register(2).
func (r *ring) register(opcode uint32, arg unsafe.Pointer, n uint32) syscall.Errno {
	return sysRegister(r.fd, opcode, arg, n)
}

// disown has close leave the descriptor alone: it is somebody else's by now.
func (r *ring) disown() { r.fd = -1 }

// close unmaps the ring and closes its descriptor. No request may be in flight.
func (r *ring) close() {
	for _, mem := range r.memory {
		sysUnmapRing(mem)
	}
	r.memory = nil
	if r.fd >= 0 {
		_ = sysClose(r.fd)
	}
}
