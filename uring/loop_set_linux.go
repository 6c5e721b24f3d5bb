package uring

import (
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// LoopConfig configures the loops. Zero durations and sizes mean never.
type LoopConfig struct {
	// Count is how many loops there are; zero is one per P, at most one per core.
	Count int
	// WriteLimit is how many bytes of a connection may wait to be sent.
	WriteLimit int
	// Drain is how long what was written before a Close may take to leave, and how
	// long handlers may go on after the context of Serve has ended.
	Drain time.Duration
	// HandlerLimit is how long a handler may hold its loop before Events.Held.
	HandlerLimit time.Duration
	// ZeroCopy is the least size of a write that is sent without a copy.
	ZeroCopy int
	// NAPI is how long a loop that waits polls the network card.
	NAPI time.Duration
	// BusyPoll is how long a loop spins before it waits.
	BusyPoll time.Duration
	// Accept says what to do when an accept fails.
	Accept accept.Loop
	// Events are told of what happens.
	Events *fd.Events
}

// loops are those of an engine.
type loops struct {
	engine *Engine
	config LoopConfig
	all    []*loop
	next   atomic.Uint32 // the loop of the next connection
	watch  watchdog
}

// pick picks the loop of a new connection: they take turns. Handing connections
// over spreads them evenly; SO_REUSEPORT, the other way, goes by a hash, and gives
// some loops twice the connections of others where there are few and they stay.
//
// One that has no ring for now is passed over, if there is another.
func (s *loops) pick() *loop {
	n := s.next.Add(1)
	for i := range uint32(len(s.all)) {
		if l := s.all[(n+i)%uint32(len(s.all))]; !l.ringless.Load() {
			return l
		}
	}
	return s.all[n%uint32(len(s.all))]
}

// startLoops returns the loops, which start with the first use.
func (e *Engine) startLoops() (*loops, error) {
	e.loopsMu.Lock()
	defer e.loopsMu.Unlock()
	if e.loopsClosed {
		return nil, net.ErrClosed
	}
	if set := e.loops.Load(); set != nil {
		return set, nil
	}
	set := &loops{engine: e, config: e.config.Loops}
	count := set.config.Count
	if count == 0 {
		count = min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	}
	err := net.ErrClosed
	e.wakers.outside(func() { err = set.start(count) })
	if err != nil {
		return nil, err
	}
	e.loops.Store(set)
	return set, nil
}

func (s *loops) start(count int) error {
	for range count {
		l := &loop{set: s, used: s.engine.used}
		if err := l.start(); err != nil {
			if len(s.all) > 0 {
				break // fewer do as well
			}
			return explain(err)
		}
		s.all = append(s.all, l)
	}
	for _, l := range s.all {
		close(l.begin)
	}
	s.watch.start(s)
	return nil
}

// closeLoops ends the loops: their connections are closed, and their handlers
// waited for.
func (e *Engine) closeLoops() {
	e.loopsMu.Lock()
	e.loopsClosed = true
	set := e.loops.Load()
	e.loopsMu.Unlock()
	if set == nil {
		return
	}
	for _, l := range set.all {
		l.post(&request{kind: requestRun, run: (*loop).stop})
	}
	for _, l := range set.all {
		<-l.ended
	}
	set.watch.stop()
}

// runner returns who runs if the caller is on the thread of a loop, or nil.
func (e *Engine) runner() *runner {
	set := e.loops.Load()
	if set == nil {
		return nil
	}
	return set.all[0].anywhere()
}

// newConn makes a connection of l. It makes no system call.
func newConn(l *loop, s *serving) *conn {
	return &conn{loop: l, serving: s, handle: handle{descriptor: descriptor{sysfd: noFD}}}
}

// Served returns a socket that Connect will make, and that h serves once Start is
// called. When there are no loops to serve it, Connect says why.
func (e *Engine) Served(config *fd.DialConfig, h fd.Handler) fd.Socket {
	s := &serving{handler: h}
	s.left.Store(1)
	set, err := e.startLoops()
	if err != nil {
		s.broken = err
		return newConn(nil, s)
	}
	c := newConn(set.pick(), s)
	c.dialing = e.NewSocket(config)
	return c
}

// Start has the handler of f serve it. f is of Served, and connected.
func (e *Engine) Start(f *fd.FD) {
	if c := f.Socket().(*conn); c.start(f) {
		c.handOver()
	}
}

// start notes that f is given to its loop, unless it is closed.
func (c *conn) start(f *fd.FD) bool {
	c.starting.Lock()
	defer c.starting.Unlock()
	if c.closed.Load() {
		return false
	}
	c.started, c.f = true, f
	return true
}

// handOver gives c to its loop.
func (c *conn) handOver() {
	if !c.loop.post(&request{kind: requestRun, run: func(l *loop) { l.adopt(c) }}) {
		c.loop.refuse(c) // it has ended: what was its own is ours
	}
}

// stop closes all connections; the loop ends after the last.
func (l *loop) stop() {
	l.stopping = true
	for _, s := range l.conns.slots {
		if c := s.c; c != nil && c.phase == phaseOpen {
			l.beginClose(c)
			l.touch(c)
		} else if c != nil {
			l.touch(c) // it need not flush any more
		}
	}
	l.stopIfDone()
}

// stopIfDone ends the loop when nothing is left to wait for.
func (l *loop) stopIfDone() {
	if l.conns.live > 0 || l.unreturned > 0 || l.accepting > 0 {
		return
	}
	l.mail.mu.Lock()
	l.over = l.mail.first == nil && l.mailLeft == nil
	l.mail.closed = l.over
	l.mail.mu.Unlock()
}

// close frees what the loop has. No request of a connection is in flight.
func (l *loop) close() {
	for len(l.idle) > 0 {
		co := l.idle[len(l.idle)-1]
		l.idle = l.idle[:len(l.idle)-1]
		l.end(co)
	}
	if l.timers.alarm != nil {
		l.timers.alarm.Stop()
	}
	l.endTurn()
	l.cancel(kindWake)
	l.cancel(kindRoom)
	for l.own > 0 && l.dead == nil {
		l.waitInKernel()
		l.harvest()
	}
	switch {
	case l.dead == nil:
		l.closeRing()
	case l.ring != nil:
		l.freeRing(cancelAll(l.spareFD, l.used))
	}
	l.mail.ended.Store(true)
	for l.mail.wakers.Load() > 0 { // none begins any more
		runtime.Gosched()
	}
	_ = sysClose(l.wakeFD)
	_ = sysClose(l.roomFD)
	l.running.Store(nil) // the runtime gives the goroutine's record to another
}

// asErrno finds the errno in err.
func asErrno(err error) (errno syscall.Errno, ok bool) {
	ok = errors.As(err, &errno)
	return errno, ok
}
