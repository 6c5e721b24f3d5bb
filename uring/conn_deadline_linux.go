package uring

import (
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// timerKind says what a timer of a connection is for.
type timerKind uint8

const (
	timerRead  timerKind = iota
	timerWrite           // deadlines of Read and Write
	timerClose           // what is written before a Close has left until then
	timerIdle            // of Handler.IdleTimeout
	timerKinds
)

// deadlineOfCalls is set by anyone, without a system call: the loop looks at it
// when a call begins to wait, and is told only while one does.
type deadlineOfCalls struct {
	at      atomic.Int64 // by the clock; 0: none
	waiting atomic.Bool
	index   int32 // in the timers, from 1; 0: not there
}

func (d *deadlineOfCalls) expired() bool {
	at := d.at.Load()
	return at != 0 && at <= clock()
}

// later is d from now by the clock.
func later(d time.Duration) int64 { return after(clock(), d) }

// after is d after at; what is too far away is the end of all time.
func after(at int64, d time.Duration) int64 {
	if int64(d) <= math.MaxInt64-max(at, 0) {
		return at + int64(d)
	}
	return math.MaxInt64
}

func (c *conn) setDeadline(kind timerKind, t time.Time) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	d := &c.deadlines[kind]
	var at int64
	if !t.IsZero() {
		at, _ = c.engine().deadlineAt(t)
	}
	d.at.Store(at)
	if c.loop == nil {
		return nil
	}
	if r := c.loop.here(); r != nil {
		c.loop.deadlineSet(c, kind)
		return nil
	}
	if d.waiting.Load() {
		q := &request{kind: requestDeadline, c: c, n: int(kind)}
		c.loop.post(q)
	}
	return nil
}

// waits notes that a call of c waits.
func (l *loop) waits(c *conn, kind timerKind) {
	c.deadlines[kind].waiting.Store(true)
	l.deadlineSet(c, kind)
}

// deadlineSet sees to it that the deadline is kept for those who wait.
func (l *loop) deadlineSet(c *conn, kind timerKind) {
	d := &c.deadlines[kind]
	at := d.at.Load()
	if at == 0 || !d.waiting.Load() || c.phase >= phaseReleasing || c.isData() && c.phase != phaseOpen {
		return
	}
	if at <= clock() {
		l.expire(c, kind)
		return
	}
	l.timers.arm(c, kind, at)
}

// expire ends the calls whose deadline has come.
func (l *loop) expire(c *conn, kind timerKind) {
	switch {
	case c.isData(): // it has no calls that wait: the connection ends, see endData
	case kind == timerRead:
		l.failReads(c, os.ErrDeadlineExceeded)
	case kind == timerWrite:
		l.failWrites(c, func(*request) error { return os.ErrDeadlineExceeded })
	}
	l.touch(c)
}

// overdue reports that a deadline of a data handler's connection has passed.
func (c *conn) overdue() bool {
	return c.idle || c.deadlines[timerRead].expired() || c.send.first != nil && c.deadlines[timerWrite].expired()
}

// watchIdle ends a connection that has received nothing for as long as its handler says.
// It costs a message no more than the time of the turn: the timer finds out when it fires.
func (l *loop) watchIdle(c *conn) {
	limit := int64(c.serving.handler.IdleTimeout)
	if limit <= 0 || c.phase != phaseOpen {
		return
	}
	if now := clock(); now-c.receivedAt >= limit {
		c.idle = true
		l.touch(c)
		return
	}
	l.timers.arm(c, timerIdle, after(c.receivedAt, time.Duration(limit)))
}

// timers is a heap of what is to happen when. A deadline that is moved or taken
// back leaves its timer: it finds out when it fires.
type timers struct {
	heap    []timer
	alarm   *time.Timer // where the kernel's wait has no timeout
	alarmAt int64
}

type timer struct {
	at   int64
	c    *conn
	kind timerKind
}

// first returns when the first timer fires.
func (t *timers) first() (int64, bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].at, true
}

// arm has c's timer fire at the given time or before.
func (t *timers) arm(c *conn, kind timerKind, at int64) {
	i := int(c.deadlines[kind].index) - 1
	if i < 0 {
		i = len(t.heap)
		t.heap = append(t.heap, timer{at, c, kind})
	} else if t.heap[i].at <= at {
		return
	} else {
		t.heap[i].at = at
	}
	t.up(i)
}

// disarm takes all timers of c away.
func (t *timers) disarm(c *conn) {
	for kind := range c.deadlines {
		if i := int(c.deadlines[kind].index) - 1; i >= 0 {
			t.remove(i)
		}
	}
}

func (t *timers) remove(i int) {
	last := len(t.heap) - 1
	removed := t.heap[i]
	removed.c.deadlines[removed.kind].index = 0
	t.heap[i] = t.heap[last]
	t.heap[last] = timer{}
	t.heap = t.heap[:last]
	if i < last {
		t.down(i)
		t.up(i)
	}
}

// fire does what is due.
func (t *timers) fire(l *loop) {
	if len(t.heap) == 0 {
		return
	}
	now := clock()
	for len(t.heap) > 0 && t.heap[0].at <= now {
		c, kind := t.heap[0].c, t.heap[0].kind
		t.remove(0)
		switch kind {
		case timerClose:
			l.touch(c)
		case timerIdle:
			l.watchIdle(c)
		default:
			l.deadlineSet(c, kind)
		}
	}
}

func (t *timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.heap[parent].at <= t.heap[i].at {
			break
		}
		t.heap[parent], t.heap[i] = t.heap[i], t.heap[parent]
		t.place(i)
		i = parent
	}
	t.place(i)
}

func (t *timers) down(i int) {
	for {
		least := 2*i + 1
		if least >= len(t.heap) {
			break
		}
		if right := least + 1; right < len(t.heap) && t.heap[right].at < t.heap[least].at {
			least = right
		}
		if t.heap[i].at <= t.heap[least].at {
			break
		}
		t.heap[i], t.heap[least] = t.heap[least], t.heap[i]
		t.place(i)
		i = least
	}
	t.place(i)
}

// place notes where the timer at i is.
func (t *timers) place(i int) { t.heap[i].c.deadlines[t.heap[i].kind].index = int32(i + 1) }

// wakeAt wakes l, which is about to wait, with a timer of the runtime. One that is
// set already will do, unless it may have rung before l was about to wait.
func (t *timers) wakeAt(l *loop, at int64) {
	if t.alarmAt == at && at > clock() {
		return
	}
	t.alarmAt = at
	left := time.Duration(at - clock())
	if t.alarm == nil {
		t.alarm = time.AfterFunc(left, l.wake)
	} else {
		t.alarm.Reset(left)
	}
}
