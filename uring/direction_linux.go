package uring

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// direction is one half of a socket: its receives or its sends. A call holds the
// gate. What the poller, deadlines, contexts and Close say to the call is in one word.
type direction struct {
	gate  gate
	state atomic.Uint32
	sleeper

	// What the poller does for a parked call: it receives into buf, which the caller
	// owns again when it wakes. A call without buf is only woken.
	buf  []byte
	res  int32 // the result, if done
	done bool
	last int // how many bytes the last receive brought

	contextErr error // of abortContext; written before that bit is set
	deadline   deadline
}

// The bits of a direction's state.
//
//	          event                      event, claimed            result
//	(empty) ────────▶ ready    waiting ───────────────▶ taken ────────────▶ (empty) or ready
//	   │ park           ▲         │ event, not claimed: ready; an abort: its bit
//	   └────────────────┼─────────┘
//	                    └ a call took something, and more may be there
//
// Whoever clears waiting or taken wakes the caller, once.
const (
	// dirReady: a call may find something, and makes its system call. Without it
	// there is nothing, and an event will come.
	dirReady uint32 = 1 << iota
	// dirHungUp: the end of the connection has been seen, or an error. There is always
	// something to find behind the data, which the socket does not announce again.
	dirHungUp
	// dirUrgent: urgent data has come. At its mark a receive finds nothing, though there
	// is something, while the thread has a signal pending (tcp_recvmsg), which Go's
	// scheduler sends. So what finds nothing is tried again.
	dirUrgent
	// dirWaiting: a call is parked.
	dirWaiting
	// dirTaken: the poller makes the system call of the parked call.
	dirTaken
	// The reasons why calls are refused. The first of them is told.
	abortClosed
	abortContext
	abortDeadline

	dirOpen    = dirReady | dirHungUp
	dirAborted = abortClosed | abortContext | abortDeadline
)

// refusal is why a call in this state must not go on, or nil.
func (d *direction) refusal(state uint32) error {
	switch {
	case state&dirAborted == 0:
		return nil
	case state&abortClosed != 0:
		return net.ErrClosed
	case state&abortContext != 0:
		return d.contextErr
	}
	return os.ErrDeadlineExceeded
}

// attempt begins a system call that may find nothing. It returns the readiness that
// ended attempts restore, since another event may never come.
func (d *direction) attempt(state uint32) (had uint32) {
	d.state.And(^dirOpen)
	return state & dirOpen
}

// found says that an attempt found something, so that the next one may too.
func (d *direction) found(had uint32) { d.state.Or(had | dirReady) }

// park waits for an event, or until the poller has received into buf, or for an
// abort. The direction has been found empty. It returns at once if that has changed.
func (d *direction) park(e *Engine, buf []byte) error {
	co, err := e.coroutine()
	if err != nil {
		return err
	}
	if d.co = co; co == nil && d.waker == nil {
		d.waker = e.wakers.get()
	}
	d.buf, d.done = buf, false
	for {
		state := d.state.Load()
		if state&(dirOpen|dirAborted) != 0 {
			d.buf = nil
			return nil
		}
		if d.state.CompareAndSwap(state, state|dirWaiting) {
			break
		}
	}
	d.sleep()
	d.buf = nil
	return nil
}

// event says that something has come. It reports whether the poller may make the
// parked call's system call, which it then must: see finish and release.
func (d *direction) event(bits uint32, claim bool) (claimed bool) {
	for {
		state := d.state.Load()
		next := state | bits
		waiting := state&dirWaiting != 0
		if waiting {
			next &^= dirWaiting
			if claim {
				next = next&^dirReady | dirTaken
			}
		}
		if next == state {
			return false
		}
		if d.state.CompareAndSwap(state, next) {
			if waiting && !claim {
				d.wake()
			}
			return waiting && claim
		}
	}
}

// release has the parked call look for itself.
func (d *direction) release() { d.wakeTaken(dirReady) }

// finish gives the parked call its result. more: the socket has more.
func (d *direction) finish(res int32, more bool) {
	switch syscall.Errno(-res) {
	case syscall.EAGAIN:
		d.parkAgain()
		return
	case syscall.EINTR: // it has not looked
		d.release()
		return
	}
	d.res, d.done = res, true
	if more {
		d.wakeTaken(dirReady)
	} else {
		d.wakeTaken(0)
	}
}

func (d *direction) wakeTaken(bits uint32) {
	for {
		state := d.state.Load()
		if d.state.CompareAndSwap(state, state&^dirTaken|bits) {
			d.wake()
			return
		}
	}
}

// parkAgain has a call that was taken wait on: its event announced nothing.
func (d *direction) parkAgain() {
	for {
		state := d.state.Load()
		if state&dirUrgent != 0 {
			d.release()
			return
		}
		if state&(dirOpen|dirAborted) != 0 {
			d.wakeTaken(0)
			return
		}
		if d.state.CompareAndSwap(state, state&^dirTaken|dirWaiting) {
			return
		}
	}
}

// abort refuses calls from here on, and ends the one that waits. One that the poller
// has taken ends by itself.
func (d *direction) abort(bit uint32) {
	for {
		state := d.state.Load()
		if d.state.CompareAndSwap(state, (state|bit)&^dirWaiting) {
			if state&dirWaiting != 0 {
				d.wake()
			}
			return
		}
	}
}

// allow takes an abort back.
func (d *direction) allow(bit uint32) {
	if d.state.Load()&bit != 0 {
		d.state.And(^bit)
	}
}

// abortOn aborts d when ctx ends. The function that it returns stops that, and waits
// for it where it is under way. The gate is held.
func (d *direction) abortOn(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	var done sync.Mutex // a channel would belong to a bubble, where ctx may not
	done.Lock()
	stopAfter := context.AfterFunc(ctx, func() {
		d.contextErr = ctx.Err()
		d.abort(abortContext)
		done.Unlock()
	})
	return func() {
		if !stopAfter() {
			done.Lock()
			d.allow(abortContext)
		}
	}
}
