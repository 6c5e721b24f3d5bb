package uring

import (
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// receiving is the receiving half of a connection.
//
// One request is in flight at a time, or none. What it delivers goes to the data
// handler, or to the calls of Read that wait, and what is left is kept: at most
// about unreadLimit, since then nothing more is received.
type receiving struct {
	inFlight  receiveMode // of the request that the kernel has; 0: none
	cancelled bool
	turn      uint64 // of the loop, that bytes counts
	bytes     int    // received in that turn

	// What the last receives say of the next ones.
	bulk   bool  // reads are large: receive into their buffers
	single bool  // it floods: one receive per turn
	large  bool  // of two sizes of buffers, it needs the large ones
	small  uint8 // receives in a row that were too small for what is above
	polled bool  // the kernel does not wait on this descriptor

	borrowed []byte // of the completion that is being handled
	unread   []byte // kept
	err      error  // what comes after the data: io.EOF, or an errno

	first, last *request // the calls of Read that wait, oldest first
}

// receiveMode says how a connection receives.
type receiveMode uint8

const (
	receiveProvided  receiveMode = 1 << iota // into a buffer that the kernel picks
	receiveMultishot                         // again and again
	receiveLarge                             // from the group of large buffers
	receiveDirect                            // into the buffer of the first Read that waits
	receivePoll                              // wait for data, then recv(2)
)

const (
	unreadLimit = 64 << 10
	// bulkRead is how large a Read is, and how much must be there for it, that is
	// better received where it goes: the copy would cost more than the request.
	bulkRead = 16 << 10
	// calmAfter is how many small receives end a mode for large ones.
	calmAfter = 4
)

// Read is for blocking handlers, and for goroutines on their connections.
func (c *conn) Read(p []byte) (int, error) {
	if c.isData() {
		return 0, fd.ErrDataHandler
	}
	r := c.loop.anywhere()
	if r == nil {
		q := requests.Get().(*request)
		q.kind, q.buf = requestRead, p
		c.ask(q, nil)
		n, err := q.n, q.err
		putRequest(q)
		return n, err
	}
	if r.loop == c.loop {
		if n, err, ok := c.readNow(p); ok {
			return n, err
		}
	}
	if !r.canWait() {
		return 0, fd.ErrDataHandler
	}
	q := r.co.ask(requestRead)
	q.buf = p
	c.ask(q, r.co)
	return q.n, q.err
}

// readNow reads what is there, and reports whether that is all there is to do.
func (c *conn) readNow(p []byte) (int, error, bool) {
	r := &c.receive
	switch {
	case c.closed.Load():
		return 0, net.ErrClosed, true
	case c.deadlines[timerRead].expired():
		return 0, os.ErrDeadlineExceeded, true
	case r.first != nil:
		return 0, nil, false // others wait already
	case len(r.unread) > 0:
		n := copy(p, r.unread)
		if r.unread = r.unread[n:]; len(r.unread) == 0 {
			r.unread = nil
			c.loop.touch(c) // it may receive again
		}
		return n, nil, true
	case len(r.borrowed) > 0:
		n := copy(p, r.borrowed)
		r.borrowed = r.borrowed[n:]
		return n, nil, true
	case r.err != nil:
		return 0, r.err, true
	}
	return 0, nil, false
}

// startRead does q, or has it wait.
func (l *loop) startRead(q *request) {
	c := q.c
	n, err, ok := c.readNow(q.buf)
	if ok {
		l.finishRead(q, n, err)
		return
	}
	r := &c.receive
	if r.last == nil {
		r.first = q
	} else {
		r.last.next = q
	}
	r.last, q.next = q, nil
	l.waits(c, timerRead)
	l.touch(c)
}

func (l *loop) finishRead(q *request, n int, err error) {
	q.n, q.err, q.buf = n, err, nil
	l.finish(q)
}

// takeReader takes the first call that waits off its list.
func (c *conn) takeReader() *request {
	r := &c.receive
	q := r.first
	if r.first = q.next; r.first == nil {
		r.last = nil
		c.deadlines[timerRead].waiting.Store(false)
	}
	q.next = nil
	return q
}

// failReads ends the calls that wait with err; but not the one whose buffer the
// kernel has, which ends with its request.
func (l *loop) failReads(c *conn, err error) {
	r := &c.receive
	var held *request
	if r.inFlight == receiveDirect {
		held = c.takeReader()
	}
	for r.first != nil {
		l.finishRead(c.takeReader(), 0, err)
	}
	if held != nil {
		r.first, r.last = held, held
		c.deadlines[timerRead].waiting.Store(true)
		l.cancelReceive(c)
	}
}

// wanted is how c should receive now.
func (l *loop) wanted(c *conn) receiveMode {
	r := &c.receive
	if c.phase != phaseOpen || r.err != nil {
		return 0
	}
	if c.isData() {
		if c.send.queued > l.set.config.WriteLimit/2 {
			return 0 // it answers faster than its peer reads
		}
		return l.provided(c)
	}
	switch {
	case len(r.unread) >= unreadLimit:
		return 0
	case r.bulk && r.first != nil && len(r.first.buf) >= bulkRead && !r.polled && len(r.unread) == 0:
		return receiveDirect
	case r.bulk && r.first == nil:
		return r.inFlight // none, mostly: a Read is about to come
	}
	return l.provided(c)
}

// provided is the way to receive when nobody says where to.
func (l *loop) provided(c *conn) receiveMode {
	r := &c.receive
	if l.buffers == nil || r.polled {
		return receivePoll
	}
	mode := receiveProvided
	if !r.single && l.used.Has(FeatureMultishotRecv) {
		mode |= receiveMultishot
	}
	if r.large && l.buffers.hasLarge() {
		mode |= receiveLarge
	}
	return mode
}

// armReceive sees to it that c receives as it should.
func (l *loop) armReceive(c *conn) {
	r := &c.receive
	want := l.wanted(c)
	if r.inFlight != 0 {
		// Only a multishot goes on for ever; the others end when data comes.
		if r.inFlight != want && r.inFlight&receiveMultishot != 0 {
			l.cancelReceive(c)
		}
		return
	}
	if want == 0 {
		return
	}
	r.inFlight = want
	request := sqe{opcode: opRecv, fd: c.sysfd, userData: c.userData(kindReceive)}
	switch {
	case want == receivePoll:
		request.opcode, request.opFlags = opPollAdd, unix.POLLIN|unix.POLLRDHUP
	case want == receiveDirect:
		request.addr, request.len = address(r.first.buf), length(r.first.buf)
	default:
		request.flags = sqeBufferSelect
		if want&receiveMultishot != 0 {
			request.ioprio = recvMultishot
		}
		if want&receiveLarge != 0 {
			request.bufIndex = groupLarge
		}
	}
	l.push(&request)
}

// cancelReceive has the kernel end the request in flight. It still completes.
func (l *loop) cancelReceive(c *conn) {
	if r := &c.receive; r.inFlight != 0 && !r.cancelled {
		r.cancelled = true
		l.cancel(c.userData(kindReceive))
	}
}

func (l *loop) cancel(userData uint64) {
	l.push(&sqe{opcode: opAsyncCancel, addr: userData, userData: kindNothing})
}

// received handles a completion of c's request.
func (l *loop) received(c *conn, e cqe) {
	r := &c.receive
	mode := r.inFlight
	if e.flags&cqeMore == 0 {
		r.inFlight, r.cancelled = 0, false
		if mode&receiveMultishot != 0 {
			l.count.Rearms++
		}
	}
	l.touch(c)
	switch {
	case mode == receiveDirect:
		l.receivedDirect(c, e.res)
	case mode == receivePoll:
		l.receivedPoll(c, e.res)
	default:
		l.receivedProvided(c, mode, e)
	}
}

func (l *loop) receivedProvided(c *conn, mode receiveMode, e cqe) {
	g := l.buffers.groups[groupMain]
	if mode&receiveLarge != 0 {
		g = l.buffers.groups[groupLarge]
	}
	if e.flags&cqeBuffer == 0 {
		if e.res == -int32(syscall.ENOBUFS) {
			l.count.NoBuffers++
			g.grow(fewLargeBuffers)
		}
		l.receiveFailed(c, mode, e.res)
		return
	}
	data, bid, done := g.received(e)
	if len(data) > 0 {
		l.learn(c, len(data), len(data) == int(g.size))
		l.deliver(c, data)
	} else {
		l.receiveFailed(c, mode, e.res)
	}
	if done {
		g.add(bid)
	}
}

// learn notes how much c receives.
func (l *loop) learn(c *conn, n int, full bool) {
	r := &c.receive
	if r.turn != l.count.Turns {
		r.turn, r.bytes = l.count.Turns, 0
	}
	r.bytes += n
	if full {
		r.large, r.small = true, 0
	} else if r.large || r.single {
		if r.small++; r.small >= calmAfter && n < smallBuffer {
			r.large, r.single, r.small = false, false, 0
		}
	}
	if r.bytes > l.quota() {
		r.single, r.small = true, 0
	}
	if r.first != nil && r.bytes >= bulkRead && len(r.first.buf) >= bulkRead {
		r.bulk, r.small = true, 0
	}
}

// quota is how much one connection may receive in a turn before it gets one
// receive per turn.
func (l *loop) quota() int { return 2 * largeBuffer }

// deliver gives data to those who wait for it, and keeps the rest.
func (l *loop) deliver(c *conn, data []byte) {
	if c.isData() {
		if c.phase == phaseOpen {
			l.callHandler(c, callData, data, nil)
		}
		return
	}
	r := &c.receive
	r.borrowed = data
	l.serveReads(c)
	l.runReady() // they read on
	if len(r.borrowed) > 0 && c.phase == phaseOpen {
		l.count.Copied += uint64(len(r.borrowed))
		if len(r.unread) == 0 {
			r.unread = slices.Clone(r.borrowed)
		} else {
			r.unread = append(r.unread, r.borrowed...)
		}
	}
	r.borrowed = nil
}

// serveReads ends the calls that there is data for, or an end.
func (l *loop) serveReads(c *conn) {
	r := &c.receive
	for r.first != nil && (len(r.borrowed) > 0 || len(r.unread) > 0 || r.err != nil) {
		q := c.takeReader()
		n, err, _ := c.readQueued(q.buf)
		l.finishRead(q, n, err)
	}
}

// readQueued is readNow for the one whose turn it is.
func (c *conn) readQueued(p []byte) (int, error, bool) {
	r := &c.receive
	first, last := r.first, r.last
	r.first, r.last = nil, nil
	n, err, ok := c.readNow(p)
	r.first, r.last = first, last
	return n, err, ok
}

// receivedDirect handles what went into the buffer of the first Read.
func (l *loop) receivedDirect(c *conn, res int32) {
	r := &c.receive
	if res <= 0 {
		l.receiveFailed(c, receiveDirect, res)
		return
	}
	if res >= bulkRead/4 {
		r.small = 0
	} else if r.small++; r.small >= calmAfter {
		r.bulk, r.small = false, 0
	}
	l.finishRead(c.takeReader(), int(res), nil)
}

// receivedPoll receives now that there is something.
func (l *loop) receivedPoll(c *conn, res int32) {
	if res < 0 {
		l.receiveFailed(c, receivePoll, res)
		return
	}
	if want := l.wanted(c); want != receivePoll {
		return // perhaps into a buffer that has come meanwhile
	}
	if l.scratch == nil {
		l.scratch = make([]byte, largeBuffer)
	}
	n := recvNow(c.sysfd, l.scratch)
	if n <= 0 {
		l.receiveFailed(c, receivePoll, n)
		return
	}
	l.learn(c, int(n), false)
	l.deliver(c, l.scratch[:n])
}

// receiveFailed handles a receive without data.
func (l *loop) receiveFailed(c *conn, mode receiveMode, res int32) {
	r := &c.receive
	switch errno := syscall.Errno(-res); {
	case c.closed.Load():
		r.err = net.ErrClosed
	case res == 0:
		r.err = io.EOF
	case errno == syscall.EAGAIN: // a duplicate was made non-blocking, and this with it
		r.polled = r.polled || mode != receivePoll
	case errno == syscall.ENOBUFS && mode&receiveProvided != 0, errno == syscall.ECANCELED, errno == syscall.EINTR:
		// It is made again, if it is still wanted.
	default:
		r.err = os.NewSyscallError("read", errno)
	}
	if r.err == nil && c.deadlines[timerRead].expired() {
		for r.first != nil {
			l.finishRead(c.takeReader(), 0, os.ErrDeadlineExceeded)
		}
		return
	}
	l.serveReads(c)
}

// recvNow is recv(2) without waiting; its result is that of a request.
func recvNow(sysfd int32, p []byte) int32 {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(sysfd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int32(n)
		case syscall.EINTR:
		default:
			return -int32(errno)
		}
	}
}
