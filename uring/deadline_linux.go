package uring

import (
	"math"
	"net"
	"sync"
	"time"
)

// deadline aborts the calls of one direction from a point in time on. Setting it makes
// no system call: one that has passed sets a bit, one to come arms a timer of the Go
// runtime, and one that comes later than the timer only moves on when that fires.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	at      int64 // by the clock, which no change of the wall clock moves; 0: none
	fires   int64 // when the timer does; 0: it is not armed
	stopped bool  // the socket is closed

	suspended bool // the direction does something that has no deadline
}

// setDeadline makes the calls of d fail with os.ErrDeadlineExceeded from t on; never, for
// the zero time.
func (d *direction) setDeadline(e *Engine, t time.Time) error {
	l := &d.deadline
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return net.ErrClosed
	}
	now := clock()
	if l.at = 0; !t.IsZero() {
		l.at, now = e.deadlineAt(t)
	}
	d.applyDeadline(e, now)
	return nil
}

// deadlineAt is t by the clock, and now is now; what is too far away is the end of all
// time. A caller in a synctest bubble has another now, and no less to wait.
func (e *Engine) deadlineAt(t time.Time) (at, now int64) {
	wait := time.Until(t)
	if now = clock(); inBubble(now) {
		now = e.clockOutside()
	}
	switch {
	case wait <= 0:
		return now, now
	case int64(wait) <= math.MaxInt64-max(now, 0): // it is negative where the engine is in the bubble, too
		return now + int64(wait), now
	}
	return math.MaxInt64, now
}

// applyDeadline has the deadline take effect, now or later. Its lock is held.
func (d *direction) applyDeadline(e *Engine, now int64) {
	l := &d.deadline
	if l.at == 0 || l.suspended {
		d.allow(abortDeadline)
		return
	}
	if l.at <= now {
		d.abort(abortDeadline)
		return
	}
	d.allow(abortDeadline)
	if l.fires != 0 && l.fires <= l.at {
		return
	}
	l.fires = l.at
	wait := time.Duration(l.at - now)
	if inBubble(clock()) {
		d.armOutside(e, wait)
	} else {
		d.arm(e, wait)
	}
}

// clockOutside and armOutside are clock and arm where no bubble is. They are functions of
// their own so that their closures cost others nothing.
func (e *Engine) clockOutside() (now int64) {
	e.wakers.outside(func() { now = clock() })
	return now
}

func (d *direction) armOutside(e *Engine, wait time.Duration) {
	e.wakers.outside(func() { d.arm(e, wait) })
}

// arm has the timer fire after wait.
func (d *direction) arm(e *Engine, wait time.Duration) {
	l := &d.deadline
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, func() { d.timerFired(e) })
	} else {
		l.timer.Reset(wait)
	}
}

func (d *direction) timerFired(e *Engine) {
	l := &d.deadline
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	// One that was reset as it fired comes twice: the second finds its time.
	l.fires = 0
	d.applyDeadline(e, clock())
}

// suspendDeadline has the deadline wait until it is off again: what the direction does
// meanwhile has none.
func (d *direction) suspendDeadline(e *Engine, on bool) {
	d.deadline.mu.Lock()
	defer d.deadline.mu.Unlock()
	d.deadline.suspended = on
	if !d.deadline.stopped {
		_, now := e.deadlineAt(time.Time{})
		d.applyDeadline(e, now)
	}
}

// stopDeadline ends the timer for good.
func (d *direction) stopDeadline() {
	d.deadline.mu.Lock()
	defer d.deadline.mu.Unlock()
	d.deadline.stopped = true
	if d.deadline.timer != nil {
		d.deadline.timer.Stop()
	}
}
