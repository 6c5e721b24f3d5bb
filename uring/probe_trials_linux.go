package uring

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	acceptMultishot = 1 << 0 // ioprio of accept
	recvMultishot   = 1 << 1 // ioprio of recv

	sqeBufferSelect = 1 << 5
	cqeMore         = 1 << 1

	pbufRingMmap = 1 << 0
	pbufRingInc  = 1 << 1

	probeGroup = 7
	probeSlots = 8
)

// pollFirst receives with IORING_RECVSEND_POLL_FIRST; old kernels say EINVAL.
func (p *prober) pollFirst() error {
	pair, err := newSocketPair()
	if err != nil {
		return err
	}
	defer pair.close()
	if _, err := sysWrite(pair[0], []byte{1}); err != nil {
		return err
	}
	c, err := p.ring.do(sqe{
		opcode: opRecv, fd: int32(pair[1]), addr: address(trialIn), len: length(trialIn), ioprio: recvSendPollFirst,
	})
	if err != nil {
		return err
	}
	return c.result()
}

// bufReg is struct io_uring_buf_reg.
type bufReg struct {
	ringAddr    uint64
	ringEntries uint32
	bgid        uint16
	flags       uint16
	_           [3]uint64
}

// bufferRing registers a ring of provided buffers, and unregisters it.
func (p *prober) bufferRing(flags uint16) error {
	mem, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(mem)
	if err := registerBuffers(p.ring, mem, flags); err != nil {
		return err
	}
	return unregisterBuffers(p.ring)
}

func registerBuffers(r *ring, mem []byte, flags uint16) error {
	reg := &bufReg{ringAddr: address(mem), ringEntries: probeSlots, bgid: probeGroup, flags: flags}
	if errno := r.register(registerPbufRing, unsafe.Pointer(reg), 1); errno != 0 {
		return errno
	}
	return nil
}

func unregisterBuffers(r *ring) error {
	if errno := r.register(unregisterPbufRing, unsafe.Pointer(&bufReg{bgid: probeGroup}), 1); errno != 0 {
		return errno
	}
	return nil
}

// multishotRecv receives twice with one request into provided buffers.
func (p *prober) multishotRecv() error {
	r, err := newSmallRing(0) // of its own: closing it ends the request
	if err != nil {
		return err
	}
	defer r.close()
	page := unix.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(mem)
	if err := registerBuffers(r, mem[:page], 0); err != nil {
		return err
	}
	type buf struct {
		addr      uint64
		len       uint32
		bid, tail uint16
	}
	bufs := unsafe.Slice((*buf)(unsafe.Pointer(&mem[0])), probeSlots)
	const size = 64
	for i := range bufs {
		bufs[i].addr, bufs[i].len, bufs[i].bid = address(mem[page+i*size:]), size, uint16(i)
	}
	bufs[0].tail = probeSlots // nobody else looks yet

	pair, err := newSocketPair()
	if err != nil {
		return err
	}
	defer pair.close()
	if _, err := sysWrite(pair[0], []byte{1}); err != nil {
		return err
	}
	c, err := r.do(sqe{
		opcode: opRecv, fd: int32(pair[1]), ioprio: recvMultishot, flags: sqeBufferSelect, bufIndex: probeGroup,
	})
	if err != nil {
		return err
	}
	if err := c.result(); err != nil {
		return err
	}
	if c.flags&cqeMore == 0 {
		return errors.New("the request ended after one receive")
	}
	_ = sysShutdown(pair[1], unix.SHUT_RDWR) // ends the request: its memory is freed after
	_, err = r.await(0)
	return err
}

// multishotAccept accepts on a unix socket and looks for the promise of more.
func (p *prober) multishotAccept() error {
	r, err := newSmallRing(0)
	if err != nil {
		return err
	}
	defer r.close()
	listener, err := newSocket(unix.AF_UNIX)
	if err != nil {
		return err
	}
	defer sysClose(listener)
	name := &rawAddr{len: unix.SizeofSockaddrAny}
	name.any.Addr.Family = unix.AF_UNIX
	unnamed := &rawAddr{any: name.any, len: uint32(unsafe.Offsetof(unix.RawSockaddrUnix{}.Path))} // the kernel picks an abstract name
	if err := bind(listener, unnamed); err != nil {
		return err
	}
	if err := sysListen(listener, 1); err != nil {
		return err
	}
	if errno := sysGetsockname(listener, name); errno != 0 {
		return errno
	}
	client, err := newSocket(unix.AF_UNIX)
	if err != nil {
		return err
	}
	defer sysClose(client)
	if errno := sysConnect(client, name); errno != 0 {
		return errno
	}
	c, err := r.do(sqe{opcode: opAccept, fd: int32(listener), ioprio: acceptMultishot, opFlags: unix.SOCK_CLOEXEC})
	if err != nil {
		return err
	}
	if err := c.result(); err != nil {
		return err
	}
	_ = sysClose(int(c.res))
	if c.flags&cqeMore == 0 {
		return errors.New("the request ended after one connection")
	}
	return nil
}

// napiArg is struct io_uring_napi.
type napiArg struct {
	timeout                   uint32
	preferBusyPoll, opcode, _ uint8
	_                         uint8
	_                         uint32
	_                         uint64
}

// napi registers NAPI busy polling of no time at all.
func (p *prober) napi() error {
	if errno := p.ring.register(registerNAPI, unsafe.Pointer(&napiArg{}), 1); errno != 0 {
		return errno
	}
	_ = p.ring.register(unregisterNAPI, unsafe.Pointer(&napiArg{}), 1)
	return nil
}

// syncCancel cancels something that is not there: ENOENT says that it could.
func (p *prober) syncCancel() error {
	arg := &syncCancelArg{addr: 1, fd: -1, timeout: [2]int64{-1, -1}}
	if errno := p.ring.register(registerSyncCancel, unsafe.Pointer(arg), 1); errno != 0 && errno != syscall.ENOENT {
		return errno
	}
	return nil
}

// sendWaitAll sends with MSG_WAITALL more than the socket takes, once without
// waiting and once to be cancelled. Either must say that something was sent.
func (p *prober) sendWaitAll() error {
	r, err := newSmallRing(0)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.sendPart(unix.MSG_DONTWAIT, false); err != nil {
		return fmt.Errorf("without waiting: %w", err)
	}
	if err := r.sendPart(0, true); err != nil {
		return fmt.Errorf("cancelled: %w", err)
	}
	return nil
}

func (r *ring) sendPart(flags uint32, cancel bool) error {
	pair, err := newSocketPair()
	if err != nil {
		return err
	}
	defer pair.close()
	if err := setInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the least there is
		return err
	}
	const sending, cancelling = 1, 2
	r.push(&sqe{
		opcode: opSend, fd: int32(pair[0]), addr: address(trialBig), len: length(trialBig), userData: sending,
		opFlags: unix.MSG_NOSIGNAL | unix.MSG_WAITALL | flags,
	})
	requests := uint32(1)
	if cancel {
		r.push(&sqe{opcode: opAsyncCancel, addr: sending, userData: cancelling})
		requests++
	}
	toSubmit, result := requests, int32(0)
	for range requests {
		c, err := r.await(toSubmit)
		if err != nil {
			return err
		}
		toSubmit = 0
		if c.userData == sending {
			result = c.res
		}
	}
	if result <= 0 {
		return fmt.Errorf("a send of which a part was sent ended with %d", result)
	}
	return nil
}
