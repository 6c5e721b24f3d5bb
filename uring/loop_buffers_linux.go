package uring

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bufferPool is the memory that a loop's connections receive into: rings of
// buffers that the kernel takes from when data comes. Every buffer is given back
// when what it holds has been handled, at the latest at the end of the turn.
//
// Where the kernel can go on with a buffer that is not full, there is one group of
// large ones. Elsewhere a receive takes a whole buffer, and there is one group of
// small ones beside it.
type bufferPool struct {
	groups [2]*bufferGroup // by group id; the second is nil where one does
}

// The two sizes of buffers, and how many there are: at first, and at most. More
// than what a turn receives does no good: it only spreads over the cache.
const (
	smallBuffer, smallBuffers              = 4 << 10, 256
	largeBuffer, fewLargeBuffers, maxLarge = 64 << 10, 4, 64
)

// The groups by what they are for.
const (
	groupMain  = 0
	groupLarge = 1
)

// newBufferPool returns nil where the kernel has no buffer rings, or no memory
// for them.
func newBufferPool(r *ring, used Features) *bufferPool {
	if !used.Has(FeatureBufferRing) {
		return nil
	}
	var p bufferPool
	if used.Has(FeatureBufferRingInc) {
		p.groups[groupMain] = newBufferGroup(r, groupMain, largeBuffer, fewLargeBuffers, maxLarge, pbufRingInc)
	}
	if p.groups[groupMain] == nil {
		p.groups[groupMain] = newBufferGroup(r, groupMain, smallBuffer, smallBuffers, smallBuffers, 0)
		if p.groups[groupMain] == nil {
			return nil
		}
		p.groups[groupLarge] = newBufferGroup(r, groupLarge, largeBuffer, fewLargeBuffers, maxLarge, 0)
	}
	return &p
}

// hasLarge reports that large receives have a group of their own.
func (p *bufferPool) hasLarge() bool { return p.groups[groupLarge] != nil }

// publish lets the kernel have what was given back.
func (p *bufferPool) publish() {
	for _, g := range p.groups {
		if g != nil {
			g.publish()
		}
	}
}

// free releases the memory. The ring is closed.
func (p *bufferPool) free() {
	for _, g := range p.groups {
		if g != nil {
			_ = unix.Munmap(g.ring)
			_ = unix.Munmap(g.memory)
		}
	}
}

// bufferGroup is one ring of buffers of one size.
type bufferGroup struct {
	ring    []byte
	entries []bufferEntry
	memory  []byte
	size    uint32

	tail, published uint16
	buffers         int      // how many there are, of as many as there are entries
	filled          []uint32 // of each buffer: how much the kernel has used
}

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

func newBufferGroup(r *ring, id uint16, size uint32, buffers, most int, flags uint16) *bufferGroup {
	g := &bufferGroup{size: size, filled: make([]uint32, most)}
	var err error
	if g.ring, err = mapMemory(most * int(unsafe.Sizeof(bufferEntry{}))); err != nil {
		return nil
	}
	if g.memory, err = mapMemory(most * int(size)); err != nil {
		_ = unix.Munmap(g.ring)
		return nil
	}
	g.entries = unsafe.Slice((*bufferEntry)(unsafe.Pointer(unsafe.SliceData(g.ring))), most)
	reg := &bufReg{ringAddr: address(g.ring), ringEntries: uint32(most), bgid: id, flags: flags}
	if errno := r.register(registerPbufRing, unsafe.Pointer(reg), 1); errno != 0 {
		_ = unix.Munmap(g.ring)
		_ = unix.Munmap(g.memory)
		return nil
	}
	g.grow(buffers)
	g.publish()
	return g
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

// grow adds up to n buffers.
func (g *bufferGroup) grow(n int) {
	for ; n > 0 && g.buffers < len(g.entries); n-- {
		g.add(uint16(g.buffers))
		g.buffers++
	}
}

// add puts a buffer at the end of the ring, where the kernel will see it after
// publish.
func (g *bufferGroup) add(bid uint16) {
	e := &g.entries[int(g.tail)&(len(g.entries)-1)]
	e.addr, e.len, e.bid = address(g.memory[int(bid)*int(g.size):]), g.size, bid
	g.filled[bid] = 0
	g.tail++
}

func (g *bufferGroup) publish() {
	if g.published == g.tail {
		return
	}
	g.published = g.tail
	// The tail is 16 bits wide, at offset 14 of the first entry, next to its bid.
	// It is published with that, for want of a 16-bit store: bid does not change
	// meanwhile, since nobody else writes it.
	first := (*uint32)(unsafe.Pointer(&g.entries[0].bid))
	word := (*[2]uint16)(unsafe.Pointer(first))
	value := [2]uint16{word[0], g.tail}
	atomic.StoreUint32(first, *(*uint32)(unsafe.Pointer(&value)))
}

// received returns what a completion has put into its buffer, and whether the
// buffer is to be given back (add) when that has been handled.
func (g *bufferGroup) received(e cqe) (data []byte, bid uint16, done bool) {
	bid = uint16(e.flags >> cqeBufferShift)
	start := bid2offset(bid, g.size) + int(g.filled[bid])
	n := max(int(e.res), 0)
	g.filled[bid] += uint32(n)
	return g.memory[start : start+n : start+n], bid, e.flags&cqeBufferMore == 0
}

func bid2offset(bid uint16, size uint32) int { return int(bid) * int(size) }
