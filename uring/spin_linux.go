package uring

import (
	"runtime"
	"time"
)

// yieldLimit is how long a yield may take before the spinner takes it that
// another goroutine ran, and parks: a P that has work must not spin.
const yieldLimit = 3 * time.Microsecond

// spin polls the ring's memory for o's completion for at most busyPoll and
// reports whether it came. One goroutine spins at a time. It yields between
// looks, and gives up the moment something else ran meanwhile.
func (e *Engine) spin(o *op) bool {
	if e.busyPoll <= 0 || !e.spinning.CompareAndSwap(false, true) {
		return false
	}
	defer e.spinning.Store(false)
	r := e.ring
	start := time.Now()
	for last := start; ; {
		if r.flags()&sqTaskrun != 0 {
			e.getEvents()
		}
		if r.ready() > 0 && e.harvestMu.TryLock() {
			e.harvest(nil)
		}
		if o.state.Load() == opDone {
			e.spins.Add(1)
			return true
		}
		runtime.Gosched()
		now := time.Now()
		if now.Sub(last) > yieldLimit || now.Sub(start) > e.busyPoll {
			e.spinsLost.Add(1)
			return o.state.Load() == opDone
		}
		last = now
	}
}
