package uring

import (
	"encoding/binary"
	"os"
	"runtime"
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
	nested  runner                 // see loops.nested
	thread  int                    // its id
	running atomic.Pointer[runner] // whose code the thread runs
	// handlers counts what has been called or resumed, and what has returned, for
	// the watchdog: while it is odd, one runs.
	handlers   atomic.Uint64
	unreturned int // blocking handlers

	mail     mail
	mailLeft *request // taken, and not done yet
	spareFD  int      // a duplicate of the ring's descriptor, to end it by when that is lost
	wakeFD   int      // an eventfd that ends the wait in the kernel
	wakeWord [8]byte  // what the ring reads from it
	roomFD   int      // an epoll instance that tells of room in sockets
	roomed   [roomEvents]epollEvent

	conns     connTable
	acceptors []*acceptor // by number, from 1
	accepting int         // how many of them are not over
	buffers   *bufferPool // nil where the kernel has none
	memory    pieceMemory
	scratch   []byte // what is received without a buffer ring

	firstReady, lastReady *coroutine
	idle                  []*coroutine
	touched               []*conn // to be looked at before the turn ends
	again                 []*conn // to go on receiving in the next turn
	resumed               []*conn // to go on receiving in this one; of which
	nextResumed           int     // is next
	quiet                 []*conn // whose send posts no completion if it succeeds
	quietLeft             bool    // it could not be looked through in the last turn
	batched               bool    // several completions came in the last turn

	batch          []cqe // completions taken from the queue; of which
	next, sends    int   // all before next, and the sends before sends, were handled
	delivery       delivery
	published      uint32 // requests in the submission queue, since the start
	timers         timers
	waitArg        getEventsArg
	waitTime       unix.Timespec
	wokeOthers     bool // goroutines that wait for a P, perhaps this one
	waitedFor      bool // some waited for one when that was looked at
	yielded        int64
	crowd          crowd
	runnable       runnableMetric
	stopping, over bool
	own            int         // requests in flight that are no connection's and no listener's
	ringless       atomic.Bool // dead is set; for those who choose a loop
	dead           error       // why there is no ring to enter: it failed, or could not be replaced
	renewAt        int64       // by the clock: when the ring may be replaced, at the earliest
	cancelling     []uint64    // user_data of requests that a cancel has found, and that have not ended
	spent          uint64      // requests in the submission queues of rings before this one
	spinner        spinner

	turnStart atomic.Int64 // when the turn began; 0 while it waits
	count     LoopStats    // published at the end of each turn
	stats     publishedStats
	heldTimes atomic.Uint64 // see LoopStats.Held
	begin     chan struct{} // closed when all loops have been made
	ended     chan struct{}
}

// User data of a loop is kind, slot and generation, see userData.
const (
	kindReceive uint64 = (iota + 2) << 56
	kindSend
	kindCloseFD
	kindAccept
	kindWake
	kindRoom
	kindNothing // what nobody waits for

	// kindCancelBit marks the cancel of a request, whose user_data the rest is.
	kindCancelBit uint64 = 1 << 63
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
	rawEnterLimit = 64 // requests that a call may submit that keeps its P
)

// loopSetups are the flags that a loop's ring is made with, each set with less
// than the one before.
func loopSetups(f Features) []uint32 {
	flags := setupRestricted(f) // never peeled off
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
		if r, err = newRingThatFits(loopEntries, flags); err == nil {
			return r, nil
		}
		if errno, ok := asErrno(err); !ok || errno != syscall.EINVAL {
			return nil, err
		}
	}
	return nil, err
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
		defer close(l.ended) // the last thing to happen, wherever main ends
		l.beginTurn()        // the first one may run handlers, too: the watchdog must see them
		l.main()
	}()
	return <-started
}

func (l *loop) open() (err error) {
	l.self.loop, l.nested.loop, l.nested.nested = l, l, true
	l.thread = unix.Gettid()
	l.self.learn()
	l.running.Store(&l.self)
	if l.wakeFD, err = sysEventfd(); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if l.roomFD, err = sysEpollCreate(); err != nil {
		_ = sysClose(l.wakeFD)
		return os.NewSyscallError("epoll_create1", err)
	}
	if l.ring, err = newLoopRing(l.used); err == nil {
		err = l.equip()
	}
	if err != nil {
		_ = sysClose(l.wakeFD)
		_ = sysClose(l.roomFD)
		return err
	}
	l.begin, l.ended = make(chan struct{}), make(chan struct{})
	return nil
}

// equip gives a new ring what it needs, or closes it.
func (l *loop) equip() (err error) {
	if l.spareFD, err = sysDup(l.ring.fd); err != nil {
		l.ring.close()
		return os.NewSyscallError("fcntl", err)
	}
	l.buffers = newBufferPool(l.ring, l.used)
	if l.set.config.NAPI > 0 && l.used.Has(FeatureNAPI) {
		l.registerNAPI(l.set.config.NAPI)
	}
	l.boundWorkers()
	if err := l.ring.enable(allowedLoop(l.used)); err != nil {
		l.closeRing()
		return err
	}
	l.own = 0
	l.awaitWake()
	l.awaitRoom()
	return nil
}

// closeRing frees a ring that nothing is in flight on.
func (l *loop) closeRing() {
	_ = sysClose(l.spareFD)
	l.ring.close()
	if l.buffers != nil {
		l.buffers.free()
		l.buffers = nil
	}
}

// main runs turns until the loop is stopped. A handler may end the goroutine that
// called it (runtime.Goexit). That goroutine cannot be saved, but the functions
// that it has deferred run on its thread, which is the one that the ring knows:
// so the loop goes on in there.
func (l *loop) main() {
	defer func() {
		if !l.over {
			l.leaveHandler()
			l.endDelivery()
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
	if l.dead != nil {
		l.replaceRing()
	}
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

// push puts a request into the submission queue, and reports whether it did: not
// when the ring is dead.
func (l *loop) push(request *sqe) bool {
	for l.dead == nil && l.ring.full() {
		if l.buffers != nil {
			l.buffers.publish()
		}
		l.submit(0)
		if l.ring.full() {
			l.collect() // old kernels take nothing while completions do not fit
		}
	}
	if l.dead != nil {
		return false
	}
	l.ring.push(request)
	l.published++
	l.count.InFlight++
	return true
}

func (l *loop) pending() uint32 { return l.published - l.ring.head() }

// enter submits what is in the queue, and waits for a completion if there is
// nothing else to do.
func (l *loop) enter() {
	if l.dead != nil {
		l.waitForMail()
		return
	}
	l.endTurn()
	busy := l.isBusy()
	if busy && (l.pending() > 0 || l.held()) {
		l.submit(enterGetEvents)
	}
	// What is quiet from an earlier turn the kernel had not taken: what follows it
	// waits for its end, which nothing tells of.
	if !l.quietLeft && !l.hasCompletions() && l.prepareToWait() {
		l.wait()
	} else if !busy {
		l.submit(enterGetEvents)
	}
	l.beginTurn()
}

// isBusy reports that completions are there, or probably so: then a call that keeps
// its P takes them. One that may wait would give the P up, and the runtime's monitor
// would look for such Ps all the time, from a thread that needs the core.
func (l *loop) isBusy() bool { return l.quietLeft || l.batched || l.hasCompletions() || l.held() }

func (l *loop) hasCompletions() bool { return len(l.batch) > 0 || l.ring.ready() > 0 }

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
func (l *loop) wait() {
	began := clock()
	if l.set.config.BusyPoll > 0 && l.pending() > 0 {
		l.submit(enterGetEvents)
	}
	if l.ring.ready() == 0 && !l.spinner.spin(l) {
		l.sleep()
	} else if l.held() {
		l.enterOnce(0, enterGetEvents)
	}
	l.mail.sleeping.Store(false)
	l.spinner.waited(clock()-began, int64(l.set.config.BusyPoll))
}

// sleep submits, and waits in the kernel.
func (l *loop) sleep() {
	if l.wokeOthers && !l.crowd.isHere() {
		// They wait for this P, if it is the only one, and would go on doing so
		// until the runtime notices that it is in a system call.
		l.submit(enterGetEvents)
		l.letOthersRun()
	}
	l.waitInKernel()
	l.wokeOthers, l.waitedFor, l.yielded = false, false, clock()
}

// longestWait is how long a loop waits in the kernel for its first timer at most: the
// kernel adds the time to its own clock, and what overflows there ends at once.
const longestWait = 24 * time.Hour

// waitInKernel submits, and waits for a completion or the first timer. The P is given
// up. (To keep it for a short wait saves a context switch, but needs a timeout: the
// processor's timer, which in a virtual machine costs more.)
func (l *loop) waitInKernel() {
	l.count.Enters++
	at, ok := l.timers.first()
	if !ok || !l.used.Has(FeatureExtArg) {
		if ok {
			l.timers.wakeAt(l, at)
		}
		l.entered(sysEnterWaiting(l.ring.fd, l.pending(), 1, enterGetEvents))
		return
	}
	l.waitTime = unix.NsecToTimespec(min(max(at-clock(), 0), int64(longestWait)))
	l.waitArg.timeout = uint64(uintptr(unsafe.Pointer(&l.waitTime)))
	l.entered(sysEnterUntil(l.ring.fd, l.pending(), 1, enterGetEvents|enterExtArg, &l.waitArg))
}

// submit submits all that is in the queue, and with flags takes what has completed.
// Short calls keep their P. Some may be left where the completion queue is full, or
// memory short.
func (l *loop) submit(flags uint32) {
	n := l.pending()
	if n <= rawEnterLimit {
		l.enterOnce(n, flags)
		return
	}
	l.count.Enters++
	l.entered(sysEnterWaiting(l.ring.fd, n, 0, flags))
}

// enterOnce is one io_uring_enter that does not wait.
func (l *loop) enterOnce(submit, flags uint32) {
	l.count.Enters++
	l.entered(l.ring.enter(submit, 0, flags))
}

// noMemoryPause is how long a loop waits when the kernel finds no memory.
const noMemoryPause = time.Millisecond

// entered looks at what an io_uring_enter returned.
func (l *loop) entered(errno syscall.Errno) {
	switch errno {
	case 0, syscall.EINTR, syscall.ETIME:
	case syscall.EAGAIN, syscall.EBUSY: // the completion queue is full, or memory is short
		if l.ring.ready() == 0 {
			runtime.Gosched()
		}
	case syscall.ENOMEM: // for what the kernel keeps of this thread, at its first call
		time.Sleep(noMemoryPause)
	default:
		l.die(os.NewSyscallError("io_uring_enter", errno))
	}
}

// harvest takes what has completed and handles it: the sends first, since those
// that post nothing on success have succeeded when no failure is there.
func (l *loop) harvest() {
	r := l.ring
	if r == nil {
		return // it is dead, and was not replaced yet
	}
	if r.flags()&sqCQOverflow != 0 {
		l.count.Overflows++
	}
	// What did not fit in the queue is taken before anything new is asked for, whose
	// completions could keep it out (liburing issue 705, Linux 5.19).
	for more := true; more; {
		l.collect()
		l.handleSends()
		more = r.ready() > 0
		if r.flags()&sqCQOverflow != 0 && l.dead == nil {
			l.enterOnce(0, enterGetEvents)
			more = true
		}
	}
	l.batched = len(l.batch) > 1
	if l.quietLeft = r.flags()&sqCQOverflow != 0 || l.pending() > 0; !l.quietLeft {
		l.finishQuiet()
	}
	l.runReady()
	l.handleBatch()
}

// collect moves what has completed to the batch.
func (l *loop) collect() {
	r := l.ring
	n := r.ready()
	if n == 0 {
		return
	}
	for i := range n {
		e := r.peek(i)
		if e.flags&cqeMore == 0 {
			l.count.InFlight--
		}
		l.batch = append(l.batch, e)
	}
	r.advance(n)
	l.count.Completed += uint64(n)
	l.count.Batch.Record(uint64(n))
}

// handleSends handles the sends of the batch.
func (l *loop) handleSends() {
	for l.sends < len(l.batch) {
		c := l.batch[l.sends]
		l.sends++
		if c.userData&kindMask == kindSend {
			l.sent(c)
		}
	}
}

// handleBatch handles what is left of the batch. A handler may end the goroutine
// in the middle of it.
func (l *loop) handleBatch() {
	for l.next < len(l.batch) {
		l.handleSends()
		l.prefetchNext()
		c := l.batch[l.next]
		l.next++
		l.completed(c)
		l.runReady()
	}
	l.batch, l.next, l.sends = l.batch[:0], 0, 0
}

func (l *loop) completed(e cqe) {
	if e.userData&kindCancelBit != 0 {
		l.cancelled(e)
		return
	}
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
		if l.own--; !l.over {
			l.awaitWake()
		}
	case kindRoom:
		if l.own--; !l.over {
			l.takeRoom()
			l.awaitRoom()
		}
	}
}

// awaitWake has the next wake-up complete a request.
func (l *loop) awaitWake() {
	l.own++
	l.push(&sqe{opcode: opRead, fd: int32(l.wakeFD), addr: address(l.wakeWord[:]), len: uint32(len(l.wakeWord)), userData: kindWake})
}

// wake ends the wait of l, if it waits. A loop that has ended closes the descriptor
// when nobody is about to write to it.
func (l *loop) wake() {
	m := &l.mail
	if !m.sleeping.Load() || !m.sleeping.CompareAndSwap(true, false) {
		return
	}
	m.wakers.Add(1)
	m.wakeups.Add(1)
	if !m.ended.Load() {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = sysWrite(l.wakeFD, one[:]) // it is far from full
	}
	m.wakers.Add(-1)
}

func (l *loop) beginTurn() {
	now := clock()
	l.yieldIfWanted(now)
	l.turnStart.Store(now)
	l.set.watch.loopRuns()
}

func (l *loop) endTurn() {
	now := clock()
	if start := l.turnStart.Load(); start != 0 {
		l.count.TurnLength.Record(uint64(now - start))
	}
	l.count.Connections, l.count.Submitted = l.conns.live, l.spent+uint64(l.published)
	if l.buffers != nil {
		l.count.Buffers = l.buffers.buffers
	}
	l.stats.publish(&l.count)
	l.turnStart.Store(0)
}

// startedAt is when the clock began.
var startedAt = time.Now()

// clock is the monotonic time that timers go by, in nanoseconds; never 0.
func clock() int64 { return int64(time.Since(startedAt)) + 1 }

// inBubble reports whether the caller, whose clock says now, is in a bubble of
// testing/synctest: time begins with the year 2000 there, before our clock began.
func inBubble(now int64) bool { return now < 0 }

// registerNAPI has waits poll the network card. Reference:
// io_uring_register(2), IORING_REGISTER_NAPI (Linux 6.9).
func (l *loop) registerNAPI(d time.Duration) {
	arg := &napiArg{timeout: uint32(min(d.Microseconds(), 1<<31)), preferBusyPoll: 1}
	_ = l.ring.register(registerNAPI, unsafe.Pointer(arg), 1) // it only saves time
}

// mostWorkers is how many threads of its own (io-wq) the kernel may start for the
// requests of a loop. None of them is of the kind that needs one; where the kernel finds
// no memory to wait in another way, it uses one all the same.
const mostWorkers = 8

// boundWorkers bounds them. Reference: io_uring_register(2),
// IORING_REGISTER_IOWQ_MAX_WORKERS (Linux 5.15).
func (l *loop) boundWorkers() {
	limits := [2]uint32{mostWorkers, mostWorkers} // for files, and for what may take any time
	_ = l.ring.register(registerIOWQMaxWorkers, unsafe.Pointer(&limits), uint32(len(limits)))
}
