package uring

import (
	"bytes"
	"testing"
	"unsafe"
)

// kernelSide is what the kernel does with a ring of buffers: it takes them in
// order, fills them, and says so. Reference: io_uring/kbuf.c.
type kernelSide struct {
	p    *bufferPool
	inc  bool
	head uint16
	fill byte
}

// tail is where the pool's tail is for the kernel.
func (k *kernelSide) tail() uint16 { return k.p.entries[0].resvd }

func (k *kernelSide) entry(i uint16) *bufferEntry {
	return &k.p.entries[int(i)&(len(k.p.entries)-1)]
}

// receive fills up to n bytes, and returns the completion, or false: there is no
// buffer.
func (k *kernelSide) receive(t *testing.T, n int) (e cqe, written []byte, ok bool) {
	if k.head == k.tail() {
		return cqe{}, nil, false
	}
	b := k.entry(k.head)
	n = min(n, int(b.len))
	start := int(b.addr - address(k.p.memory))
	if start < 0 || start+n > len(k.p.memory) {
		t.Fatalf("the buffer %d is at %d, of %d bytes of memory", b.bid, start, len(k.p.memory))
	}
	written = k.p.memory[start : start+n]
	k.fill++
	for i := range written {
		written[i] = k.fill
	}
	e = cqe{res: int32(n), flags: cqeBuffer | uint32(b.bid)<<cqeBufferShift}
	if k.inc {
		b.addr, b.len = b.addr+uint64(n), b.len-uint32(n)
	}
	if k.inc && b.len > 0 {
		e.flags |= cqeBufferMore
	} else {
		k.head++
	}
	return e, written, true
}

// FuzzBuffers: whatever comes, each buffer has one owner (the kernel, or who
// handles what it holds), what is handed over is what the kernel has written and
// lies in its buffer, and the tail counts what was given back.
func FuzzBuffers(f *testing.F) {
	f.Add(true, uint8(2), []byte("\x00\x10\x01\xff\x02\x00\x00\xff\x03\x01\x04\x00"))
	f.Add(false, uint8(3), []byte("\x00\x10\x00\x20\x02\x00\x04\x00\x00\x30\x00\x40\x00\x50"))
	f.Add(true, uint8(0), bytes.Repeat([]byte{0, 255, 2, 0, 4, 0}, 50))
	f.Add(false, uint8(1), bytes.Repeat([]byte{0, 255, 0, 7, 3, 2, 2, 1, 4, 0}, 50))
	f.Fuzz(func(t *testing.T, inc bool, sizes uint8, script []byte) {
		const size = 64
		most := 1 << (sizes % 5)
		p := &bufferPool{
			size: size, filled: make([]uint32, most), entries: make([]bufferEntry, most), memory: make([]byte, most*size),
		}
		k := &kernelSide{p: p, inc: inc}
		p.grow(max(most/4, 1))
		p.publish()
		var handled []uint16 // done, and not given back yet
		for len(script) >= 2 {
			op, arg := script[0]%5, int(script[1])
			script = script[2:]
			switch op {
			case 0, 1: // data comes
				e, written, ok := k.receive(t, arg%(size+1))
				if !ok {
					p.grow(fewBuffers)
					break
				}
				data, bid, done := p.received(e)
				checkReceived(t, p, data, written, bid)
				if done {
					handled = append(handled, bid)
				}
			case 2: // one is given back
				if n := len(handled); n > 0 {
					i := arg % n
					p.add(handled[i])
					handled = append(handled[:i], handled[i+1:]...)
				}
			case 3:
				p.grow(arg % 4)
			case 4:
				p.publish()
				if k.tail() != p.tail {
					t.Fatalf("the kernel sees the tail %d, it is %d", k.tail(), p.tail)
				}
			}
			checkOwners(t, k, handled)
		}
	})
}

func checkReceived(t *testing.T, p *bufferPool, data, written []byte, bid uint16) {
	t.Helper()
	if len(data) != len(written) || cap(data) != len(data) {
		t.Fatalf("%d bytes (room for %d) of %d", len(data), cap(data), len(written))
	}
	if len(data) == 0 {
		return // a slice of no room says nothing of where it is
	}
	if unsafe.SliceData(data) != unsafe.SliceData(written) {
		t.Fatalf("buffer %d: other memory than the kernel wrote to", bid)
	}
	offset := uintptr(unsafe.Pointer(unsafe.SliceData(data))) - uintptr(unsafe.Pointer(unsafe.SliceData(p.memory)))
	if end := offset + uintptr(len(data)); offset < uintptr(bid)*uintptr(p.size) || end > uintptr(bid+1)*uintptr(p.size) {
		t.Fatalf("buffer %d: the data is at %d to %d", bid, offset, end)
	}
}

// checkOwners checks that each buffer has one owner, and those that the kernel has
// or will have describe their own memory to its end.
func checkOwners(t *testing.T, k *kernelSide, handled []uint16) {
	t.Helper()
	p := k.p
	owners := make([]int, p.buffers)
	for _, bid := range handled {
		owners[bid]++
	}
	for i := k.head; i != p.tail; i++ {
		b := k.entry(i)
		owners[b.bid]++
		end := address(p.memory) + uint64(b.bid+1)*uint64(p.size)
		if b.addr+uint64(b.len) != end || b.len > p.size || b.len == 0 {
			t.Fatalf("buffer %d: %d bytes that end %d before its end", b.bid, b.len, int64(end-b.addr)-int64(b.len))
		}
	}
	for bid, n := range owners {
		if n != 1 {
			t.Fatalf("buffer %d of %d has %d owners", bid, p.buffers, n)
		}
	}
	if in := int(p.tail - k.head); in+len(handled) != p.buffers || p.buffers > len(p.entries) {
		t.Fatalf("%d in the ring and %d handled are not all of %d", in, len(handled), p.buffers)
	}
}
