package load

// The parts of <linux/io_uring.h> that the generator uses, with the header's
// names in Go's spelling.

// sqe is struct io_uring_sqe.
type sqe struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	off      uint64
	addr     uint64
	len      uint32
	msgFlags uint32
	userData uint64
	bufGroup uint16
	_        uint16
	_        uint32
	_        [2]uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	_                                                                      [3]uint32

	sqOff struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
		_                                                           uint64
	}
	cqOff struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
		_                                                           uint64
	}
}

// eventsArg is struct io_uring_getevents_arg.
type eventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	_           uint32
	timeout     uint64
}

// bufferReg is struct io_uring_buf_reg.
type bufferReg struct {
	address uint64
	entries uint32
	group   uint16
	_       uint16
	_       [3]uint64
}

// bufferEntry is struct io_uring_buf. The tail of a ring of them is the last
// field of its first entry.
type bufferEntry struct {
	addr uint64
	len  uint32
	id   uint16
	tail uint16
}

const (
	opSend = 26
	opRecv = 27

	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	sqCQOverflow = 1 << 1
	sqTaskrun    = 1 << 2

	sqeFixedFile    = 1 << 0
	sqeBufferSelect = 1 << 5
	sqeSkipSuccess  = 1 << 6

	recvPollFirst = 1 << 0 // in ioprio
	recvMultishot = 1 << 1 // in ioprio

	cqeBuffer      = 1 << 0 // the id of a buffer is in the flags, from cqeBufferShift on
	cqeMore        = 1 << 1
	cqeBufferShift = 16

	registerFiles   = 2
	registerBufRing = 22

	offSQRing = 0
	offSQEs   = 0x10000000
)
