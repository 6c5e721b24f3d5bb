package uring

import (
	"cmp"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// parked is one ring for any number of goroutines with blocking calls.
//
// A goroutine puts its request into the submission queue and waits. The one
// whose request is the first of a batch is the flusher: it yields once, so that
// every goroutine that can run adds its own request, then enters the kernel
// once for all of them and harvests what is done at once. What completes later
// is harvested by the reaper, a goroutine that waits for the ring's descriptor
// in Go's own netpoller, so that no thread is parked.
type parked struct {
	ring     *ring
	used     Features
	busyPoll time.Duration

	mu        sync.Mutex // submission: the SQ, and the aborts of each op
	submitted uint64     // requests published since the start
	taken     uint64     // how many of them a flusher has taken on
	quiet     []quietOp  // those taken on by none yet that post no CQE on success
	spare     [][]quietOp
	alone     int   // batches of a single request, in a row
	dead      error // the ring is of no more use
	onDeath   func(error)

	harvestMu sync.Mutex // completion: the CQ
	completed uint64     // requests that ended
	missed    []uint64   // user_data of cancels whose requests have not ended
	found     bool       // one of them has found its request
	retrying  bool       // cancelAgain runs
	buried    bool       // it died: nobody takes completions any more but bury
	retries   sync.WaitGroup

	overflows, resubmitted, enters, wakeups, spins, spinsLost atomic.Uint64

	spinning atomic.Bool
	crowd    crowd
	lost     atomic.Bool // dead is set: for those who choose a ring

	ops opTable

	watch      *ringWatch // wakes the reaper
	reaperDone chan struct{}
	gone       chan struct{} // closed when a ring that died is buried
	closing    sync.Once
}

// park starts the reaper of r.
func park(r *ring, used Features, busyPoll time.Duration) (*parked, error) {
	p := &parked{ring: r, used: used, busyPoll: busyPoll, reaperDone: make(chan struct{}), gone: make(chan struct{})}
	var err error
	if p.watch, err = watchRing(r.fd); err != nil {
		r.close()
		return nil, err
	}
	go p.reap()
	return p, nil
}

// close ends the reaper and frees the ring, once. No op is in flight, and calls that
// come later are refused.
func (p *parked) close() {
	if p.lost.Load() {
		<-p.gone
	}
	p.closing.Do(func() {
		p.watch.stop() // ends the reaper
		<-p.reaperDone
		p.retries.Wait()
		p.mu.Lock()
		if isForeign(p.dead) {
			p.ring.disown()
		}
		if p.dead == nil {
			p.dead = net.ErrClosed
		}
		p.mu.Unlock()
		p.ring.close()
	})
}

func (p *parked) addOp(o *op) bool {
	o.wake = make(chan struct{}, 1)
	return p.ops.add(o)
}

// submit publishes o's request and sees to it that the kernel gets it. It
// refuses, with the cause, an op that is aborted.
func (p *parked) submit(o *op) error {
	p.lockWithRoom()
	if err := cmp.Or(o.refusal(), p.dead); err != nil {
		p.mu.Unlock()
		return err
	}
	gen := o.gen.Add(1)
	o.sqe.userData = userData(o.slot, gen)
	o.state.Store(opSubmitted)
	if o.sqe.flags&sqeSkipSuccess != 0 {
		p.quiet = append(p.quiet, quietOp{o, gen})
	}
	first := p.push(&o.sqe)
	p.mu.Unlock()
	if first {
		p.gather()
		p.flush()
	}
	return nil
}

// aloneAfter is how many batches of one request make a ring that is used by one
// goroutine at a time.
const aloneAfter = 4

// isAlone reports whether a request of o would be in a batch of its own, as the
// last ones were. The error is why o must not run.
func (p *parked) isAlone(o *op) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	alone := p.alone >= aloneAfter && p.taken == p.submitted || p.crowd.isHere()
	return alone, cmp.Or(o.refusal(), p.dead)
}

// lockWithRoom takes the submission lock at a time when the queue has room for
// one request.
func (p *parked) lockWithRoom() {
	p.mu.Lock()
	for p.dead == nil && p.ring.full() {
		p.mu.Unlock()
		p.flush()
		p.mu.Lock()
	}
}

// push publishes one request and reports whether it is the first of a batch,
// which makes the caller the flusher. The submission lock is held, with room.
func (p *parked) push(request *sqe) (first bool) {
	first = p.taken == p.submitted
	p.ring.push(request)
	p.submitted++
	return first
}

// flush submits all that is published and harvests what is done at once.
func (p *parked) flush() {
	p.mu.Lock()
	target := p.submitted
	if target-p.taken == 1 {
		p.alone++
	} else if target != p.taken {
		p.alone = 0
	}
	p.taken = target
	quiet := p.quiet
	if len(quiet) > 0 {
		p.quiet = nil
		if n := len(p.spare); n > 0 {
			p.quiet, p.spare = p.spare[n-1], p.spare[:n-1]
		}
	}
	p.mu.Unlock()
	p.enterUpTo(uint32(target))
	if len(quiet) > 0 {
		p.harvestMu.Lock()
		p.harvest(quiet)
		p.giveBack(quiet)
		return
	}
	// When the lock is taken, its holder goes on until the queue is empty, or
	// the ring's descriptor wakes the reaper for what comes after.
	if p.ring.ready() > 0 && p.harvestMu.TryLock() {
		p.harvest(nil)
	}
}

// giveBack keeps the memory of a list of quiet ops for later flushers.
func (p *parked) giveBack(quiet []quietOp) {
	clear(quiet)
	p.mu.Lock()
	p.spare = append(p.spare, quiet[:0])
	p.mu.Unlock()
}

// maxPerEnter bounds how many requests one system call submits: it keeps its P,
// and the kernel's lock of the ring, for as long as they take.
const maxPerEnter = 64

// enterUpTo submits the requests that were published before target, whoever
// published them. The kernel takes fewer at a time when it lacks memory or
// when the completion queue is full: then there is something to harvest first.
func (p *parked) enterUpTo(target uint32) {
	for {
		left := int32(target - p.ring.head())
		if left <= 0 {
			return
		}
		switch errno := p.enter(min(uint32(left), maxPerEnter), 0); errno {
		case 0, syscall.EINTR:
		case syscall.EAGAIN, syscall.EBUSY:
			p.harvestMu.Lock()
			p.harvest(nil)
			runtime.Gosched()
		default:
			p.die(os.NewSyscallError("io_uring_enter", errno))
			return
		}
	}
}

func (p *parked) enter(n, flags uint32) syscall.Errno {
	p.enters.Add(1)
	return p.ring.enter(n, 0, flags)
}

// reap waits for completions in the netpoller until Close, or until the ring is lost.
func (p *parked) reap() {
	defer close(p.reaperDone)
	p.watch.each(func() {
		p.wakeups.Add(1)
		p.harvestMu.Lock() // not TryLock: an event comes once
		p.harvest(nil)
	})
}

// harvestBatch is how many CQEs are taken before their waiters are woken.
const harvestBatch = 128

// harvest takes every CQE that is there, then wakes those who wait for them:
// drain first, act after. It is called with harvestMu and lets go of it. On a ring
// that is buried it does nothing.
//
// The ops of quiet have been submitted by the caller, and their failures posted
// before that returned. So those that are still waiting when no CQE is left
// have succeeded.
func (p *parked) harvest(quiet []quietOp) {
	var wake [harvestBatch]*op
	for {
		if p.buried {
			p.harvestMu.Unlock()
			return
		}
		sleepers, more := p.drain(&wake)
		if !more {
			sleepers, quiet = p.finishQuiet(quiet, &wake, sleepers)
			more = len(quiet) > 0
		}
		if len(p.missed) > 0 && !p.retrying {
			p.retrying = true
			p.retries.Go(p.cancelAgain)
		}
		p.harvestMu.Unlock()
		for _, o := range wake[:sleepers] {
			o.wake <- struct{}{}
		}
		if !more {
			return
		}
		if p.ring.flags()&sqCQOverflow != 0 {
			p.flushOverflow()
		}
		p.harvestMu.Lock()
	}
}

// quietOp is an op whose request posts no CQE when it succeeds at once.
type quietOp struct {
	op  *op
	gen uint32
}

// finishQuiet ends the ops of quiet that have not failed, as far as wake has
// room for those whose waiters sleep, and returns the rest.
func (p *parked) finishQuiet(quiet []quietOp, wake *[harvestBatch]*op, sleepers int) (int, []quietOp) {
	for i, q := range quiet {
		if sleepers == len(wake) {
			return sleepers, quiet[i:]
		}
		if q.op.gen.Load() != q.gen || q.op.state.Load() == opDone {
			continue // it failed, and has perhaps been submitted again
		}
		p.completed++
		if q.op.finish(q.op.quietResult) {
			wake[sleepers] = q.op
			sleepers++
		}
	}
	return sleepers, nil
}

// drain takes up to a batch of CQEs and collects the ops whose waiters sleep.
func (p *parked) drain(wake *[harvestBatch]*op) (sleepers int, more bool) {
	r := p.ring
	// The flag before the queue: who clears it moves completions into the queue.
	overflowed := r.flags()&sqCQOverflow != 0
	n := min(r.ready(), harvestBatch)
	for i := range n {
		c := r.peek(i)
		p.completed++
		if c.userData&kindMask != kindOp {
			if c.userData&kindMask == kindCancel {
				p.cancelled(c)
			}
			continue
		}
		if o := p.ops.lookup(c.userData); o != nil && o.finish(c.res) {
			wake[sleepers] = o
			sleepers++
		}
	}
	r.advance(n)
	return sleepers, overflowed || r.ready() > 0
}

// flushOverflow asks the kernel for the completions that did not fit in the
// queue. None is lost meanwhile (IORING_FEAT_NODROP).
func (p *parked) flushOverflow() {
	p.overflows.Add(1)
	p.getEvents()
}

// getEvents enters only for completions: those that overflowed, and those that
// the kernel holds back until this thread enters. It does not wait.
func (p *parked) getEvents() {
	switch errno := p.enter(0, enterGetEvents); errno {
	case 0, syscall.EINTR, syscall.EAGAIN, syscall.EBUSY:
	default:
		p.die(os.NewSyscallError("io_uring_enter", errno)) // EBADR: a completion is lost
	}
}

// finish records a CQE and reports whether the waiter sleeps.
func (o *op) finish(res int32) (asleep bool) {
	o.res = res
	return o.state.Swap(opDone) == opParked
}

// wait waits for the CQE of o. o.res is valid after.
func (p *parked) wait(o *op, spin bool) {
	if o.state.Load() != opDone && (!spin || !p.spin(o)) {
		if o.state.CompareAndSwap(opSubmitted, opParked) {
			<-o.wake
		}
	}
}

// run submits o until it ends for a reason of its own, and returns its result,
// or an errno, or why it was aborted. Codes that only io_uring has stay here.
func (p *parked) run(o *op, spin bool) (int32, error) {
	for again := false; ; again = true {
		if err := p.submit(o); err != nil {
			return 0, err
		}
		if again {
			p.resubmitted.Add(1)
		}
		p.wait(o, spin)
		if o.res >= 0 {
			return o.res, nil
		}
		switch errno := syscall.Errno(-o.res); errno {
		case syscall.ECANCELED, syscall.EINTR:
			// If this was our abort, submit refuses. Else nobody asked for it: the
			// thread that submitted it has ended.
		case syscall.EAGAIN:
			if err := p.waitReady(o, spin); err != nil {
				return 0, err
			}
		default:
			return 0, p.causeOf(errno)
		}
	}
}

// waitReady waits until o's socket is ready for o's request, which the kernel
// refused to wait for itself: the socket is non-blocking, or memory was short.
func (p *parked) waitReady(o *op, spin bool) error {
	request := o.sqe
	events := uint32(unix.POLLIN)
	if request.opcode != opRecv && request.opcode != opAccept {
		events = unix.POLLOUT
	}
	_, err := p.poll(o, request.fd, events, spin)
	o.sqe = request
	return err
}

// poll waits for events on fd, in the place of o's own request.
func (p *parked) poll(o *op, fd int32, events uint32, spin bool) (int32, error) {
	o.sqe = sqe{opcode: opPollAdd, fd: fd, opFlags: pollEvents(events)}
	return p.run(o, spin)
}

// abort makes o end with cause: a request in flight is cancelled, later ones
// are refused until allow.
func (p *parked) abort(o *op, kind abortKind, cause error) {
	p.lockWithRoom()
	o.aborts[kind] = cause
	inFlight := p.cancel(o)
	p.mu.Unlock()
	if inFlight {
		p.flush()
	}
}

// cancel publishes a cancel of o's request, if it is in flight. The submission
// lock is held, with room.
func (p *parked) cancel(o *op) (inFlight bool) {
	state := o.state.Load()
	if state != opSubmitted && state != opParked || p.dead != nil {
		return false
	}
	// The queue keeps its order, so the request is submitted before this.
	data := userData(o.slot, o.gen.Load())
	p.push(&sqe{opcode: opAsyncCancel, addr: data, userData: kindCancel | data})
	return true
}

// cancelled handles the completion of a cancel. harvestMu is held.
func (p *parked) cancelled(c cqe) {
	if o := p.ops.lookup(c.userData); o != nil && o.inFlight() {
		p.missed = append(p.missed, c.userData)
		p.found = p.found || c.res != -int32(syscall.ENOENT)
	}
}

// cancelPause is how long a request that a cancel has found has to end, before it is
// cancelled again.
const cancelPause = time.Millisecond

// cancelAgain cancels what cancels have not ended. The kernel does not find a request
// that it is about to try again: one that found nothing to do and then, by the time it
// was to wait, something. When either side has ended its sending or we our receiving,
// the kernel tries a send that waits for room over and over, before it leaves it to a
// thread (EPOLLRDHUP, which every poll of io_uring asks for). Linux 5.10 can also find
// such a request, say so, and forget that when it waits again.
//
// It runs on a goroutine of its own, one at a time, so that no caller has to go on
// trying for others.
func (p *parked) cancelAgain() {
	for {
		p.harvestMu.Lock()
		missed, found := p.missed, p.found
		p.missed, p.found = nil, false
		p.retrying = len(missed) > 0
		p.harvestMu.Unlock()
		if len(missed) == 0 {
			return
		}
		if found {
			time.Sleep(cancelPause)
		} else {
			runtime.Gosched()
		}
		again := false
		for _, data := range missed {
			p.lockWithRoom()
			if o := p.ops.lookup(data); o != nil && o.aborted() != nil {
				again = p.cancel(o) || again
			}
			p.mu.Unlock()
		}
		if again {
			p.flush()
		}
	}
}

// allow takes an abort back.
func (p *parked) allow(o *op, kind abortKind) {
	p.mu.Lock()
	o.aborts[kind] = nil
	p.mu.Unlock()
}

// stats adds the ring's counters to s.
func (p *parked) stats(s *Stats) {
	p.harvestMu.Lock()
	completed := p.completed
	p.harvestMu.Unlock()
	p.mu.Lock()
	submitted := p.submitted
	p.mu.Unlock()
	s.Submitted += submitted
	s.Completed += completed
	s.InFlight += int(submitted - completed)
	s.Enters += p.enters.Load()
	s.Overflows += p.overflows.Load()
	s.Wakeups += p.wakeups.Load()
	s.Resubmitted += p.resubmitted.Load()
	s.Spins += p.spins.Load()
	s.SpinsLost += p.spinsLost.Load()
}
