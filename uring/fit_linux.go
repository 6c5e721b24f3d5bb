package uring

import (
	"errors"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/internal/testsize"
)

const (
	minEntries = 8
	cqPerSQ    = 8
)

// makeRing makes a ring whose completion queue is so many times as long, unless a
// test wants another size.
func makeRing(entries, flags uint32) (*ring, error) {
	sq, cq := testsize.Now.Rings(entries, entries*cqPerSQ)
	return newRing(sq, cq, flags)
}

// newRingThatFits halves the ring while the memory limit refuses it.
func newRingThatFits(entries, flags uint32) (*ring, error) {
	for ; entries > minEntries; entries /= 2 {
		r, err := makeRing(entries, flags)
		if !errors.Is(err, syscall.ENOMEM) {
			return r, err
		}
	}
	return newSmallRing(flags)
}

// newSmallRing makes a ring of the smallest size. The kernel goes on charging
// closed rings to RLIMIT_MEMLOCK for a moment, the trials' of a probe for
// example, and tells nobody when that ends: so it is tried for a while.
func newSmallRing(flags uint32) (*ring, error) {
	const moment, moments = time.Millisecond, 100
	for waited := 0; ; waited++ {
		r, err := makeRing(minEntries, flags)
		if !errors.Is(err, syscall.ENOMEM) || waited == moments {
			return r, err
		}
		time.Sleep(moment)
	}
}
