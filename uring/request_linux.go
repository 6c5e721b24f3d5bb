package uring

import (
	"net"
	"sync"
	"sync/atomic"
)

// request is something that is asked of a loop, and what came of it. Who asks
// waits, as a goroutine or as a coroutine, or does not.
type request struct {
	kind requestKind
	c    *conn
	next *request // in the mail, or among the readers of a connection

	buf  []byte   // to read into, or to be sent
	bufs [][]byte // of a Writev
	left int      // bytes that are not sent yet

	n       int
	err     error
	refused error // why it must not go on, while the kernel has a part of it

	run func(l *loop) // of requestRun

	// Who waits: one of these, or nobody.
	co    *coroutine
	done  waker
	whole *broadcast
}

type requestKind uint8

const (
	requestRead requestKind = iota
	requestWrite
	requestCopy // a write whose bytes the request owns; nobody waits
	requestClose
	requestDeadline // of the kind n
	requestResume   // co waits no more
	requestRun      // anything that is not on the path of a message
)

// mail is what other threads ask of a loop.
type mail struct {
	mu          sync.Mutex
	first, last *request
	closed      bool // nobody reads it any more

	there    atomic.Bool // something was put in since the loop looked
	sleeping atomic.Bool // the loop waits in the kernel, or is about to

	wakeups atomic.Uint64 // how often the loop was woken

	wakers atomic.Int32 // are about to write to the loop's descriptor
	ended  atomic.Bool  // which is about to be closed
}

// post puts r into the mail of l and wakes it. False: the loop has ended.
func (l *loop) post(r *request) bool {
	if !l.put(r) {
		return false
	}
	l.wake()
	return true
}

func (l *loop) put(r *request) bool {
	m := &l.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	r.next = nil
	if m.last == nil {
		m.first = r
	} else {
		m.last.next = r
	}
	m.last = r
	m.there.Store(true)
	return true
}

// takeMail does what others asked for.
func (l *loop) takeMail() {
	m := &l.mail
	if l.mailLeft == nil && m.there.Load() {
		m.mu.Lock()
		l.mailLeft = m.first
		m.first, m.last = nil, nil
		m.there.Store(false)
		m.mu.Unlock()
	}
	for l.mailLeft != nil {
		r := l.mailLeft
		l.mailLeft, r.next = r.next, nil
		l.do(r)
		l.runReady()
	}
}

// do does what r asks for.
func (l *loop) do(r *request) {
	switch r.kind {
	case requestRead:
		l.startRead(r)
	case requestWrite, requestCopy:
		l.startWrite(r)
	case requestClose:
		l.startClose(r)
	case requestDeadline:
		l.deadlineSet(r.c, timerKind(r.n))
	case requestResume:
		l.ready(r.co)
	case requestRun:
		r.run(l)
	}
}

// newRequest lends a request to a goroutine.
func (e *Engine) newRequest() *request {
	if r, ok := e.requests.Get().(*request); ok {
		return r
	}
	return &request{done: e.wakers.get()}
}

func (e *Engine) putRequest(r *request) {
	*r = request{done: r.done}
	e.requests.Put(r)
}

// finish ends r, on whatever thread: who waits for it goes on.
func (l *loop) finish(r *request) {
	switch {
	case r.whole != nil:
		r.whole.finished(l)
	case r.co != nil:
		r.co.goOn()
	case r.done != nil:
		r.done <- struct{}{}
		l.wokeOthers = true
	}
}

// goOn ends the wait of co, from any thread.
func (co *coroutine) goOn() {
	if co.loop.here() != nil {
		co.loop.ready(co)
		return
	}
	co.resumption = request{kind: requestResume, co: co}
	co.loop.post(&co.resumption)
}

// ask has r done by c's loop and waits for it, wherever it is called. The caller
// is not on the loop's own goroutine, which cannot wait.
func (c *conn) ask(r *request, co *coroutine) {
	r.c = c
	if co == nil {
		if !c.loop.post(r) {
			r.err = net.ErrClosed
			return
		}
		<-r.done
		return
	}
	if co.loop == c.loop && (r.kind == requestRead || !c.hasMail()) {
		c.loop.do(r)
	} else if !c.loop.post(r) {
		r.err = net.ErrClosed
		return
	}
	co.wait()
}
