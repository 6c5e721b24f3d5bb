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
