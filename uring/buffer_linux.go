package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxTransfer bounds one request; the kernel moves at most 2 GiB at a time.
const maxTransfer = 1 << 30

// address is the address of p for an SQE. p itself must be rooted in the op
// until the last CQE: the kernel's copy of the address keeps nothing alive.
func address(p []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }

func length(p []byte) uint32 { return uint32(min(len(p), maxTransfer)) }

// maxVectors is IOV_MAX: how many buffers one sendmsg takes.
const maxVectors = 1024

// vector is what a SENDMSG request points to. It lives on the heap, rooted in
// its op; the buffers are rooted by the typed pointers in iov.
type vector struct {
	msg unix.Msghdr
	iov []unix.Iovec
}

// fill makes v describe buffers without their first skip bytes, up to the
// limits of one call, and returns how many bytes that is.
func (v *vector) fill(buffers [][]byte, skip int64) (total int) {
	v.iov = v.iov[:0]
	for _, b := range buffers {
		if skip >= int64(len(b)) {
			skip -= int64(len(b))
			continue
		}
		b = b[skip:]
		skip = 0
		b = b[:min(len(b), maxTransfer-total)]
		total += len(b)
		entry := unix.Iovec{Base: unsafe.SliceData(b)}
		entry.SetLen(len(b))
		v.iov = append(v.iov, entry)
		if len(v.iov) == maxVectors || total == maxTransfer {
			break
		}
	}
	v.msg.Iov = unsafe.SliceData(v.iov)
	v.msg.SetIovlen(len(v.iov))
	return total
}

// clear lets go of the buffers and keeps the memory for the next call.
func (v *vector) clear() { clear(v.iov[:cap(v.iov)]) }

// Writev sends all the buffers with as few SENDMSG requests as they need.
func (s *Socket) Writev(buffers [][]byte) (int64, error) {
	var total int64
	for _, b := range buffers {
		total += int64(len(b))
	}
	d := &s.write
	d.lock.Lock()
	defer d.lock.Unlock()
	o := &d.op
	if o.vec == nil {
		o.vec = new(vector)
	}
	defer o.vec.clear()
	wait := !s.ring.used.Has(FeatureSkipSuccess)
	var sent int64
	for sent < total {
		size := o.vec.fill(buffers, sent)
		o.sqe = sqe{
			opcode: opSendmsg, fd: s.sysfd, addr: uint64(uintptr(unsafe.Pointer(&o.vec.msg))), len: 1,
			opFlags: s.ring.used.sendFlags(),
		}
		n, err := s.ring.send(o, size, wait)
		if err == errWouldWait {
			wait = true
			continue
		}
		if err != nil {
			return sent, s.failure("writev", err)
		}
		sent += int64(n)
	}
	return sent, nil
}
