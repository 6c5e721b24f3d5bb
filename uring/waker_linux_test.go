package uring

import (
	"runtime"
	"sync"
	"testing"
)

// TestWakers: no waker is lent twice, those that come back are lent again, and a wake
// may come before its sleep.
func TestWakers(t *testing.T) {
	e := bareEngine(t)
	w := &e.wakers
	const borrowers, times = 8, 500
	var mu sync.Mutex
	lent, ever := make(map[waker]bool), make(map[waker]bool)
	var wg sync.WaitGroup
	for range borrowers {
		wg.Go(func() {
			for range times {
				s := sleeper{waker: w.get()}
				mu.Lock()
				if lent[s.waker] {
					t.Error("a waker is lent twice")
				}
				lent[s.waker], ever[s.waker] = true, true
				mu.Unlock()
				s.wake()
				runtime.Gosched()
				s.sleep()
				mu.Lock()
				delete(lent, s.waker)
				mu.Unlock()
				w.put(s.waker)
			}
		})
	}
	wg.Wait()
	if most := borrowers + wakersAtOnce; len(ever) > most {
		t.Errorf("%d wakers were made, want %d at most", len(ever), most)
	}
}

// TestWakersEnd: callers that come after the end get a waker still.
func TestWakersEnd(t *testing.T) {
	var w wakers
	w.start()
	w.stop()
	s := sleeper{waker: w.get()}
	s.wake()
	s.sleep()
}
