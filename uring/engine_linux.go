package uring

import (
	"cmp"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Engine is the parked ring: one ring for any number of goroutines with
// blocking calls.
//
// A goroutine puts its request into the submission queue and waits. The one
// whose request is the first of a batch is the flusher: it yields once, so that
// every goroutine that can run adds its own request, then enters the kernel
// once for all of them and harvests what is done at once. What completes later
// is harvested by the reaper, a goroutine that waits for the ring's descriptor
// in Go's own netpoller, so that no thread is parked.
type Engine struct {
	ring     *ring
	used     Features
	busyPoll time.Duration

	mu        sync.Mutex // submission: the SQ, and the aborts of each op
	submitted uint64     // requests published since the start
	taken     uint64     // how many of them a flusher has taken on
	quiet     []quietOp  // those taken on by none yet that post no CQE on success
	spare     [][]quietOp
	dead      error // the ring is of no more use

	harvestMu   sync.Mutex // completion: the CQ
	completed   uint64     // requests that ended
	overflows   atomic.Uint64
	resubmitted atomic.Uint64
	enters      atomic.Uint64
	wakeups     atomic.Uint64
	spins       atomic.Uint64
	spinsLost   atomic.Uint64
	spinning    atomic.Bool

	ops opTable

	file       *os.File // a duplicate of the ring's descriptor, in the netpoller
	reaperDone chan struct{}

	liveMu    sync.Mutex
	closed    bool
	sockets   map[*Socket]struct{}
	listeners map[*Listener]struct{}
}

// Config configures an Engine.
type Config struct {
	// Without masks optional features.
	Without Features
	// BusyPoll is how long a reader spins before it parks; zero is never.
	BusyPoll time.Duration
	// Entries is the length of the submission queue, a power of two; zero is
	// 1024. The completion queue has eight times as many.
	Entries uint32
}

const (
	defaultEntries = 1024
	minEntries     = 8
	cqPerSQ        = 8
)

// New probes the kernel (once per process), makes a ring and starts its
// reaper. When RLIMIT_MEMLOCK does not allow the ring it tries smaller ones.
// The error says why io_uring cannot be used; Cure knows what to do about it.
func New(c Config) (*Engine, error) {
	report := Probe()
	if report.Err != nil {
		return nil, report.Err
	}
	if c.Entries == 0 {
		c.Entries = defaultEntries
	}
	used := report.Found & usedFeatures &^ c.Without
	r, err := newRingThatFits(c.Entries, setupFlags(used))
	if err != nil {
		return nil, explain(err)
	}
	return start(r, used, c.BusyPoll)
}

// usedFeatures are those that the parked ring takes advantage of.
var usedFeatures = func() (f Features) {
	for _, info := range FeatureTable {
		if info.Used {
			f |= info.Bit
		}
	}
	return f
}()

func setupFlags(f Features) (flags uint32) {
	for _, s := range []struct {
		feature Features
		flags   uint32
	}{
		{FeatureSubmitAll, setupSubmitAll},
		{FeatureCoopTaskrun, setupCoopTaskrun},
		{FeatureNoSQArray, setupNoSQArray},
	} {
		if f.Has(s.feature) {
			flags |= s.flags
		}
	}
	if f.Has(FeatureTaskrunFlag | FeatureCoopTaskrun) { // the flag alone is EINVAL
		flags |= setupTaskrunFlag
	}
	return flags
}

// newRingThatFits halves the ring while the memory limit refuses it.
func newRingThatFits(entries, flags uint32) (*ring, error) {
	for {
		r, err := newRing(entries, entries*cqPerSQ, flags)
		if err == nil || !errors.Is(err, syscall.ENOMEM) || entries <= minEntries {
			return r, err
		}
		entries /= 2
	}
}

func start(r *ring, used Features, busyPoll time.Duration) (*Engine, error) {
	e := &Engine{
		ring: r, used: used, busyPoll: busyPoll,
		reaperDone: make(chan struct{}),
		sockets:    make(map[*Socket]struct{}),
		listeners:  make(map[*Listener]struct{}),
	}
	fd, err := unix.FcntlInt(uintptr(r.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that os.NewFile gives it to the netpoller
	}
	if err != nil {
		r.close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	e.file = os.NewFile(uintptr(fd), "io_uring")
	conn, err := e.file.SyscallConn()
	if err != nil {
		_ = e.file.Close()
		r.close()
		return nil, err
	}
	go e.reap(conn)
	return e, nil
}

// Features returns the optional features in use.
func (e *Engine) Features() Features { return e.used }

// Close closes every socket and listener, waits for their requests, and frees
// the ring. Closing again returns net.ErrClosed.
func (e *Engine) Close() error {
	e.liveMu.Lock()
	if e.closed {
		e.liveMu.Unlock()
		return net.ErrClosed
	}
	e.closed = true
	sockets, listeners := e.sockets, e.listeners
	e.sockets, e.listeners = nil, nil
	e.liveMu.Unlock()
	for l := range listeners {
		_ = l.Close()
	}
	for s := range sockets {
		s.abortAll()
	}
	for s := range sockets {
		_ = s.Close()
	}

	_ = e.file.Close() // ends the reaper
	<-e.reaperDone
	e.ring.close()
	return nil
}

// submit publishes o's request and sees to it that the kernel gets it. It
// refuses, with the cause, an op that is aborted.
func (e *Engine) submit(o *op) error {
	e.lockWithRoom()
	if err := cmp.Or(o.refusal(), e.dead); err != nil {
		e.mu.Unlock()
		return err
	}
	gen := o.gen.Add(1)
	o.sqe.userData = userData(o.slot, gen)
	o.state.Store(opSubmitted)
	if o.sqe.flags&sqeSkipSuccess != 0 {
		e.quiet = append(e.quiet, quietOp{o, gen})
	}
	first := e.push(&o.sqe)
	e.mu.Unlock()
	if first {
		runtime.Gosched() // every goroutine that can run adds to the batch
		e.flush()
	}
	return nil
}

// lockWithRoom takes the submission lock at a time when the queue has room for
// one request.
func (e *Engine) lockWithRoom() {
	e.mu.Lock()
	for e.ring.full() && e.dead == nil {
		e.mu.Unlock()
		e.flush()
		e.mu.Lock()
	}
}

// push publishes one request and reports whether it is the first of a batch,
// which makes the caller the flusher. The submission lock is held, with room.
func (e *Engine) push(request *sqe) (first bool) {
	first = e.taken == e.submitted
	e.ring.push(request)
	e.submitted++
	return first
}

// flush submits all that is published and harvests what is done at once.
func (e *Engine) flush() {
	e.mu.Lock()
	target := e.submitted
	e.taken = target
	quiet := e.quiet
	if len(quiet) > 0 {
		e.quiet = nil
		if n := len(e.spare); n > 0 {
			e.quiet, e.spare = e.spare[n-1], e.spare[:n-1]
		}
	}
	e.mu.Unlock()
	e.enterUpTo(uint32(target))
	if len(quiet) > 0 {
		e.harvestMu.Lock()
		e.harvest(quiet)
		e.giveBack(quiet)
		return
	}
	// When the lock is taken, its holder goes on until the queue is empty, or
	// the ring's descriptor wakes the reaper for what comes after.
	if e.ring.ready() > 0 && e.harvestMu.TryLock() {
		e.harvest(nil)
	}
}

// giveBack keeps the memory of a list of quiet ops for later flushers.
func (e *Engine) giveBack(quiet []quietOp) {
	clear(quiet)
	e.mu.Lock()
	e.spare = append(e.spare, quiet[:0])
	e.mu.Unlock()
}

// enterUpTo submits the requests that were published before target, whoever
// published them. The kernel takes fewer at a time when it lacks memory or
// when the completion queue is full: then there is something to harvest first.
func (e *Engine) enterUpTo(target uint32) {
	for {
		left := int32(target - e.ring.head())
		if left <= 0 {
			return
		}
		e.enters.Add(1)
		switch errno := e.ring.enter(uint32(left), 0, 0); errno {
		case 0, syscall.EINTR:
		case syscall.EAGAIN, syscall.EBUSY:
			e.harvestMu.Lock()
			e.harvest(nil)
			runtime.Gosched()
		default:
			e.die(os.NewSyscallError("io_uring_enter", errno))
			return
		}
	}
}

// die marks a ring that cannot be entered any more: requests are refused from
// here on, and those that the kernel never took end with the cause.
func (e *Engine) die(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead != nil {
		return
	}
	e.dead = cause
	for request := range e.ring.queued {
		if request.userData&kindMask != kindOp {
			continue
		}
		if o := e.ops.lookup(request.userData); o != nil && o.finish(-int32(syscall.EIO), 0) {
			o.wake <- struct{}{}
		}
	}
}

// reap waits for completions in the netpoller until Close.
func (e *Engine) reap(conn syscall.RawConn) {
	defer close(e.reaperDone)
	_ = conn.Read(func(uintptr) bool {
		e.wakeups.Add(1)
		e.harvestMu.Lock() // not TryLock: an event comes once
		e.harvest(nil)
		return false // until the file is closed
	})
}

// harvestBatch is how many CQEs are taken before their waiters are woken.
const harvestBatch = 128

// harvest takes every CQE that is there, then wakes those who wait for them:
// drain first, act after. It is called with harvestMu and lets go of it.
//
// The ops of quiet have been submitted by the caller, and their failures posted
// before that returned. So those that are still waiting when no CQE is left
// have succeeded.
func (e *Engine) harvest(quiet []quietOp) {
	var wake [harvestBatch]*op
	for {
		sleepers, more := e.drain(&wake)
		if !more {
			sleepers, quiet = e.finishQuiet(quiet, &wake, sleepers)
			more = len(quiet) > 0
		}
		e.harvestMu.Unlock()
		for _, o := range wake[:sleepers] {
			o.wake <- struct{}{}
		}
		if !more {
			return
		}
		if e.ring.flags()&sqCQOverflow != 0 {
			e.flushOverflow()
		}
		e.harvestMu.Lock()
	}
}

// quietOp is an op whose request posts no CQE when it succeeds at once.
type quietOp struct {
	op  *op
	gen uint32
}

// finishQuiet ends the ops of quiet that have not failed, as far as wake has
// room for those whose waiters sleep, and returns the rest.
func (e *Engine) finishQuiet(quiet []quietOp, wake *[harvestBatch]*op, sleepers int) (int, []quietOp) {
	for i, q := range quiet {
		if sleepers == len(wake) {
			return sleepers, quiet[i:]
		}
		if q.op.gen.Load() != q.gen || q.op.state.Load() == opDone {
			continue // it failed, and has perhaps been submitted again
		}
		e.completed++
		if q.op.finish(q.op.quietResult, 0) {
			wake[sleepers] = q.op
			sleepers++
		}
	}
	return sleepers, nil
}

// drain takes up to a batch of CQEs and collects the ops whose waiters sleep.
func (e *Engine) drain(wake *[harvestBatch]*op) (sleepers int, more bool) {
	r := e.ring
	n := min(r.ready(), harvestBatch)
	for i := range n {
		c := r.peek(i)
		e.completed++
		if c.userData&kindMask != kindOp {
			continue
		}
		if o := e.ops.lookup(c.userData); o != nil && o.finish(c.res, c.flags) {
			wake[sleepers] = o
			sleepers++
		}
	}
	r.advance(n)
	return sleepers, r.ready() > 0 || r.flags()&sqCQOverflow != 0
}

// flushOverflow asks the kernel for the completions that did not fit in the
// queue. None is lost meanwhile (IORING_FEAT_NODROP).
func (e *Engine) flushOverflow() {
	e.overflows.Add(1)
	e.getEvents()
}

// getEvents enters only for completions: those that overflowed, and those that
// the kernel holds back until this thread enters. It does not wait.
func (e *Engine) getEvents() {
	e.enters.Add(1)
	_ = e.ring.enter(0, 0, enterGetEvents)
}

// finish records a CQE and reports whether the waiter sleeps.
func (o *op) finish(res int32, flags uint32) (asleep bool) {
	o.res, o.flags = res, flags
	return o.state.Swap(opDone) == opParked
}

// wait waits for the CQE of o. o.res and o.flags are valid after.
func (e *Engine) wait(o *op, spin bool) {
	if o.state.Load() != opDone && (!spin || !e.spin(o)) {
		if o.state.CompareAndSwap(opSubmitted, opParked) {
			<-o.wake
		}
	}
}

// run submits o until it ends for a reason of its own, and returns its result,
// or an errno, or why it was aborted. Codes that only io_uring has stay here.
func (e *Engine) run(o *op, spin bool) (int32, error) {
	for {
		if err := e.submit(o); err != nil {
			return 0, err
		}
		e.wait(o, spin)
		if o.res >= 0 {
			return o.res, nil
		}
		switch errno := syscall.Errno(-o.res); errno {
		case syscall.ECANCELED, syscall.EINTR:
			// If this was our abort, submit refuses. Else nobody asked for it: the
			// thread that submitted it has ended.
			e.resubmitted.Add(1)
		case syscall.EAGAIN:
			if err := e.waitReady(o, spin); err != nil {
				return 0, err
			}
		default:
			return 0, errno
		}
	}
}

// waitReady waits until o's socket is ready for o's request, which the kernel
// refused to wait for itself: the socket is non-blocking, or memory was short.
func (e *Engine) waitReady(o *op, spin bool) error {
	request := o.sqe
	events := uint32(unix.POLLIN)
	if request.opcode != opRecv && request.opcode != opAccept {
		events = unix.POLLOUT
	}
	_, err := e.poll(o, request.fd, events, spin)
	o.sqe = request
	return err
}

// poll waits for events on fd, in the place of o's own request.
func (e *Engine) poll(o *op, fd int32, events uint32, spin bool) (int32, error) {
	for {
		o.sqe = sqe{opcode: opPollAdd, fd: fd, opFlags: events}
		if err := e.submit(o); err != nil {
			return 0, err
		}
		e.wait(o, spin)
		switch {
		case o.res >= 0:
			return o.res, nil
		case o.res == -int32(syscall.ECANCELED), o.res == -int32(syscall.EINTR):
			e.resubmitted.Add(1)
		default:
			return 0, syscall.Errno(-o.res)
		}
	}
}

// abort makes o end with cause: a request in flight is cancelled, later ones
// are refused until allow.
func (e *Engine) abort(o *op, kind abortKind, cause error) {
	e.lockWithRoom()
	o.aborts[kind] = cause
	state := o.state.Load()
	inFlight := (state == opSubmitted || state == opParked) && e.dead == nil
	if inFlight {
		// The queue keeps its order, so the request is submitted before this.
		e.push(&sqe{opcode: opAsyncCancel, addr: userData(o.slot, o.gen.Load()), userData: kindCancel})
	}
	e.mu.Unlock()
	if inFlight {
		e.flush()
	}
}

// allow takes an abort back.
func (e *Engine) allow(o *op, kind abortKind) {
	e.mu.Lock()
	o.aborts[kind] = nil
	e.mu.Unlock()
}

// Stats are the engine's counters.
type Stats struct {
	Sockets, Listeners, InFlight                      int
	Enters, Submitted, Completed                      uint64
	Wakeups, Overflows, Resubmitted, Spins, SpinsLost uint64
}

// Stats returns the counters; it takes two locks for a moment.
func (e *Engine) Stats() Stats {
	e.harvestMu.Lock()
	s := Stats{Completed: e.completed}
	e.harvestMu.Unlock()
	e.mu.Lock()
	s.Submitted = e.submitted
	e.mu.Unlock()
	s.InFlight = int(s.Submitted - s.Completed)
	s.Enters = e.enters.Load()
	s.Overflows = e.overflows.Load()
	s.Wakeups = e.wakeups.Load()
	s.Resubmitted = e.resubmitted.Load()
	s.Spins = e.spins.Load()
	s.SpinsLost = e.spinsLost.Load()
	e.liveMu.Lock()
	s.Sockets, s.Listeners = len(e.sockets), len(e.listeners)
	e.liveMu.Unlock()
	return s
}
