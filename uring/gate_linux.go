package uring

import (
	"context"
	"sync"
	"sync/atomic"
)

// gate lets one call at a time into a direction of a socket. It is a mutex whose
// waiters may also be coroutines of a loop, which must not hold their thread.
//
// A waiter that was woken competes with callers that come meanwhile, as with
// sync.Mutex: a hand-over would cost a context switch per call.
type gate struct {
	state atomic.Uint32
	mu    sync.Mutex
	first *waiter // of those that wait
	last  *waiter
}

// waiter is a caller in the queue of a gate.
type waiter struct {
	sleeper
	next *waiter
}

const (
	gateFree uint32 = iota
	gateHeld
	gateContended // held, and perhaps waited for
)

func (g *gate) tryLock() bool { return g.state.CompareAndSwap(gateFree, gateHeld) }

// lock takes the gate. e makes what the caller sleeps on. The error is that of a
// caller that cannot wait, a data handler.
func (g *gate) lock(e *Engine) error {
	if g.tryLock() {
		return nil
	}
	return g.lockSlowly(context.Background(), e)
}

// lockContext is lock, and ends when ctx does.
func (g *gate) lockContext(ctx context.Context, e *Engine) error {
	if g.tryLock() {
		return nil
	}
	return g.lockSlowly(ctx, e)
}

func (g *gate) lockSlowly(ctx context.Context, e *Engine) error {
	co, err := e.coroutine()
	if err != nil {
		return err
	}
	s := &waiter{sleeper: sleeper{co: co}}
	if co == nil {
		s.waker = e.wakers.get()
		defer func() { e.wakers.put(s.waker) }()
	}
	for g.state.Swap(gateContended) != gateFree {
		g.mu.Lock()
		if g.state.Load() != gateContended { // released meanwhile
			g.mu.Unlock()
			continue
		}
		g.enqueue(s)
		g.mu.Unlock()
		ended := false
		stop := func() bool { return true }
		if ctx.Done() != nil {
			stop = context.AfterFunc(ctx, func() {
				if g.leave(s) {
					ended = true
					s.wake()
				}
			})
		}
		s.sleep()
		stop()
		if ended {
			return ctx.Err()
		}
	}
	return nil
}

// enqueue puts s at the end of the queue. The lock is held.
func (g *gate) enqueue(s *waiter) {
	if s.next = nil; g.first == nil {
		g.first = s
	} else {
		g.last.next = s
	}
	g.last = s
}

// leave takes s out of the queue, and reports whether it was there.
func (g *gate) leave(s *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	var before *waiter
	for at := g.first; at != nil; before, at = at, at.next {
		if at != s {
			continue
		}
		if before == nil {
			g.first = s.next
		} else {
			before.next = s.next
		}
		if g.last == s {
			g.last = before
		}
		return true
	}
	return false
}

func (g *gate) unlock() {
	if g.state.Swap(gateFree) == gateContended {
		g.wakeNext()
	}
}

func (g *gate) wakeNext() {
	g.mu.Lock()
	next := g.first
	if next != nil {
		g.first = next.next
	}
	g.mu.Unlock()
	if next != nil {
		next.wake()
	}
}
