package uring

import (
	"runtime"
	"sync/atomic"
	"time"
)

// crowd is whether goroutines that compute take every P. Then to let others run is to
// wait for their time slices, of 10 ms each, and what is one system call away takes as
// long as that.
//
// A yield may be long, too, because the kernel gave the thread's core to another. So it
// takes several in a row.
type crowd struct {
	inRow atomic.Int32 // long yields
	until atomic.Int64 // by the clock; 0: never was
}

const (
	longInRow = 3
	// crowdedFor is how long a crowd counts as one, in yields of the length that told.
	crowdedFor = 16
)

func (c *crowd) isHere() bool {
	until := c.until.Load()
	return until != 0 && until > clock()
}

// yield lets other goroutines run, and returns how long they did.
func yield() (took int64) {
	began := clock()
	runtime.Gosched()
	return clock() - began
}

// yielded is told of each yield.
func (c *crowd) yielded(took int64, isLong bool) {
	switch {
	case !isLong:
		if c.inRow.Load() != 0 {
			c.inRow.Store(0)
		}
	case c.inRow.Add(1) >= longInRow:
		c.until.Store(clock() + took*crowdedFor)
	}
}

// A parked ring's yield has let others run than callers of the ring if it took
// strangersRan for each request that is in the batch after it. A caller that computes
// for as long as that between its calls gains nothing by a batch either.
const (
	strangersRan = int64(50 * time.Microsecond)
	shortYield   = int64(time.Millisecond)
)

// gather lets every goroutine that can run add to the batch.
func (p *parked) gather() {
	if p.crowd.isHere() {
		return
	}
	took := yield()
	isLong := took > shortYield
	if isLong {
		p.mu.Lock()
		isLong = took > strangersRan*int64(p.submitted-p.taken)
		p.mu.Unlock()
	}
	p.crowd.yielded(took, isLong)
}

// longYield is how long a loop's yield takes in a crowd, and fairTurn how long it
// keeps its P then before it yields again: as goroutines do that compute.
const longYield, fairTurn = int64(3 * time.Millisecond), int64(10 * time.Millisecond)

// letOthersRun gives the P to goroutines that wait for one.
func (l *loop) letOthersRun() {
	l.wokeOthers, l.waitedFor = false, false
	took := yield()
	l.crowd.yielded(took, took > longYield)
	l.yielded = clock()
}

// yieldEvery is how often a loop that keeps its P looks whether goroutines wait for
// one. Those that were there the last time already are let run.
const yieldEvery = int64(200 * time.Microsecond)

func (l *loop) yieldIfWanted(now int64) {
	if l.crowd.isHere() && now-l.yielded < fairTurn {
		return
	}
	if l.wokeOthers {
		l.letOthersRun()
		return
	}
	if now-l.yielded < yieldEvery {
		return
	}
	l.yielded = now
	if !othersCouldRun(&l.runnable) {
		l.waitedFor = false
	} else if l.waitedFor {
		l.letOthersRun()
	} else {
		l.waitedFor = true
	}
}
