package uring

import (
	"bytes"
	"iter"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// runner is a goroutine that runs on the thread of a loop: the loop's own, which
// calls data handlers, or a coroutine.
type runner struct {
	loop *loop
	g    atomic.Uintptr // see getg; others compare it with theirs as soon as it runs
	co   *coroutine     // nil for the loop's own
	c    *conn          // whose handler runs
	// nested: a coroutine of the application that the handler resumes; it cannot wait.
	nested bool
	// For the watchdog: the goroutine, as stack traces print it, and the FD.
	id, fdID atomic.Uint64
}

// canWait reports that the handler that runs may wait: it is a blocking one, and
// has not returned.
func (r *runner) canWait() bool { return r.co != nil && r.c != nil }

// learn notes which goroutine this is.
func (r *runner) learn() {
	r.g.Store(getg())
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	if fields := bytes.Fields(line); len(fields) > 1 {
		id, _ := strconv.ParseUint(string(fields[1]), 10, 64)
		r.id.Store(id)
	}
}

// here returns who runs if the caller is on l's thread, or nil.
func (l *loop) here() *runner {
	if r := l.running.Load(); r != nil && r.g.Load() == getg() {
		return r
	}
	return nil
}

// nested returns what stands for the caller if it is a coroutine that a handler has
// resumed (iter.Pull): another goroutine, on the thread of the loop, which would wait
// for itself. Only a caller whose goroutine is none of the loops' asks, and the thread
// is asked for only while a handler runs.
func (s *loops) nested() *runner {
	thread := 0
	for _, l := range s.all {
		if l.handlers.Load()%2 == 0 {
			continue
		}
		if thread == 0 {
			thread = unix.Gettid()
		}
		if l.thread == thread {
			return &l.nested
		}
	}
	return nil
}

// full is the error of a Write that cannot wait for room.
func (r *runner) full() error {
	if r.nested && r.loop.running.Load().co != nil {
		return fd.ErrNested
	}
	return fd.ErrWriteLimit
}

// cannotWait reports that a call failed because its caller cannot wait.
func cannotWait(err error) bool { return err == fd.ErrHoldsLoop || err == fd.ErrNested }

// coroutine runs blocking handlers, one connection after the other. It waits by
// yielding to the loop that resumed it, on the same thread: no scheduler, and no
// wake-up.
type coroutine struct {
	runner
	next  func() (struct{}, bool)
	yield func(struct{}) bool
	after *coroutine // in the list of those to be resumed
	sp    uintptr    // about where its stack was when it last waited; to prefetch
	req   request    // what it waits for
	// resumption tells its loop, from another thread, that the wait is over.
	resumption request
}

// idleCoroutines is how many finished coroutines a loop keeps for the next
// connections: making one costs a goroutine.
const idleCoroutines = 64

// spawn runs the blocking handler of c, up to its first wait.
func (l *loop) spawn(c *conn) {
	var co *coroutine
	if n := len(l.idle); n > 0 {
		co, l.idle = l.idle[n-1], l.idle[:n-1]
		co.c = c
	} else {
		co = new(coroutine)
		co.loop, co.co, co.c = l, co, c
		co.req.co = co
		co.next, _ = iter.Pull(co.run)
	}
	c.handling = true
	l.unreturned++
	co.fdID.Store(c.f.ID())
	l.resume(co)
}

// resume lets co run until it waits or its handler has returned.
func (l *loop) resume(co *coroutine) {
	l.enterHandler(&co.runner)
	_, more := co.next()
	l.leaveHandler()
	switch {
	case !more: // its handler ended its goroutine, or the loop is over
	case co.c == nil && len(l.idle) < idleCoroutines && !l.over:
		l.idle = append(l.idle, co)
	case co.c == nil:
		l.end(co)
	}
}

// end ends the goroutine of a coroutine that has no connection.
func (l *loop) end(co *coroutine) { co.next() }

// run is the body of the coroutine's goroutine.
func (co *coroutine) run(yield func(struct{}) bool) {
	co.yield = yield
	co.learn()
	defer func() { co.loop.running.Store(&co.loop.self) }() // another goroutine may have g next
	for co.c != nil {
		co.serve()
		yield(struct{}{})
	}
}

// serve runs one handler.
func (co *coroutine) serve() {
	c := co.c
	returned := false
	defer func() {
		co.c = nil
		if !returned {
			c.panicked(recover()) // nil when it ends its goroutine, which goes on
		}
		co.loop.handled(c)
	}()
	c.serving.handler.Blocking(c.f)
	returned = true
}

// ask returns co's own request, to be filled in.
func (co *coroutine) ask(kind requestKind) *request {
	q := &co.req
	q.kind, q.n, q.err, q.refused = kind, 0, nil, nil
	q.buf, q.bufs = nil, nil // of one that was refused
	return q
}

// wait yields until req, its own, is complete.
func (co *coroutine) wait() {
	var here byte
	co.sp = uintptr(unsafe.Pointer(&here))
	co.yield(struct{}{})
}

// panicked ends c because its handler did.
func (c *conn) panicked(value any) {
	c.loop.count.Panics++
	c.f.Panicked(&fd.PanicError{Value: value, Stack: debug.Stack()})
}

// enterHandler and leaveHandler stand around everything that runs code of the
// application on the loop's thread.
func (l *loop) enterHandler(r *runner) {
	l.handlers.Store(l.handlers.Load() + 1)
	l.running.Store(r) // a new coroutine has no g yet, which nobody's is equal to
}

// leaveHandler may be called twice, after a handler that ended its goroutine.
func (l *loop) leaveHandler() {
	if n := l.handlers.Load(); n%2 != 0 {
		l.handlers.Store(n + 1)
	}
	l.running.Store(&l.self)
}

// ready has co resumed when the loop comes to it.
func (l *loop) ready(co *coroutine) {
	if l.lastReady == nil {
		l.firstReady = co
	} else {
		l.lastReady.after = co
	}
	l.lastReady = co
}

// runReady resumes those whose wait is over.
func (l *loop) runReady() {
	for l.firstReady != nil {
		co := l.firstReady
		l.firstReady, co.after = co.after, nil
		if l.firstReady == nil {
			l.lastReady = nil
		}
		l.resume(co)
	}
}

// Offload runs work on a goroutine of its own, and lets the loop go on meanwhile.
func (c *conn) Offload(work func()) {
	r := c.loop.anywhere()
	if r == nil {
		work()
		return
	}
	if r.nested {
		panic("ringfd: Offload in a coroutine inside a handler (iter.Pull), which cannot wait: run the coroutine in Offload")
	}
	if r.co == nil {
		panic("ringfd: Offload in a Data handler, which cannot wait: start a goroutine")
	}
	co := r.co
	var failure any
	done := false
	go func() {
		defer func() {
			if !done {
				failure = recover()
			}
			co.goOn()
		}()
		work()
		done = true
	}()
	co.loop.count.Offloads++
	co.wait()
	if !done {
		panic(failure) // work's panic is the caller's; nil: it ended its goroutine
	}
}
