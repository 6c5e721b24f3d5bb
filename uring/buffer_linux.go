package uring

import (
	"bytes"
	"sync"
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

// Writev sends all the buffers with as few calls of sendmsg(2) as they need.
func (s *Socket) Writev(buffers [][]byte) (int64, error) {
	if err := s.write.gate.lock(s.engine); err != nil {
		return 0, err
	}
	var total int
	for _, b := range buffers {
		total += len(b)
	}
	n, err := s.sendv(buffers, total)
	if cannotWait(err) {
		rest := bytes.Join(buffers, nil)[n:]
		go func() {
			defer s.write.gate.unlock()
			_, _ = s.send(rest)
		}()
		return int64(total), nil
	}
	s.write.gate.unlock()
	return int64(n), err
}

// sendv is send for vectors.
func (s *Socket) sendv(buffers [][]byte, total int) (sent int, err error) {
	raceRelease()
	v := vectors.Get().(*vector)
	defer vectors.Put(v)
	defer v.clear()
	for sent < total {
		if state := s.write.state.Load(); state&dirAborted != 0 {
			return sent, s.write.refusal(state)
		}
		v.fill(buffers, int64(sent))
		n, errno := sysSendmsg(s.sysfd, &v.msg, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if errno == 0 {
			sent += n
			continue
		}
		err := s.sendError(errno)
		if err == errNoRoom {
			err = s.awaitRoom()
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

var vectors = sync.Pool{New: func() any { return new(vector) }}
