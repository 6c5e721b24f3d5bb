package uring

import (
	"net"
	"os"
	"sync"
	"time"
)

// deadline aborts the calls of one direction from a point in time on. Setting
// it arms a timer of the Go runtime and costs no syscall.
type deadline struct {
	mu      sync.Mutex
	ring    *parked // that of the op, once a deadline was set
	timer   *time.Timer
	at      time.Time // zero: none
	expired bool      // the op is aborted
	stopped bool      // the socket is closed

	suspended bool // the op does something that has no deadline
}

// set makes o fail with os.ErrDeadlineExceeded from t on; never, for the zero
// time.
func (d *deadline) set(p *parked, o *op, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return net.ErrClosed
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	d.ring, d.at = p, t
	if !t.IsZero() {
		wait := time.Until(t)
		if wait <= 0 {
			d.expire(o)
			return nil
		}
		if d.timer == nil {
			d.timer = time.AfterFunc(wait, func() { d.fire(o) })
		} else {
			d.timer.Reset(wait)
		}
	}
	if d.expired {
		d.expired = false
		p.allow(o, abortDeadline)
	}
	return nil
}

// fire is the timer's. One that was stopped or set anew too late to know finds
// that it is not its time.
func (d *deadline) fire(o *op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped && !d.at.IsZero() && time.Until(d.at) <= 0 {
		d.expire(o)
	}
}

func (d *deadline) expire(o *op) {
	if d.suspended {
		return
	}
	d.expired = true
	d.ring.abort(o, abortDeadline, os.ErrDeadlineExceeded)
}

// move is for an op that goes to another ring.
func (d *deadline) move(p *parked) {
	d.mu.Lock()
	d.ring = p
	d.mu.Unlock()
}

// suspend has the deadline wait until resume: what o does meanwhile has none.
func (d *deadline) suspend(p *parked, o *op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.suspended = true
	if d.expired {
		d.expired = false
		p.allow(o, abortDeadline)
	}
}

func (d *deadline) resume(o *op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.suspended = false
	if !d.stopped && !d.at.IsZero() && time.Until(d.at) <= 0 {
		d.expire(o)
	}
}

// stop ends the timer for good.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// SetReadDeadline aborts receives from t on.
func (s *Socket) SetReadDeadline(t time.Time) error {
	return s.read.deadline.set(s.ring, &s.read.op, t)
}

// SetWriteDeadline aborts sends from t on.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	return s.write.deadline.set(s.ring, &s.write.op, t)
}
