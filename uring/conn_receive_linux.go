package uring

import (
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// receiving is the receiving half of a connection.
//
// Small messages come into buffers that the kernel picks, with one request for as
// many as come. Where more comes the copy from there would cost more than a system
// call: such a connection waits until it is readable, and then receives straight
// to where the data goes. So does one that floods: it gets its share in each turn.
type receiving struct {
	inFlight  receiveMode // of the request that the kernel has; 0: none
	cancelled bool
	bulk      bool  // it receives much at a time
	small     uint8 // receives in a row that were not much
	polled    bool  // the kernel does not wait on this descriptor
	readable  bool  // there may be something, as far as poll(2) knows
	ending    bool  // and after it the end: poll(2) will not tell of that again

	share share // received in this turn

	unread   []byte // kept; of which
	consumed int    // so many bytes have been read
	err      error  // what comes after the data: io.EOF, or an errno

	first, last *request // the calls of Read that wait, oldest first
}

// receiveMode says how a connection receives.
type receiveMode uint8

const (
	receiveProvided  receiveMode = 1 << iota // into a buffer that the kernel picks
	receivePoll                              // wait for data, then recv(2)
	receiveMultishot                         // again and again
)

const (
	// bulkTurn is how much is received in a turn that makes a connection one of
	// bulk, and bulkRead the least size of a Read that recv(2) fills directly.
	bulkTurn, bulkRead = 16 << 10, 4 << 10
	// calmAfter is how many receives of less than calmSize end that.
	calmAfter, calmSize = 4, 4 << 10
	// turnShare is how much one connection may receive by recv(2) in a turn, and
	// sendShare how much it may send by send(2): more, so that what was received is
	// answered in the same turn.
	turnShare, sendShare = 256 << 10, 512 << 10
	// scratchSize is how much is received at once for those who do not say where
	// to.
	scratchSize = 256 << 10
	// unreadLimit is how much is kept that nobody reads: the rest stays in the socket.
	unreadLimit = 64 << 10
)

// share counts the bytes that a connection has received, or sent at once, in a turn.
type share struct {
	turn  uint32 // of the loop
	bytes int32
}

// add counts n bytes and returns how many those of this turn are.
func (s *share) add(l *loop, n int) int {
	total := n
	if turn := uint32(l.count.Turns); s.turn != turn {
		s.turn = turn
	} else {
		total += int(s.bytes)
	}
	s.bytes = int32(min(total, math.MaxInt32))
	return total
}

// Read is for blocking handlers, and for goroutines on their connections.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if n > 0 {
		raceAcquire()
	}
	return n, err
}

func (c *conn) read(p []byte) (int, error) {
	if c.isData() {
		return 0, fd.ErrDataHandler
	}
	r := c.loop.anywhere()
	if r == nil {
		q := c.engine().newRequest()
		q.kind, q.buf = requestRead, p
		c.ask(q, nil)
		n, err := q.n, q.err
		c.engine().putRequest(q)
		return n, err
	}
	if !r.canWait() && !r.nested {
		return 0, fd.ErrDataHandler
	}
	if r.loop == c.loop {
		if n, err, ok := c.readNow(p); ok {
			return n, err
		}
	}
	if r.nested {
		return 0, fd.ErrNested
	}
	q := r.co.ask(requestRead)
	q.buf = p
	c.ask(q, r.co)
	return q.n, q.err
}

// WaitRead is Read without a buffer.
func (c *conn) WaitRead() error {
	_, err := c.read(nil)
	return err
}

// readNow reads what is there for the call whose turn it is, and reports whether
// that is all there is to do.
func (c *conn) readNow(p []byte) (int, error, bool) {
	if c.receive.first != nil {
		return 0, nil, false // others wait already
	}
	return c.loop.readFor(c, p)
}

// readFor reads what is there for p; nil only looks whether there is something.
func (l *loop) readFor(c *conn, p []byte) (int, error, bool) {
	r := &c.receive
	switch {
	case c.closed.Load():
		return 0, net.ErrClosed, true
	case c.deadlines[timerRead].expired():
		return 0, os.ErrDeadlineExceeded, true
	case len(r.unread) > 0:
		n := copy(p, r.unread[r.consumed:])
		if r.consumed += n; r.consumed == len(r.unread) {
			l.memory.putUnread(r.unread)
			r.unread, r.consumed = nil, 0
		}
		return n, nil, true
	case l.delivery.c == c && len(l.delivery.data) > 0:
		d := &l.delivery
		n := copy(p, d.data)
		d.data = d.data[n:]
		return n, nil, true
	case p == nil && (r.err != nil || r.readable):
		return 0, nil, true
	case r.err != nil:
		return 0, r.err, true
	case r.readable && !l.hadShare(c):
		return l.readReadable(c, p)
	}
	return 0, nil, false
}

// readReadable receives straight into p, or into the scratch where p is too small
// to be worth a system call.
func (l *loop) readReadable(c *conn, p []byte) (int, error, bool) {
	r := &c.receive
	if len(p) < bulkRead {
		data := l.receiveScratch(c, unreadLimit)
		if len(data) > 0 {
			n := copy(p, data)
			l.keep(c, data[n:])
			return n, nil, true
		}
	} else if n := l.receiveInto(c, p); n > 0 {
		return n, nil, true
	}
	return 0, r.err, r.err != nil
}

// startRead does q, or has it wait.
func (l *loop) startRead(q *request) {
	c := q.c
	if n, err, ok := c.readNow(q.buf); ok {
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
	if r.readable {
		l.nextTurn(c) // it has had its share of this one
	}
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

// failReads ends the calls that wait with err.
func (l *loop) failReads(c *conn, err error) {
	for c.receive.first != nil {
		l.finishRead(c.takeReader(), 0, err)
	}
}

// serveReads ends the calls that there is data for, or an end.
func (l *loop) serveReads(c *conn) {
	r := &c.receive
	for r.first != nil {
		n, err, ok := l.readFor(c, r.first.buf)
		if !ok {
			return
		}
		l.finishRead(c.takeReader(), n, err)
	}
}

// wanted is how c should receive now.
func (l *loop) wanted(c *conn) receiveMode {
	r := &c.receive
	switch {
	case c.phase != phaseOpen, r.err != nil:
		return 0
	case c.isData() && (l.backlogged(c) || r.keeps()):
		return 0 // it answers faster than its peer reads
	}
	mode := receiveProvided
	if l.buffers == nil || r.bulk || r.polled {
		mode = receivePoll
	}
	// A multishot receive on a unix socket may miss an end of file that comes right
	// behind data (seen on Linux 6.18; liburing issue 1549).
	if l.used.Has(FeatureMultishotRecv) && !(c.isUnix && mode == receiveProvided) {
		mode |= receiveMultishot
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
	if r.readable {
		if c.isData() {
			l.nextTurn(c) // what it has to send had kept it from receiving
		}
		return
	}
	r.inFlight = want
	request := sqe{opcode: opRecv, flags: sqeBufferSelect, fd: c.sysfd, userData: c.userData(kindReceive)}
	switch want {
	case receiveProvided | receiveMultishot:
		request.ioprio = recvMultishot
	case receivePoll:
		request.opcode, request.flags, request.opFlags = opPollAdd, 0, pollEvents(unix.POLLIN|unix.POLLRDHUP)
	case receivePoll | receiveMultishot:
		request.opcode, request.flags, request.opFlags = opPollAdd, 0, pollEvents(unix.POLLIN|unix.POLLRDHUP)
		request.len = pollAddMulti
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
	l.push(&sqe{opcode: opAsyncCancel, addr: userData, userData: kindCancelBit | userData})
}

// cancelPause is how long a request that a cancel has found has to end, before it is
// cancelled again.
const cancelPause = time.Millisecond

// cancelled handles the completion of a cancel. A cancel whose request is still in flight
// is made again: the kernel does not find a request that it is about to try again, and
// Linux 5.10 can find one, say so, and forget that when the request waits again.
func (l *loop) cancelled(e cqe) {
	data := e.userData &^ kindCancelBit
	switch {
	case !l.isCancelling(data):
	case e.res == -int32(syscall.ENOENT):
		l.cancel(data)
	default:
		if l.cancelling = append(l.cancelling, data); len(l.cancelling) == 1 {
			look := &request{kind: requestRun, run: (*loop).cancelAgain}
			time.AfterFunc(cancelPause, func() { l.post(look) })
		}
	}
}

// cancelAgain cancels what was found and has not ended since.
func (l *loop) cancelAgain() {
	for _, data := range l.cancelling {
		if l.isCancelling(data) {
			l.cancel(data)
		}
	}
	l.cancelling = l.cancelling[:0]
}

// isCancelling reports that the request is in flight, and to be ended.
func (l *loop) isCancelling(data uint64) bool {
	switch data & kindMask {
	case kindReceive:
		c := l.conns.find(data)
		return c != nil && c.receive.inFlight != 0 && c.receive.cancelled
	case kindAccept:
		a := l.acceptors[uint32(data>>32)&slotMask-1]
		return a != nil && a.stopping && a.armed
	}
	return false
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
		l.touch(c)
	}
	if mode&receiveProvided != 0 {
		l.receivedProvided(c, e)
		return
	}
	if e.res < 0 {
		l.receiveFailed(c, e.res)
		return
	}
	r.readable = true
	r.ending = r.ending || e.res&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	l.receiveReadable(c)
}

func (l *loop) receivedProvided(c *conn, e cqe) {
	if e.flags&cqeBuffer == 0 {
		if e.res == -int32(syscall.ENOBUFS) {
			l.count.NoBuffers++
			l.buffers.grow(fewBuffers)
			return
		}
		l.receiveFailed(c, e.res)
		return
	}
	data, bid, done := l.buffers.received(e)
	l.delivery = delivery{c: c, bid: bid, done: done}
	if len(data) > 0 {
		l.learn(c, len(data))
		l.deliver(c, data)
	} else {
		l.receiveFailed(c, e.res)
	}
	l.endDelivery()
}

// delivery is a buffer of the kernel's whose data is being given to c.
type delivery struct {
	c    *conn
	data []byte // what nobody has read yet
	bid  uint16
	done bool // it is to be given back
}

// endDelivery keeps what nobody took, and gives the buffer back. It is called
// also when a handler has ended the goroutine meanwhile.
func (l *loop) endDelivery() {
	d := l.delivery
	if d.c == nil {
		return
	}
	l.delivery = delivery{}
	if d.c.phase == phaseOpen {
		l.keep(d.c, d.data)
	}
	if d.done {
		l.buffers.add(d.bid)
	}
}

// learn notes how much c receives.
func (l *loop) learn(c *conn, n int) {
	r := &c.receive
	received := r.share.add(l, n)
	switch {
	case !r.bulk:
		if received >= bulkTurn {
			r.bulk, r.small = true, 0
			l.touch(c)
		}
	case n >= calmSize:
		r.small = 0
	default:
		if r.small++; r.small >= calmAfter && !r.readable {
			r.bulk = false
			l.touch(c)
		}
	}
}

// hadShare reports that c has received its share of the turn.
func (l *loop) hadShare(c *conn) bool {
	return c.receive.share.add(l, 0) >= turnShare
}

// nextTurn has c looked at again in the next turn, which comes without waiting.
func (l *loop) nextTurn(c *conn) {
	if !c.isNext {
		c.isNext = true
		l.again = append(l.again, c)
	}
}

// receiveAgain goes on with those that had their share of the last turn.
func (l *loop) receiveAgain() {
	if len(l.resumed) == 0 { // else a handler ended the goroutine
		l.again, l.resumed = l.resumed, l.again
	}
	for l.nextResumed < len(l.resumed) {
		c := l.resumed[l.nextResumed]
		l.nextResumed++
		c.isNext = false
		if c.phase == phaseOpen {
			l.touch(c)
			l.receiveReadable(c)
			l.runReady()
		}
	}
	clear(l.resumed)
	l.resumed, l.nextResumed = l.resumed[:0], 0
}

// receiveReadable receives from c for whom it is for.
func (l *loop) receiveReadable(c *conn) {
	r := &c.receive
	if !c.isData() {
		if l.serveReads(c); r.readable && r.first != nil {
			l.nextTurn(c) // it has had its share of this one
		}
		return
	}
	for r.readable && r.err == nil && c.phase == phaseOpen && l.wanted(c) != 0 {
		if l.hadShare(c) {
			l.nextTurn(c)
			return
		}
		if data := l.receiveScratch(c, scratchSize); len(data) > 0 {
			l.callHandler(c, callData, data, nil)
		}
	}
	l.touch(c)
}

// receiveScratch receives up to size bytes into the loop's scratch, which is free
// again after the next call of a handler.
func (l *loop) receiveScratch(c *conn, size int) []byte {
	if l.scratch == nil {
		l.scratch = make([]byte, scratchSize)
	}
	return l.scratch[:l.receiveInto(c, l.scratch[:size])]
}

// receiveInto receives into p without waiting. 0: there is nothing, or an error,
// which is noted.
func (l *loop) receiveInto(c *conn, p []byte) int {
	r := &c.receive
	n := recvNow(c.sysfd, p)
	if n <= 0 {
		r.readable = false
		if n != -int32(syscall.EAGAIN) {
			l.noteFailure(c, n)
		} else {
			l.touch(c)
		}
		return 0
	}
	if int(n) < len(p) && !r.ending { // that was all: poll tells of more
		r.readable = false
		l.touch(c)
	}
	l.learn(c, int(n))
	return int(n)
}

// deliver gives data to those who wait for it, and leaves the rest in the delivery.
func (l *loop) deliver(c *conn, data []byte) {
	if c.isData() {
		if c.phase == phaseOpen && !l.keptBack(c, data) {
			l.callHandler(c, callData, data, nil)
		}
		return
	}
	l.delivery.data = data
	l.serveReads(c)
	l.runReady() // they read on
}

// keep keeps data for later.
func (l *loop) keep(c *conn, data []byte) {
	if len(data) == 0 {
		return
	}
	r := &c.receive
	l.count.Copied += uint64(len(data))
	if r.unread == nil {
		r.unread = l.memory.newUnread(len(data))
	}
	r.unread = append(r.unread, data...)
	if len(r.unread) >= unreadLimit && !r.bulk { // nobody reads: leave the rest where it is
		r.bulk, r.small = true, 0
		l.touch(c)
	}
}

// receiveFailed handles a receive without data.
func (l *loop) receiveFailed(c *conn, res int32) {
	l.noteFailure(c, res)
	l.serveReads(c)
}

// noteFailure notes what a receive ended with, unless it is made again.
func (l *loop) noteFailure(c *conn, res int32) {
	r := &c.receive
	l.touch(c)
	switch errno := syscall.Errno(-res); {
	case c.closed.Load():
		r.err = net.ErrClosed
	case res == 0:
		r.err = io.EOF
	case errno == syscall.EAGAIN: // a duplicate was made non-blocking, and this with it
		r.polled = true
	case errno == syscall.ENOBUFS, errno == syscall.ECANCELED, errno == syscall.EINTR:
	default:
		r.err = os.NewSyscallError("read", errno)
	}
}

// recvNow is recv(2) without waiting; its result is that of a request.
func recvNow(sysfd int32, p []byte) int32 {
	for {
		n, errno := sysRecv(sysfd, p, unix.MSG_DONTWAIT)
		switch errno {
		case 0:
			return int32(n)
		case syscall.EINTR:
		default:
			return -int32(errno)
		}
	}
}
