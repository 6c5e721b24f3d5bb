package uring

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loop serves connections on one thread, with a ring of its own. All that it
// holds belongs to that thread, but for the mail.
//
// It takes turns: it does what other threads ask for, resumes handlers with what
// has completed, and enters the kernel once with all that came of it, to wait for
// more.
type loop struct {
	set     *loops
	ring    *ring
	used    Features
	self    runner
	running atomic.Pointer[runner] // whose code the thread runs
	// handlers counts what has been called or resumed, and what has returned, for
	// the watchdog: while it is odd, one runs.
	handlers   atomic.Uint64
	unreturned int // blocking handlers

	mail     mail
	mailLeft *request // taken, and not done yet
	wakeFD   int      // an eventfd that ends the wait in the kernel
	wakeWord [8]byte  // what is read from it

	conns     connTable
	acceptors []*acceptor // by number, from 1
	accepting int         // how many of them are not over
	buffers   *bufferPool // nil where the kernel has none
	memory    pieceMemory
	scratch   []byte // what is received without a buffer ring

	firstReady, lastReady *coroutine
	idle                  []*coroutine
	touched               []*conn // to be looked at before the turn ends
	again, spareAgain     []*conn // to go on receiving in the next turn
	quiet                 []*conn // whose send posts no completion if it succeeds

	batch          [256]cqe // completions taken from the queue
	next, taken    uint32   // of batch: the next one to handle, and how many there are
	published      uint32   // requests in the submission queue, since the start
	timers         timers
	waitArg        getEventsArg
	waitTime       unix.Timespec
	wokeOthers     bool // goroutines that wait for a P, perhaps this one
	stopping, over bool
	wakeEnded      bool // the last request for a wake-up has ended
	dead           error
	spinner        spinner

	turnStart atomic.Int64 // when the turn began; 0 while it waits
	count     LoopStats    // published at the end of each turn
	stats     publishedStats
	heldTimes atomic.Uint64 // see LoopStats.Held
	begin     chan struct{} // closed when all loops have been made
	ended     chan struct{}
}

// User data of a loop is kind, slot and generation, as that of the parked ring.
const (
	kindReceive uint64 = (iota + 2) << 56
	kindSend
	kindCloseFD
	kindAccept
	kindWake
	kindNothing // cancels, and what nobody waits for
)

// getEventsArg is struct io_uring_getevents_arg.
type getEventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWait     uint32
	timeout     uint64
}

const (
	enterExtArg         = 1 << 3
	enterRegisteredRing = 1 << 4

	opRead = 22
)

const (
	loopEntries   = 1024
	loopCQPerSQ   = 8
	rawEnterLimit = 32 // requests that a call may submit that keeps its P
)

// loopSetups are the flags that a loop's ring is made with, each set with less
// than the one before.
func loopSetups(f Features) []uint32 {
	var flags uint32
	add := func(feature Features, flag uint32) {
		if f.Has(feature) {
			flags |= flag
		}
	}
	add(FeatureSubmitAll, setupSubmitAll)
	add(FeatureNoSQArray, setupNoSQArray)
	add(FeatureSingleIssuer, setupSingleIssuer)
	if f.Has(FeatureDeferTaskrun | FeatureSingleIssuer) {
		flags |= setupDeferTaskrun
	} else {
		add(FeatureCoopTaskrun, setupCoopTaskrun)
	}
	if flags&(setupDeferTaskrun|setupCoopTaskrun) != 0 {
		add(FeatureTaskrunFlag, setupTaskrunFlag)
	}
	all := []uint32{flags}
	for _, peel := range []uint32{setupNoSQArray, setupTaskrunFlag, setupDeferTaskrun, setupSingleIssuer, setupCoopTaskrun, setupSubmitAll} {
		if flags&peel != 0 {
			flags &^= peel
			all = append(all, flags)
		}
	}
	return all
}

func newLoopRing(f Features) (r *ring, err error) {
	for _, flags := range loopSetups(f) {
		if r, err = newLoopRingThatFits(flags); err == nil {
			return r, nil
		}
		if errno, ok := asErrno(err); !ok || errno != syscall.EINVAL {
			return nil, err
		}
	}
	return nil, err
}

// newLoopRingThatFits halves the ring while the memory limit refuses it.
func newLoopRingThatFits(flags uint32) (*ring, error) {
	for entries := uint32(loopEntries); ; entries /= 2 {
		r, err := newRing(entries, entries*loopCQPerSQ, flags)
		if errno, ok := asErrno(err); !ok || errno != syscall.ENOMEM || entries <= minEntries {
			return r, err
		}
	}
}

// start makes the ring on the thread that will use it, and begins.
func (l *loop) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := l.open(); err != nil {
			started <- err
			return
		}
		started <- nil
		<-l.begin
		l.main()
	}()
	return <-started
}

func (l *loop) open() (err error) {
	l.self.loop = l
	l.self.learn()
	l.running.Store(&l.self)
	if l.wakeFD, err = sysEventfd(); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if l.ring, err = newLoopRing(l.used); err != nil {
		_ = sysClose(l.wakeFD)
		return err
	}
	l.begin, l.ended = make(chan struct{}), make(chan struct{})
	l.buffers = newBufferPool(l.ring, l.used)
	if l.set.config.NAPI > 0 && l.used.Has(FeatureNAPI) {
		l.registerNAPI(l.set.config.NAPI)
	}
	l.awaitWake()
	return nil
}

// main runs turns until the loop is stopped. A handler may end the goroutine that
// called it (runtime.Goexit). That goroutine cannot be saved, but the functions
// that it has deferred run on its thread, which is the one that the ring knows:
// so the loop goes on in there.
func (l *loop) main() {
	defer func() {
		if !l.over {
			l.leaveHandler()
			l.main()
		}
	}()
	for !l.over {
		l.turn()
	}
	l.close()
}

func (l *loop) turn() {
	l.handleBatch() // what a handler that ended the goroutine left
	l.takeMail()
	l.timers.fire(l)
	l.receiveAgain()
	l.runReady()
	l.settle()
	if l.over {
		return
	}
	l.count.Turns++
	l.enter()
	l.harvest()
}

// settle looks at every connection that something happened to in this turn: what
// it has to send goes into the queue, and so does its next receive.
func (l *loop) settle() {
	for i := 0; i < len(l.touched); i++ { // handlers that are called here add to it
		c := l.touched[i]
		c.isTouched = false
		l.settleConn(c)
		l.runReady()
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	if l.buffers != nil {
		l.buffers.publish()
	}
	if l.stopping {
		l.stopIfDone()
	}
}

// touch has c looked at before the turn ends.
func (l *loop) touch(c *conn) {
	if !c.isTouched {
		c.isTouched = true
		l.touched = append(l.touched, c)
	}
}

// push puts a request into the submission queue.
func (l *loop) push(request *sqe) {
	for l.ring.full() && l.dead == nil {
		if l.buffers != nil {
			l.buffers.publish()
		}
		l.enterOnce(l.pending(), 0, 0)
	}
	if l.dead != nil {
		return
	}
	l.ring.push(request)
	l.published++
}

func (l *loop) pending() uint32 { return l.published - l.ring.head() }

// enter submits what is in the queue, and waits for a completion if there is
// nothing else to do.
func (l *loop) enter() {
	if l.dead != nil {
		l.waitForMail()
		return
	}
	submit := l.pending()
	if l.ring.ready() > 0 && submit == 0 && !l.held() {
		return
	}
	if l.ring.ready() > 0 || !l.prepareToWait() {
		l.enterOnce(submit, 0, enterGetEvents)
		return
	}
	l.wait(submit)
}

// held reports that the kernel holds completions back.
func (l *loop) held() bool { return l.ring.flags()&(sqCQOverflow|sqTaskrun) != 0 }

// prepareToWait marks the loop as asleep, unless there is something to do.
func (l *loop) prepareToWait() bool {
	m := &l.mail
	m.sleeping.Store(true)
	if m.there.Load() || l.mailLeft != nil || l.firstReady != nil || len(l.touched)+len(l.again) > 0 {
		m.sleeping.Store(false)
		return false
	}
	return true
}

// wait submits, and waits for a completion or the next timer.
func (l *loop) wait(submit uint32) {
	l.endTurn()
	began := clock()
	if l.set.config.BusyPoll > 0 && submit > 0 {
		l.enterOnce(submit, 0, enterGetEvents)
		submit = 0
	}
	if l.ring.ready() == 0 && !l.spinner.spin(l) {
		l.sleep(submit)
	} else if l.held() {
		l.enterOnce(0, 0, enterGetEvents)
	}
	l.mail.sleeping.Store(false)
	l.spinner.waited(clock()-began, int64(l.set.config.BusyPoll))
	l.beginTurn()
}

// sleep waits in the kernel.
func (l *loop) sleep(submit uint32) {
	if l.wokeOthers {
		// They wait for this P, if it is the only one, and would go on doing so
		// until the runtime notices that it is in a system call.
		l.wokeOthers = false
		if submit > 0 {
			l.enterOnce(submit, 0, enterGetEvents)
			submit = 0
		}
		runtime.Gosched()
	}
	flags := uint32(enterGetEvents)
	if l.setTimeout() {
		flags |= enterExtArg
	}
	l.enterOnce(submit, 1, flags)
}

// setTimeout makes the wait end when the first timer fires.
func (l *loop) setTimeout() bool {
	at, ok := l.timers.first()
	if !ok {
		return false
	}
	left := max(at-clock(), 0)
	if !l.used.Has(FeatureExtArg) {
		l.timers.wakeAt(l, at)
		return false
	}
	l.waitTime = unix.NsecToTimespec(left)
	l.waitArg = getEventsArg{timeout: uint64(uintptr(unsafe.Pointer(&l.waitTime)))}
	return true
}

// enterOnce is one io_uring_enter. One that neither waits nor submits much keeps
// its P.
func (l *loop) enterOnce(submit, minComplete, flags uint32) {
	l.count.Enters++
	var errno syscall.Errno
	switch {
	case flags&enterExtArg != 0:
		errno = sysEnterUntil(l.ring.fd, submit, minComplete, flags, &l.waitArg)
	case minComplete > 0 || submit > rawEnterLimit:
		errno = sysEnterWaiting(l.ring.fd, submit, minComplete, flags)
	default:
		errno = l.ring.enter(submit, 0, flags)
	}
	switch errno {
	case 0, syscall.EINTR, syscall.ETIME:
	case syscall.EAGAIN, syscall.EBUSY: // the completion queue is full, or memory is short
		if l.ring.ready() == 0 {
			runtime.Gosched()
		}
	default:
		l.die(os.NewSyscallError("io_uring_enter", errno))
	}
}

// harvest takes what has completed and handles it: the sends first, since those
// that post nothing on success have succeeded when no failure is there.
func (l *loop) harvest() {
	r := l.ring
	for r.flags()&sqCQOverflow != 0 && r.ready() == 0 && l.dead == nil {
		l.count.Overflows++
		l.enterOnce(0, 0, enterGetEvents)
	}
	n := r.ready()
	for i := range n {
		if c := r.peek(i); c.userData&kindMask == kindSend {
			l.sent(c)
		}
	}
	if r.flags()&sqCQOverflow == 0 && l.pending() == 0 {
		l.finishQuiet()
	}
	l.runReady()
	l.count.Completed += uint64(n)
	if n > 0 {
		l.count.Batch.Record(uint64(n))
	}
	for n > 0 {
		l.next, l.taken = 0, min(n, uint32(len(l.batch)))
		for i := range l.taken {
			l.batch[i] = r.peek(i)
		}
		r.advance(l.taken)
		n -= l.taken
		l.handleBatch()
	}
}

// handleBatch handles what is left of the batch.
func (l *loop) handleBatch() {
	for l.next < l.taken {
		c := l.batch[l.next]
		l.next++
		l.completed(c)
		l.runReady()
	}
}

func (l *loop) completed(e cqe) {
	switch e.userData & kindMask {
	case kindReceive:
		if c := l.conns.find(e.userData); c != nil {
			l.received(c, e)
		}
	case kindCloseFD:
		if c := l.conns.find(e.userData); c != nil {
			l.descriptorClosed(c, e.res)
		}
	case kindAccept:
		l.accepted(e)
	case kindWake:
		l.wakeEnded = l.over
		if !l.over {
			l.awaitWake()
		}
	}
}

// awaitWake has the next wake-up complete a request.
func (l *loop) awaitWake() {
	l.push(&sqe{opcode: opRead, fd: int32(l.wakeFD), addr: address(l.wakeWord[:]), len: uint32(len(l.wakeWord)), userData: kindWake})
}

// wake ends the wait of l, if it waits.
func (l *loop) wake() {
	if l.mail.sleeping.Load() && l.mail.sleeping.CompareAndSwap(true, false) {
		one := [8]byte{7: 1, 0: 1}
		_, _ = sysWrite(l.wakeFD, one[:]) // it cannot be full
	}
}

func (l *loop) beginTurn() {
	l.turnStart.Store(clock())
	l.set.watch.loopRuns()
}

func (l *loop) endTurn() {
	now := clock()
	if start := l.turnStart.Load(); start != 0 {
		l.count.TurnLength.Record(uint64(now - start))
	}
	l.count.Connections, l.count.Submitted = l.conns.live, uint64(l.published)
	l.stats.publish(&l.count)
	l.turnStart.Store(0)
}

// startedAt is when the clock began.
var startedAt = time.Now()

// clock is the monotonic time that timers go by, in nanoseconds; never 0.
func clock() int64 { return int64(time.Since(startedAt)) + 1 }

// registerNAPI has waits poll the network card. Reference:
// io_uring_register(2), IORING_REGISTER_NAPI (Linux 6.9).
func (l *loop) registerNAPI(d time.Duration) {
	arg := &napiArg{timeout: uint32(min(d.Microseconds(), 1<<31)), preferBusyPoll: 1}
	_ = l.ring.register(registerNAPI, unsafe.Pointer(arg), 1) // it only saves time
}

// die ends a loop whose ring cannot be entered any more. Its connections fail with
// the cause. What the kernel may still write to stays mapped, and is not used
// again.
func (l *loop) die(cause error) {
	if l.dead != nil {
		return
	}
	l.dead = cause
	l.stopping = true
	for _, s := range l.conns.slots {
		c := s.c
		if c == nil {
			continue
		}
		c.receive.inFlight, c.send.inFlight = 0, 0
		c.receive.err = cause
		l.serveReads(c)
		l.sendFailed(c, cause)
		if c.phase == phaseOpen {
			l.beginClose(c)
		}
		l.touch(c)
	}
	for _, a := range l.acceptors {
		if a != nil {
			a.armed = false
			a.failed <- acceptFailure{errno: syscall.ENXIO}
		}
	}
	graves.Lock()
	graves.loops = append(graves.loops, l)
	graves.Unlock()
}

// graves keep the memory of rings that died: nobody can say what the kernel still
// does with it.
var graves struct {
	sync.Mutex
	loops []*loop
}

// waitForMail waits without the ring. The ring may take the wake-up, so this looks
// again now and then.
func (l *loop) waitForMail() {
	if l.prepareToWait() {
		const milliseconds = 10
		_ = sysPollIn(l.wakeFD, milliseconds)
		l.mail.sleeping.Store(false)
	}
}
