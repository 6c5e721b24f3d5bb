package uring

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/testsize"
)

// bufferPool is the memory that a loop's connections receive small messages into:
// a ring of buffers that the kernel takes from when data comes. Every buffer is
// given back when what it holds has been handled, at the end of the turn at the
// latest.
//
// Where the kernel can go on with a buffer that is not full they are large, and
// many messages lie side by side. Elsewhere each receive takes a whole one.
type bufferPool struct {
	ring    []byte
	entries []bufferEntry
	memory  []byte
	size    uint32

	tail, published uint16
	buffers         int      // how many there are, of as many as there are entries
	filled          []uint32 // of each buffer: how much the kernel has used
}

// How many buffers there are: at first, and at most. More than what a turn
// receives does no good: it only spreads over the cache.
const (
	largeBuffer, fewBuffers, mostLarge = 64 << 10, 4, 64
	smallBuffer, mostSmall             = 4 << 10, 256
)

// bufferEntry is struct io_uring_buf. The last field of the first entry is the
// ring's tail.
type bufferEntry struct {
	addr       uint64
	len        uint32
	bid, resvd uint16
}

const (
	cqeBuffer      = 1 << 0 // the completion names a buffer
	cqeBufferMore  = 1 << 4 // the kernel goes on with it
	cqeBufferShift = 16
)

// newBufferPool returns nil where the kernel has no buffer rings, or no memory for
// them.
func newBufferPool(r *ring, used Features) *bufferPool {
	if used.Has(FeatureBufferRing | FeatureBufferRingInc) {
		size, most := testsize.Now.Pool(largeBuffer, mostLarge)
		if p := makeBufferPool(r, size, most, pbufRingInc); p != nil {
			p.grow(fewBuffers)
			return p
		}
	}
	if !used.Has(FeatureBufferRing) {
		return nil
	}
	size, most := testsize.Now.Pool(smallBuffer, mostSmall)
	p := makeBufferPool(r, size, most, 0)
	if p != nil {
		p.grow(most)
	}
	return p
}

func makeBufferPool(r *ring, size uint32, most int, flags uint16) *bufferPool {
	p := &bufferPool{size: size, filled: make([]uint32, most)}
	var err error
	if p.ring, err = mapMemory(most * int(unsafe.Sizeof(bufferEntry{}))); err != nil {
		return nil
	}
	if p.memory, err = mapMemory(most * int(size)); err != nil {
		_ = unix.Munmap(p.ring)
		return nil
	}
	p.entries = unsafe.Slice((*bufferEntry)(unsafe.Pointer(unsafe.SliceData(p.ring))), most)
	reg := &bufReg{ringAddr: address(p.ring), ringEntries: uint32(most), flags: flags}
	if errno := r.register(registerPbufRing, unsafe.Pointer(reg), 1); errno != 0 {
		p.free()
		return nil
	}
	return p
}

// free releases the memory. The ring is closed, or never knew of it.
func (p *bufferPool) free() {
	_ = unix.Munmap(p.ring)
	_ = unix.Munmap(p.memory)
}

// mapMemory maps memory that a forked child does not get, and that costs nothing
// until it is touched.
func mapMemory(size int) ([]byte, error) {
	page := unix.Getpagesize()
	mem, err := unix.Mmap(-1, 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	_ = unix.Madvise(mem, unix.MADV_DONTFORK)
	return mem, nil
}

// grow adds up to n buffers, which the kernel sees after publish.
func (p *bufferPool) grow(n int) {
	for ; n > 0 && p.buffers < len(p.entries); n-- {
		p.add(uint16(p.buffers))
		p.buffers++
	}
}

// add puts a buffer at the end of the ring, where the kernel will see it after
// publish.
func (p *bufferPool) add(bid uint16) {
	e := &p.entries[int(p.tail)&(len(p.entries)-1)]
	e.addr, e.len, e.bid = address(p.memory[int(bid)*int(p.size):]), p.size, bid
	p.filled[bid] = 0
	p.tail++
}

func (p *bufferPool) publish() {
	if p.published == p.tail {
		return
	}
	p.published = p.tail
	// The tail is 16 bits wide, at offset 14 of the first entry, next to its bid.
	// It is published with that, for want of a 16-bit store: bid does not change
	// meanwhile, since nobody else writes it.
	first := (*uint32)(unsafe.Pointer(&p.entries[0].bid))
	word := (*[2]uint16)(unsafe.Pointer(first))
	value := [2]uint16{word[0], p.tail}
	atomic.StoreUint32(first, *(*uint32)(unsafe.Pointer(&value)))
}

// received returns what a completion has put into its buffer, and whether the
// buffer is to be given back (add) when that has been handled.
func (p *bufferPool) received(e cqe) (data []byte, bid uint16, done bool) {
	bid = uint16(e.flags >> cqeBufferShift)
	start := int(bid)*int(p.size) + int(p.filled[bid])
	n := max(int(e.res), 0)
	p.filled[bid] += uint32(n)
	return p.memory[start : start+n : start+n], bid, e.flags&cqeBufferMore == 0
}
