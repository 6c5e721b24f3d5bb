package load

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring for one thread. Package uring has one too, but a
// generator shares no code with what it measures: an error in both would not
// show.
type ring struct {
	fd int

	sqHead, sqTail, sqFlags *uint32
	sqMask                  uint32
	sqes                    []sqe
	limit                   uint32 // how many of them are used at a time
	tail                    uint32 // of the submission queue
	entered                 uint32 // the tail that the kernel was told of

	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe

	memory  [][]byte // what mmap gave
	timeout timespec
	wait    eventsArg // for enter; it points to timeout
}

// errNoRing is that io_uring, or what is used of it, is not to be had here.
var errNoRing = errors.New("io_uring is not available here: it needs Linux 6.1 or later, no seccomp filter and no kernel.io_uring_disabled against it, and memory that may be locked (ulimit -l); or choose another driver")

// newRing makes a ring that runs what completes when its thread enters the
// kernel, and not otherwise. It must be used on the thread that calls this.
// Reference: io_uring_setup(2).
func newRing(entries, cqEntries int) (*ring, error) {
	p := params{
		flags:     setupCQSize | setupClamp | setupTaskrunFlag | setupSingleIssuer | setupDeferTaskrun,
		cqEntries: uint32(cqEntries),
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("%w: %w", errNoRing, os.NewSyscallError("io_uring_setup", errno))
	}
	r := &ring{fd: int(fd)}
	r.wait = eventsArg{timeout: uint64(uintptr(unsafe.Pointer(&r.timeout)))}
	if err := r.mmap(&p); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errNoRing, err), r.close())
	}
	return r, nil
}

func (r *ring) mmap(p *params) error {
	size := max(p.sqOff.array+p.sqEntries*4, p.cqOff.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	rings, err := r.mmapAt(offSQRing, int(size))
	if err != nil {
		return err
	}
	entries, err := r.mmapAt(offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})))
	if err != nil {
		return err
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[offset])) }
	r.sqHead, r.sqTail, r.sqFlags, r.sqMask = word(p.sqOff.head), word(p.sqOff.tail), word(p.sqOff.flags), *word(p.sqOff.ringMask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&entries[0])), p.sqEntries)
	r.limit = p.sqEntries
	r.cqHead, r.cqTail, r.cqMask = word(p.cqOff.head), word(p.cqOff.tail), *word(p.cqOff.ringMask)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&rings[p.cqOff.cqes])), p.cqEntries)
	for i, array := 0, unsafe.Slice(word(p.sqOff.array), p.sqEntries); i < len(array); i++ {
		array[i] = uint32(i)
	}
	return nil
}

func (r *ring) mmapAt(offset int64, size int) ([]byte, error) {
	mem, err := unix.Mmap(r.fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	r.memory = append(r.memory, mem)
	return mem, nil
}

// request returns the next entry of the submission queue, cleared. If the queue
// is full, it submits what is there.
func (r *ring) request() (*sqe, error) {
	if r.tail-r.entered >= r.limit {
		if errno := r.enter(0, 0); errno != 0 {
			return nil, os.NewSyscallError("io_uring_enter", errno)
		}
	}
	e := &r.sqes[r.tail&r.sqMask]
	r.tail++
	*e = sqe{}
	return e, nil
}

// waiting returns how many completions wait, and whether the kernel would have
// more if it was entered.
func (r *ring) waiting() (n uint32, more bool) {
	return atomic.LoadUint32(r.cqTail) - *r.cqHead, atomic.LoadUint32(r.sqFlags)&(sqTaskrun|sqCQOverflow) != 0
}

// enter submits all requests, and has the kernel complete what it can. With a
// wait it waits until n completions are there, at most for d. Reference:
// io_uring_enter(2).
func (r *ring) enter(n int, d time.Duration) syscall.Errno {
	atomic.StoreUint32(r.sqTail, r.tail)
	for {
		submit := r.tail - r.entered
		var taken uintptr
		var errno syscall.Errno
		if n == 0 || d == 0 {
			taken, _, errno = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), 0, enterGetEvents, 0, 0)
		} else {
			r.timeout = newTimespec(d)
			taken, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), uintptr(n),
				enterGetEvents|enterExtArg, uintptr(unsafe.Pointer(&r.wait)), unsafe.Sizeof(r.wait))
		}
		if errno == 0 {
			r.entered += uint32(taken)
		}
		// A bad request ends a batch early; it has its own completion.
		if errno != 0 || r.entered == r.tail {
			return errno
		}
	}
}

func (r *ring) register(opcode int, arg unsafe.Pointer, n int) syscall.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), uintptr(opcode), uintptr(arg), uintptr(n), 0, 0)
	return errno
}

func (r *ring) close() error {
	for _, mem := range r.memory {
		_ = unix.Munmap(mem)
	}
	r.memory = nil
	return os.NewSyscallError("close", unix.Close(r.fd))
}
