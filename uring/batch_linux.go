package uring

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
)

// batch makes the system calls of parked callers, many by one io_uring_enter. It
// belongs to its poller's goroutine.
//
// There is no ring on kernels that cannot say whether a socket has more, nor while one
// that failed is not replaced. Then callers make their calls themselves.
type batch struct {
	engine  *Engine
	ring    *ring // nil: callers make their calls
	gen     uint32
	entries [batchSize]*endpoint // taken, by the slot in the user_data; nil: finished
	queued  int
	pushed  uint32 // requests put into the ring since it was made
	renewAt int64  // by the clock: when a ring that failed may be replaced
	lost    string // why it failed

	enters, submitted, completed, ringsLost atomic.Uint64
	waited                                  atomic.Int64 // requests that wait in the kernel: none
}

// open makes the ring, if it is of use here.
func (b *batch) open() error {
	used := b.engine.used
	if !used.Has(FeatureSockNonempty) {
		return nil
	}
	r, err := newRingThatFits(batchSize, setupFlags(used)|setupRestricted(used))
	if err != nil {
		return err
	}
	if err := r.enable(allowedBatch(used)); err != nil {
		r.close()
		return err
	}
	b.ring, b.pushed = r, 0
	return nil
}

// die gives up a ring that failed. No connection notices: callers make their calls
// themselves until there is a new one.
func (b *batch) die(cause error) {
	if isForeign(&RingLostError{Err: cause}) {
		b.ring.disown()
	}
	b.close()
	b.renewAt = clock() + int64(renewEvery)
	b.ringsLost.Add(1)
	b.tellLost(cause)
}

// tellLost calls Events.RingLost, unless it would say the same again.
func (b *batch) tellLost(cause error) {
	if b.lost != cause.Error() {
		b.lost = cause.Error()
		b.engine.tellLost(&RingLostError{Err: cause})
	}
}

func (b *batch) close() {
	if b.ring != nil {
		b.ring.close()
		b.ring = nil
	}
}

// usable reports that calls may be taken.
func (b *batch) usable() bool {
	if b.ring == nil && b.renewAt != 0 && clock() >= b.renewAt {
		b.renewAt = clock() + int64(renewEvery)
		if err := b.open(); err != nil {
			b.tellLost(err)
		}
	}
	return b.ring != nil
}

// add puts the call of ep, which is taken, into the batch.
func (b *batch) add(ep *endpoint) {
	var request sqe
	if b.ring == nil || !ep.request(&request, b.engine.used) {
		ep.read.release()
		return
	}
	if b.ring.full() || b.queued == batchSize {
		b.run()
		if b.ring == nil {
			ep.read.release()
			return
		}
	}
	request.userData = userData(uint32(b.queued), b.gen)
	b.entries[b.queued] = ep
	b.queued++
	b.ring.push(&request)
	b.pushed++
}

// run makes the calls of the batch and wakes their callers.
func (b *batch) run() {
	if b.queued == 0 {
		return
	}
	err := b.submit()
	if err != nil {
		b.die(err) // before callers go on: what was not submitted never will be
	}
	for i, ep := range b.entries[:b.queued] {
		if ep != nil { // the kernel has not seen it
			b.entries[i] = nil
			ep.read.release()
		}
	}
	b.queued = 0
	b.gen++
}

// submit has the kernel take the whole batch, and takes the results. The error is why
// the ring is of no more use.
func (b *batch) submit() error {
	const attempts = 100
	b.submitted.Add(uint64(b.queued))
	for left, attempt := b.queued, 0; ; attempt++ {
		b.enters.Add(1)
		errno := b.ring.enter(b.pushed-b.ring.head(), 0, 0)
		if left -= b.harvest(); left == 0 {
			return nil
		}
		switch errno {
		case 0, syscall.EINTR:
			if b.pushed == b.ring.head() {
				return b.endWaiting(left)
			}
		case syscall.EAGAIN, syscall.EBUSY: // memory is short
			if attempt == attempts {
				return os.NewSyscallError("io_uring_enter", errno)
			}
			runtime.Gosched()
		default:
			return os.NewSyscallError("io_uring_enter", errno)
		}
	}
}

var errWaited = errors.New("a request waits in the kernel that was not to")

// endWaiting ends requests that the kernel has taken and not completed, which none does
// that keeps to MSG_DONTWAIT. Their buffers are the kernel's until then.
func (b *batch) endWaiting(left int) error {
	for _, ep := range b.entries[:b.queued] {
		if ep != nil {
			_ = sysShutdown(int(ep.fd), syscall.SHUT_RDWR)
		}
	}
	for left > 0 {
		b.waited.Store(int64(left))
		if errno := sysEnterWaiting(b.ring.fd, 0, 1, enterGetEvents); errno != 0 && errno != syscall.EINTR {
			break
		}
		left -= b.harvest()
	}
	b.waited.Store(int64(left))
	return errWaited
}

// harvest takes the results that are there.
func (b *batch) harvest() (n int) {
	r := b.ring
	ready := r.ready()
	for i := range ready {
		c := r.peek(i)
		slot := uint32(c.userData>>32) & slotMask
		if uint32(c.userData) != b.gen || int(slot) >= b.queued || b.entries[slot] == nil {
			continue
		}
		ep := b.entries[slot]
		b.entries[slot] = nil
		ep.finish(c)
		n++
	}
	r.advance(ready)
	b.completed.Add(uint64(n))
	return n
}
