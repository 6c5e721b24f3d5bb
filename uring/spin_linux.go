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
func (p *parked) spin(o *op) bool {
	if p.busyPoll <= 0 || !p.spinning.CompareAndSwap(false, true) {
		return false
	}
	defer p.spinning.Store(false)
	r := p.ring
	// A ring that holds completions back until we enter, and does not say so.
	ask := p.used.Has(FeatureCoopTaskrun) && !p.used.Has(FeatureTaskrunFlag)
	start := time.Now()
	for last := start; ; {
		if ask || r.flags()&sqTaskrun != 0 {
			p.getEvents()
		}
		if r.ready() > 0 && p.harvestMu.TryLock() {
			p.harvest(nil)
		}
		if o.state.Load() == opDone {
			p.spins.Add(1)
			return true
		}
		runtime.Gosched()
		now := time.Now()
		if now.Sub(last) > yieldLimit || now.Sub(start) > p.busyPoll {
			p.spinsLost.Add(1)
			return o.state.Load() == opDone
		}
		last = now
	}
}
