package uring

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestGate has many goroutines compete for a gate, some of them for a while only: one is
// in at a time, all that wait for as long as it takes get in, and nobody is left waiting.
func TestGate(t *testing.T) {
	e := bareEngine(t)
	const callers, rounds = 16, 2000
	var g gate
	var inside atomic.Int32
	entered, plain, gaveUp := 0, 0, atomic.Int64{} // the first two are guarded by the gate alone
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for round := range rounds {
				if i%4 == 0 {
					ctx, cancel := context.WithCancel(context.Background())
					if round%2 == 0 {
						go cancel()
					}
					err := g.lockContext(ctx, e)
					cancel()
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						gaveUp.Add(1)
						continue
					}
				} else {
					if err := g.lock(e); err != nil {
						t.Error(err)
						return
					}
					plain++
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d are inside", n)
				}
				entered++
				if round%8 == 0 {
					runtime.Gosched()
				}
				inside.Add(-1)
				g.unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("somebody waits for ever: state %d, %d in the queue, %d have entered", g.state.Load(), g.length(), entered)
	}
	if plain != callers*3/4*rounds || entered+int(gaveUp.Load()) != callers*rounds {
		t.Errorf("%d entered, of whom %d would wait, and %d gave up", entered, plain, gaveUp.Load())
	}
	if g.state.Load() != gateFree || g.length() != 0 {
		t.Errorf("state %d, %d in the queue", g.state.Load(), g.length())
	}
}

// TestGateContext: a caller whose context ends leaves the queue, and the next in it is
// woken all the same.
func TestGateContext(t *testing.T) {
	e := bareEngine(t)
	var g gate
	if err := g.lock(e); err != nil {
		t.Fatal(err)
	}
	queued := func(n int) func() bool {
		return func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.length() == n
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- g.lockContext(ctx, e) }()
	until(t, "one waits", queued(1))
	go func() { second <- g.lock(e) }()
	until(t, "two wait", queued(2))
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	if len(second) != 0 {
		t.Fatal("the second is inside with us")
	}
	g.unlock()
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
	g.unlock()
	if !g.tryLock() {
		t.Error("the gate is not free")
	}
	if g.tryLock() {
		t.Error("two are inside")
	}
}

// TestGateBarging: a caller that comes while the next one wakes may go first; the woken
// one waits on, and is not forgotten.
func TestGateBarging(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that we go first
	e := bareEngine(t)
	var g gate
	for range 100 {
		if err := g.lock(e); err != nil {
			t.Fatal(err)
		}
		waiter := make(chan error, 1)
		go func() { waiter <- g.lock(e) }()
		until(t, "it waits", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.length() == 1 })
		g.unlock()
		if g.tryLock() {
			runtime.Gosched()
			if len(waiter) != 0 {
				t.Fatal("two are inside")
			}
			g.unlock()
		}
		if err := <-waiter; err != nil {
			t.Fatal(err)
		}
		g.unlock()
	}
}

// length is how many callers wait.
func (g *gate) length() (n int) {
	for w := g.first; w != nil; w = w.next {
		n++
	}
	return n
}
