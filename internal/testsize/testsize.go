// Package testsize lets tests have rings and buffers smaller than any that users can
// have, and as many rings as they want, so that what is rare happens all the time:
// queues that are full, buffers that have run out.
package testsize

// Sizes replace those of package uring where they are not zero.
type Sizes struct {
	Poll    int    // how many pollers there are at most
	SQ, CQ  uint32 // entries of the queues of every ring; powers of two
	Buffer  uint32 // the bytes of a provided buffer
	Buffers int    // how many of them a loop has at most; a power of two
}

// Now are the sizes of rings and buffers that are made from here on. They are to be
// set while no Backend is open.
var Now Sizes

// Pollers returns how many pollers there are at most.
func (s Sizes) Pollers(n int) int {
	if s.Poll != 0 {
		n = s.Poll
	}
	return n
}

// Rings returns the sizes of the queues of a ring.
func (s Sizes) Rings(sq, cq uint32) (uint32, uint32) {
	if s.SQ != 0 {
		sq = s.SQ
	}
	if s.CQ != 0 {
		cq = s.CQ
	}
	return sq, cq
}

// Pool returns the size and the number of the buffers of a loop.
func (s Sizes) Pool(size uint32, most int) (uint32, int) {
	if s.Buffer != 0 {
		size = s.Buffer
	}
	if s.Buffers != 0 {
		most = s.Buffers
	}
	return size, most
}
