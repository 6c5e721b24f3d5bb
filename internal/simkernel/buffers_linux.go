package simkernel

import (
	"syscall"
	"unsafe"
)

// buffers is a ring of provided buffers.
type buffers struct {
	k       *Kernel
	addr    uint64
	entries uint32
	inc     bool
	head    uint16
	seen    uint16          // up to where entries were looked at
	ours    map[uint16]bool // buffers that the kernel owns
}

func (r *ring) registerBuffers(reg *bufReg) syscall.Errno {
	f := &r.k.features
	if !f.BufferRing || reg.flags&pbufInc != 0 && !f.BufferRingInc || reg.flags&^pbufInc != 0 {
		return syscall.EINVAL
	}
	if r.groups[reg.group] != nil {
		return syscall.EEXIST
	}
	r.groups[reg.group] = &buffers{k: r.k, addr: reg.addr, entries: reg.entries, inc: reg.flags&pbufInc != 0, ours: make(map[uint16]bool)}
	return 0
}

func (b *buffers) entry(i uint16) *bufEntry {
	return (*bufEntry)(unsafe.Add(at(b.addr), 16*(uint32(i)&(b.entries-1))))
}

// look takes over the buffers that were given since.
func (b *buffers) look() {
	for tail := b.entry(0).tail; b.seen != tail; b.seen++ {
		e := b.entry(b.seen)
		if b.ours[e.bid] {
			b.k.violate("buffer %d is given to the kernel, which has it", e.bid)
		}
		b.ours[e.bid] = true
		if uint32(b.seen-b.head) >= b.entries {
			b.k.violate("more buffers are given to the kernel than the ring has entries")
		}
		b.scribble(e)
	}
}

// scribble writes to a buffer that is the kernel's.
func (b *buffers) scribble(e *bufEntry) {
	if b.k.Weights.Scribble > 0 && !b.k.probing {
		p := bytesAt(e.addr, int(min(e.len, 512)))
		for i := range p {
			p[i] = 0xdb
		}
	}
}

// pick returns the next buffer; nil: there is none.
func (b *buffers) pick() *bufEntry {
	b.look()
	if b.head == b.seen {
		return nil
	}
	return b.entry(b.head)
}

// used takes n bytes of the buffer that pick returned, and returns the flags that
// say so.
func (b *buffers) used(e *bufEntry, n int) uint32 {
	flags := uint32(cqeBuffer) | uint32(e.bid)<<16
	if b.k.Mutant == MutantSameBuffer && b.head%3 == 1 {
		return flags // the next receive has it, too
	}
	if b.inc && n < int(e.len) {
		e.addr += uint64(n)
		e.len -= uint32(n)
		return flags | cqeBufferMore
	}
	delete(b.ours, e.bid)
	b.head++
	return flags
}
