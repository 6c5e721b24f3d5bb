package simkernel

import "unsafe"

// What <linux/io_uring.h> says, apart from package uring, so that the two check
// each other.

type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, opFlags  uint32
	userData      uint64
	bufIndex      uint16
	_             [3]uint16
	_             [2]uint64
}

type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// Params is struct io_uring_params.
type Params struct {
	SQEntries, CQEntries, Flags, _, _, Features, _ uint32
	_                                              [3]uint32
	SQ                                             [10]uint32 // head, tail, mask, entries, flags, dropped, array
	CQ                                             [10]uint32 // head, tail, mask, entries, overflow, cqes, flags
}

type bufEntry struct {
	addr      uint64
	len       uint32
	bid, tail uint16
}

type bufReg struct {
	addr         uint64
	entries      uint32
	group, flags uint16
	_            [3]uint64
}

const (
	opNop, opPollAdd, opSendmsg, opAccept, opCancel, opConnect, opClose = 0, 6, 9, 13, 14, 16, 19
	opRead, opSend, opRecv, opSendZC, opSendmsgZC                       = 22, 26, 27, 47, 48

	setupCQSize, setupClamp, setupSubmitAll, setupCoop, setupTaskrunFlag = 1 << 3, 1 << 4, 1 << 7, 1 << 8, 1 << 9
	setupDisabled                                                        = 1 << 6
	setupSingleIssuer, setupDefer, setupNoSQArray                        = 1 << 12, 1 << 13, 1 << 16

	enterGetEvents     = 1
	sqOverflow         = 1 << 1
	sqTaskrun          = 1 << 2
	sqeBufferSelect    = 1 << 5
	sqeSkipSuccess     = 1 << 6
	pollFirst          = 1 << 0
	recvMultishot      = 1 << 1
	acceptMultishot    = 1 << 0
	acceptDontwait     = 1 << 1
	pollMulti          = 1 << 0
	zcReportUsage      = 1 << 3
	cqeBuffer, cqeMore = 1 << 0, 1 << 1
	cqeNonempty        = 1 << 2
	cqeNotif           = 1 << 3
	cqeBufferMore      = 1 << 4
	notifCopied        = -1 << 31
	pbufInc            = 1 << 1

	mapSQEs = 0x10000000

	registerRestrictions, registerEnable, registerIOWQ                                            = 11, 12, 19
	unregisterPersonality                                                                         = 10
	registerProbe, registerPbuf, unregisterPbuf, registerSyncCancel, registerNAPI, unregisterNAPI = 8, 22, 23, 24, 27, 28
)

// at is the address of user memory: kept as a number, so that it roots nothing.
func at(addr uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

func bytesAt(addr uint64, n int) []byte { return unsafe.Slice((*byte)(at(addr)), n) }
