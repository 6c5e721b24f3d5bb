package uring

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where goroutines that compute take every P, calls do not let them run first, and
// what is there goes without the ring; until they have gone.
func TestCrowd(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	var stop atomic.Bool
	var hog sync.WaitGroup
	hog.Go(func() {
		for !stop.Load() {
		}
	})
	defer hog.Wait()
	defer stop.Store(true)
	until(t, "a yield takes the time slice of another", func() bool {
		writeAll(t, s, peer, []byte("who is here?"))
		return s.ring.crowd.isHere()
	})
	s.ring.crowd.until.Store(clock() + int64(time.Minute))
	before := s.ring.count()
	echo := func() {
		writeAll(t, s, peer, []byte("in"))
		if _, err := unix.Write(peer, []byte("out")); err != nil {
			t.Fatal(err)
		}
		var got [8]byte
		if n, err := s.Read(got[:]); err != nil || string(got[:n]) != "out" {
			t.Fatalf("read %q, %v", got[:n], err)
		}
	}
	for range 10 {
		echo()
	}
	if n := s.ring.count() - before; n != 0 {
		t.Errorf("%d requests in a crowd", n)
	}
	stop.Store(true)
	s.ring.crowd.until.Store(clock())
	echo()
	if s.ring.count() == before {
		t.Error("the ring is not used again when the crowd has gone")
	}
}
