package uring

import (
	"encoding/binary"
	"math/bits"
)

// The parts of <linux/io_uring.h> that this package uses, with the header's
// names in Go's spelling.

// sqe is struct io_uring_sqe.
type sqe struct {
	opcode      uint8
	flags       uint8
	ioprio      uint16
	fd          int32
	off         uint64 // and addr2
	addr        uint64
	len         uint32
	opFlags     uint32 // msg_flags, accept_flags, poll32_events, cancel_flags, …
	userData    uint64
	bufIndex    uint16
	personality uint16
	fileIndex   int32
	addr3       uint64
	_           uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// params is struct io_uring_params.
type params struct {
	sqEntries    uint32
	cqEntries    uint32
	flags        uint32
	sqThreadCPU  uint32
	sqThreadIdle uint32
	features     uint32
	wqFd         uint32
	_            [3]uint32
	sqOff        sqRingOffsets
	cqOff        cqRingOffsets
}

type sqRingOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	userAddr                                                    uint64
}

type cqRingOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	userAddr                                                    uint64
}

// Opcodes.
const (
	opNop         = 0
	opPollAdd     = 6
	opSendmsg     = 9
	opAccept      = 13
	opAsyncCancel = 14
	opConnect     = 16
	opClose       = 19
	opSend        = 26
	opRecv        = 27
	opSocket      = 45
	opSendZC      = 47
	opSendmsgZC   = 48
)

// io_uring_setup flags.
const (
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupRDisabled    = 1 << 6
	setupSubmitAll    = 1 << 7
	setupCoopTaskrun  = 1 << 8
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16
)

// io_uring_params.features.
const (
	featSingleMmap   = 1 << 0
	featNoDrop       = 1 << 1
	featSubmitStable = 1 << 2
	featFastPoll     = 1 << 5
	featExtArg       = 1 << 8
	featCQESkip      = 1 << 11
	featBundle       = 1 << 14
	featMinTimeout   = 1 << 15
)

// CQE flags.
const cqeSockNonempty = 1 << 2 // after a receive or an accept: the socket has more

// io_uring_enter flags.
const enterGetEvents = 1 << 0

// SQ ring flags.
const (
	sqCQOverflow = 1 << 1
	sqTaskrun    = 1 << 2
)

// SQE flags, and flags of single operations.
const (
	sqeSkipSuccess = 1 << 6

	recvSendPollFirst = 1 << 0  // ioprio of send and recv
	acceptDontwait    = 1 << 1  // ioprio of accept
	pollAddMulti      = 1 << 0  // len of poll_add
	sendZCReportUsage = 1 << 3  // ioprio of send_zc
	notifCopied       = 1 << 31 // result of its notification: the data was copied
)

// io_uring_register opcodes.
const (
	registerProbe          = 8
	unregisterPersonality  = 10
	registerRestrictions   = 11
	registerEnableRings    = 12
	registerIOWQMaxWorkers = 19
	registerPbufRing       = 22
	unregisterPbufRing     = 23
	registerSyncCancel     = 24
	registerNAPI           = 27
	unregisterNAPI         = 28
)

// Flags of a cancellation.
const (
	cancelEvery = 1 << 0 // IORING_ASYNC_CANCEL_ALL
	cancelAny   = 1 << 2
)

// syncCancelArg is struct io_uring_sync_cancel_reg.
type syncCancelArg struct {
	addr    uint64
	fd      int32
	flags   uint32
	timeout [2]int64 // seconds and nanoseconds; -1: none
	opcode  uint8
	_       [7]uint8
	_       [3]uint64
}

// Offsets for mmap of the ring descriptor.
const (
	offSQRing = 0
	offSQEs   = 0x10000000
)

const (
	sqeSize = 64
	cqeSize = 16
)

// pollEvents are poll32_events. A big-endian kernel takes the halves the other way
// round, for the sake of the 16-bit field that was there before.
func pollEvents(events uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return bits.RotateLeft32(events, 16)
	}
	return events
}
