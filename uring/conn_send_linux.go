package uring

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// sending is the sending half of a connection: a queue, and at most one request in
// flight for the pieces at its head. What is written in a turn leaves at its end,
// as one send. No send waits for room in the kernel: see loop_room_linux.go.
type sending struct {
	first, last *piece
	queued      int   // bytes in the queue
	size        int   // of the request in flight
	pieces      int32 // and how many of the queue
	result      int32 // of a zero-copy send whose notification is to come
	inFlight    sendMode
	refused     bool // a call that has a part of the request is not to go on
	looked      bool // it is in loop.quiet
	full        bool // the socket takes no more until epoll tells of room
	watched     bool // epoll knows the socket
	copies      bool // sending without a copy copies here
	halfClose   bool // shutdown(2) once the queue is empty
	halfClosed  bool
	share       share // sent at once in this turn
	vector      *vector
	err         error // sticky
}

type sendMode uint8

const (
	sendCopying sendMode = iota + 1
	sendZeroCopy
	sendNotified // sent; the kernel still has the memory
)

// piece is a part of what a connection has to send.
type piece struct {
	data  []byte
	chunk *chunk   // whose memory that is, or nil
	asker *request // who waits for it, or nil
	own   []byte   // its memory, if that is its alone
	open  bool     // more may be added to that
	next  *piece
}

// chunk is memory that the small writes of a turn share, whatever their
// connections: they lie side by side, and are gone by the end of it.
type chunk struct {
	memory []byte
	used   int
	pieces int
}

// pieceMemory lends pieces and chunks.
type pieceMemory struct {
	pieces  *piece
	kept    int    // how many of them
	chunk   *chunk // the one that is being filled
	chunks  []*chunk
	vectors []*vector
	unread  [][]byte
	private [][]byte
}

const (
	chunkSize = 64 << 10
	// copyLimit is how large a write may be that is copied to be sent with others.
	copyLimit = 4 << 10
	// bufferedLimit is how much a blocking handler may have written that is not
	// sent yet, without waiting.
	bufferedLimit = 64 << 10
	sparesKept    = 16
	// Memory for a single connection of at least privateSize is kept, if it is not
	// too large.
	privateSize, mostPrivate, privatesKept = 64 << 10, 1 << 20, 8
	piecesKept                             = 4096
)

func (m *pieceMemory) newPiece() *piece {
	p := m.pieces
	if p == nil {
		return new(piece)
	}
	m.pieces, p.next = p.next, nil
	m.kept--
	return p
}

// put takes p back.
func (m *pieceMemory) put(p *piece) {
	if ch := p.chunk; ch != nil {
		if ch.pieces--; ch.pieces == 0 {
			ch.used = 0
			if ch != m.chunk && len(m.chunks) < sparesKept {
				m.chunks = append(m.chunks, ch)
			}
		}
	}
	m.putPrivate(p.own)
	*p = piece{}
	if m.kept < piecesKept {
		m.pieces, p.next = p, m.pieces
		m.kept++
	}
}

// room returns a chunk that has room for n bytes.
func (m *pieceMemory) room(n int) *chunk {
	if m.chunk != nil && chunkSize-m.chunk.used >= n {
		return m.chunk
	}
	if k := len(m.chunks); k > 0 {
		m.chunk, m.chunks = m.chunks[k-1], m.chunks[:k-1]
	} else {
		m.chunk = &chunk{memory: make([]byte, chunkSize)}
	}
	return m.chunk
}

// newPrivate returns empty memory for size bytes of one connection. Large ones are
// used again: to have fresh pages for each costs more than to fill them.
func (m *pieceMemory) newPrivate(size int) []byte {
	if size < privateSize {
		return make([]byte, 0, size)
	}
	for i, b := range m.private {
		if cap(b) >= size && cap(b) <= 2*size {
			m.private[i] = m.private[len(m.private)-1]
			m.private = m.private[:len(m.private)-1]
			return b
		}
	}
	return make([]byte, 0, (size+privateSize-1)/privateSize*privateSize)
}

func (m *pieceMemory) putPrivate(b []byte) {
	if cap(b) >= privateSize && cap(b) <= mostPrivate && len(m.private) < privatesKept {
		m.private = append(m.private, b[:0])
	}
}

// newUnread returns empty memory for size bytes that are received before they are
// read. A few bytes must not hold much: they may stay for long.
func (m *pieceMemory) newUnread(size int) []byte {
	if n := len(m.unread); n > 0 && cap(m.unread[n-1]) <= max(2*size, smallBuffer) {
		b := m.unread[n-1]
		m.unread = m.unread[:n-1]
		return b
	}
	return make([]byte, 0, smallBuffer)
}

func (m *pieceMemory) putUnread(b []byte) {
	if cap(b) <= 2*scratchSize && len(m.unread) < sparesKept {
		m.unread = append(m.unread, b[:0])
	}
}

func (m *pieceMemory) newVector() *vector {
	if n := len(m.vectors); n > 0 {
		v := m.vectors[n-1]
		m.vectors = m.vectors[:n-1]
		return v
	}
	return new(vector)
}

func (m *pieceMemory) putVector(v *vector) {
	v.clear()
	if len(m.vectors) < sparesKept {
		m.vectors = append(m.vectors, v)
	}
}

// Write queues p for the end of the turn, where it is a handler of c's loop that
// writes little; else it returns when the kernel has taken all.
func (c *conn) Write(p []byte) (int, error) {
	raceRelease()
	r := c.loop.anywhere()
	if r == nil {
		q := c.engine().newRequest()
		q.kind, q.buf, q.left = requestWrite, p, len(p)
		c.ask(q, nil)
		n, err := q.n, q.err
		c.engine().putRequest(q)
		return n, err
	}
	if r.loop != c.loop {
		return c.writeFromLoop(r, p)
	}
	if err := c.refusal(); err != nil {
		return 0, err
	}
	wait := r.canWait() && !c.isData()
	if !wait && c.send.queued > c.loop.set.config.WriteLimit {
		return 0, r.full()
	}
	if c.hasMail() {
		return c.writeBehind(r, p, wait)
	}
	if len(p) <= copyLimit && (!wait || c.send.queued <= bufferedLimit) {
		c.loop.queueCopy(c, p)
		return len(p), nil
	}
	sent, err := c.sendNow(p)
	if err != nil || sent == len(p) {
		return sent, err
	}
	if !wait {
		c.loop.queuePrivate(c, p[sent:])
		return len(p), nil
	}
	q := r.co.ask(requestWrite)
	q.buf, q.left = p[sent:], len(p)-sent
	c.ask(q, r.co)
	return sent + q.n, q.err
}

// Writev is Write of all the buffers: all of them are in the queue before it waits,
// and none is where it fails for want of room.
func (c *conn) Writev(buffers [][]byte) (int64, error) {
	raceRelease()
	size := 0
	for _, b := range buffers {
		size += len(b)
	}
	r := c.loop.anywhere()
	if r == nil {
		q := c.engine().newRequest()
		q.kind, q.bufs, q.left = requestWrite, buffers, size
		c.ask(q, nil)
		n, err := q.n, q.err
		c.engine().putRequest(q)
		return int64(n), err
	}
	wait := r.canWait() && (r.loop != c.loop || !c.isData())
	if r.loop == c.loop {
		if err := c.refusal(); err != nil {
			return 0, err
		}
		switch {
		case !wait && c.send.queued > c.loop.set.config.WriteLimit:
			return 0, r.full()
		case c.hasMail():
		case !wait, size <= copyLimit && c.send.queued <= bufferedLimit:
			return c.queueAll(buffers)
		}
	}
	if !wait {
		n, err := c.leaveToLoop(bytes.Join(buffers, nil))
		return int64(n), err
	}
	q := r.co.ask(requestWrite)
	q.bufs, q.left = buffers, size
	c.ask(q, r.co)
	return int64(q.n), q.err
}

// queueAll sends at once what the kernel takes of buffers, and queues a copy of
// the rest.
func (c *conn) queueAll(buffers [][]byte) (total int64, err error) {
	for _, b := range buffers {
		sent := 0
		if len(b) > copyLimit {
			if sent, err = c.sendNow(b); err != nil && (total == 0 || c.send.err != nil) {
				return total, err
			}
		}
		switch rest := b[sent:]; {
		case len(rest) > copyLimit:
			c.loop.queuePrivate(c, rest)
		case len(rest) > 0:
			c.loop.queueCopy(c, rest)
		}
		total += int64(len(b))
	}
	return total, nil
}

// writeFromLoop writes on behalf of a handler of another loop.
func (c *conn) writeFromLoop(r *runner, p []byte) (int, error) {
	if r.canWait() {
		q := r.co.ask(requestWrite)
		q.buf, q.left = p, len(p)
		c.ask(q, r.co)
		return q.n, q.err
	}
	return c.leaveToLoop(append([]byte(nil), p...))
}

// writeBehind writes after all that is in the mail of c's loop.
func (c *conn) writeBehind(r *runner, p []byte, wait bool) (int, error) {
	if !wait {
		return c.leaveToLoop(append([]byte(nil), p...))
	}
	q := r.co.ask(requestWrite)
	q.buf, q.left = p, len(p)
	c.ask(q, r.co)
	return q.n, q.err
}

// leaveToLoop has c's loop write p, which is its own from here on.
func (c *conn) leaveToLoop(p []byte) (int, error) {
	if err := c.admit(len(p)); err != nil {
		return 0, err
	}
	q := &request{kind: requestCopy, c: c, buf: p, left: len(p)}
	if !c.loop.post(q) {
		return 0, net.ErrClosed // and nobody writes to it again
	}
	return len(p), nil
}

// admit takes on n bytes that a data handler writes by a request that nobody waits
// for, or says why not. Once taken on they are sent, unless the connection ends:
// what is written after them must not arrive without them.
func (c *conn) admit(n int) error {
	switch {
	case c.closed.Load():
		return net.ErrClosed
	case c.deadlines[timerWrite].expired():
		return os.ErrDeadlineExceeded
	case c.remote.Load() > int64(c.loop.set.config.WriteLimit):
		return fd.ErrWriteLimit
	}
	c.remote.Add(int64(n))
	return nil
}

// hasMail reports that data handlers of other loops have written to c what may be in
// the mail of its loop still. What comes after that must not overtake it.
func (c *conn) hasMail() bool { return c.remote.Load() > 0 }

// refusal says why nothing more can be written, or nil.
func (c *conn) refusal() error {
	switch {
	case c.closed.Load():
		return net.ErrClosed
	case c.deadlines[timerWrite].expired():
		return os.ErrDeadlineExceeded
	case c.send.err != nil:
		return c.send.err
	case c.receive.err != nil && c.receive.err != io.EOF: // the kernel tells it once only
		return writeError(c.receive.err)
	case c.send.halfClose:
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

// writeError is the error of a read as that of a write.
func writeError(err error) error {
	if errno, ok := asErrno(err); ok {
		return os.NewSyscallError("write", errno)
	}
	return err
}

// startWrite queues what q has, by reference.
func (l *loop) startWrite(q *request) {
	c := q.c
	if err := c.refusal(); err != nil && !(q.kind == requestCopy && err == os.ErrDeadlineExceeded) {
		l.finishWrite(c, q, err)
		return
	}
	if q.bufs == nil {
		l.queueReference(c, q, q.buf)
	}
	for _, b := range q.bufs {
		if len(b) > 0 {
			l.queueReference(c, q, b)
		}
	}
	q.buf, q.bufs = nil, nil
	if q.kind != requestCopy {
		l.waits(c, timerWrite)
	}
}

// queueCopy queues a copy of p, beside what c has just written if it can.
func (l *loop) queueCopy(c *conn, p []byte) {
	s, m := &c.send, &l.memory
	if s.inFlight != 0 || s.full {
		l.queuePrivate(c, p) // it may have to wait for long, and would hold what it shares
		return
	}
	ch := m.room(len(p))
	start := ch.used
	ch.used += copy(ch.memory[start:], p)
	if last := s.last; last != nil && last.chunk == ch && s.inFlight == 0 && isBehind(last.data, ch.memory[start:]) {
		last.data = last.data[:len(last.data)+len(p)]
		s.queued += len(p)
		return
	}
	ch.pieces++
	l.queue(c, ch.memory[start:ch.used], ch, nil)
}

// isBehind reports that b begins where a ends, and that a may be extended over it.
func isBehind(a, b []byte) bool {
	return unsafe.Pointer(unsafe.SliceData(b)) == unsafe.Add(unsafe.Pointer(unsafe.SliceData(a)), len(a))
}

// queuePrivate queues a copy of p that may have to wait for long. Small ones are
// gathered, so that their sum is all that is held.
func (l *loop) queuePrivate(c *conn, p []byte) {
	s := &c.send
	if last := s.last; last != nil && last.open && cap(last.data)-len(last.data) >= len(p) {
		last.data = append(last.data, p...)
		s.queued += len(p)
		l.touch(c)
		return
	}
	size := len(p)
	if s.inFlight != 0 || s.full {
		size = max(size, min(s.queued, copyLimit))
	}
	own := append(l.memory.newPrivate(size), p...)
	l.queue(c, own, nil, nil)
	s.last.own, s.last.open = own, true
}

func (l *loop) queueReference(c *conn, q *request, p []byte) { l.queue(c, p, nil, q) }

func (l *loop) queue(c *conn, data []byte, ch *chunk, asker *request) {
	s := &c.send
	p := l.memory.newPiece()
	p.data, p.chunk, p.asker = data, ch, asker
	if s.last == nil {
		s.first = p
	} else {
		s.last.next = p
	}
	s.last = p
	s.queued += len(data)
	l.touch(c)
}

// sendNow sends a large p at once, if nothing is before it, and c has not had its
// share of the turn. What the kernel does not take is left.
func (c *conn) sendNow(p []byte) (int, error) {
	s := &c.send
	if s.first != nil || s.full || s.share.add(c.loop, 0) >= sendShare || c.zeroCopies(len(p)) {
		return 0, nil
	}
	for {
		n, errno := sysSend(c.sysfd, p, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch errno {
		case 0:
			s.share.add(c.loop, n)
			if n < len(p) {
				c.loop.waitForRoom(c)
			}
			return n, nil
		case syscall.EAGAIN:
			c.loop.waitForRoom(c)
			return 0, nil
		case syscall.EINTR:
		case syscall.ENOBUFS, syscall.ENOMEM:
			return 0, os.NewSyscallError("write", errno)
		default:
			s.err = os.NewSyscallError("write", errno)
			return 0, s.err
		}
	}
}

func (c *conn) zeroCopies(size int) bool {
	limit := c.loop.set.config.ZeroCopy
	return limit > 0 && size >= limit && !c.send.copies && c.loop.used.Has(FeatureSendZC)
}

// flush has the kernel send what is at the head of the queue, as much of it as there
// is room for: the request ends while it is submitted.
func (l *loop) flush(c *conn) {
	s := &c.send
	if s.inFlight != 0 || s.full || s.first == nil || s.err != nil || c.phase >= phaseEnding {
		return
	}
	request := sqe{
		opcode: opSend, fd: c.sysfd, userData: c.userData(kindSend),
		opFlags: unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT,
	}
	shared := l.gather(c, &request)
	s.inFlight = sendCopying
	switch {
	case !shared && c.zeroCopies(s.size) && (request.opcode == opSend || l.used.Has(FeatureSendmsgZC)):
		s.inFlight = sendZeroCopy
		request.ioprio = sendZCReportUsage
		if request.opcode == opSend {
			request.opcode = opSendZC
		} else {
			request.opcode = opSendmsgZC
		}
	case l.used.Has(FeatureSkipSuccess) && !s.awaited(c):
		request.flags = sqeSkipSuccess
		request.opFlags |= unix.MSG_WAITALL // a short send is a failure with that, and posts a completion
		s.looked = true
		l.quiet = append(l.quiet, c)
	}
	l.count.Sends++
	l.push(&request)
}

// awaited reports that something waits for the request that gather has made: then
// it must complete, or the loop would go to sleep over it.
func (s *sending) awaited(c *conn) bool {
	if c.phase != phaseOpen || s.halfClose || s.size < s.queued || s.queued > c.loop.set.config.WriteLimit/2 {
		return true
	}
	for p := s.first; p != nil; p = p.next {
		if p.asker != nil {
			return true
		}
	}
	return false
}

// gather points request at the pieces at the head of the queue, and reports
// whether one of them is in shared memory, which must not be held for long.
func (l *loop) gather(c *conn, request *sqe) (shared bool) {
	s := &c.send
	s.pieces, s.size = 0, 0
	for p := s.first; p != nil && s.pieces < maxVectors && s.size+len(p.data) <= maxTransfer; p = p.next {
		p.open = false
		shared = shared || p.chunk != nil
		s.pieces++
		s.size += len(p.data)
	}
	if s.pieces == 0 { // a piece of more than a request may have
		s.first.open = false
		s.pieces, s.size = 1, maxTransfer
	}
	if s.pieces == 1 {
		request.addr, request.len = address(s.first.data), uint32(s.size)
		return shared
	}
	if s.vector == nil {
		s.vector = l.memory.newVector()
	}
	v := s.vector
	v.iov = v.iov[:0]
	p := s.first
	for range s.pieces {
		entry := unix.Iovec{Base: unsafe.SliceData(p.data)}
		entry.SetLen(len(p.data))
		v.iov = append(v.iov, entry)
		p = p.next
	}
	v.msg.Iov = unsafe.SliceData(v.iov)
	v.msg.SetIovlen(len(v.iov))
	request.opcode, request.addr, request.len = opSendmsg, uint64(uintptr(unsafe.Pointer(&v.msg))), 1
	return shared
}

// makePrivate moves p's data out of shared memory.
func (l *loop) makePrivate(p *piece) {
	moved := l.memory.newPiece() // stands in for p when the chunk is given back
	moved.chunk = p.chunk
	p.data, p.chunk = append([]byte(nil), p.data...), nil
	l.memory.put(moved)
}

// sent handles a completion of c's send.
func (l *loop) sent(e cqe) {
	c := l.conns.find(e.userData)
	if c == nil {
		return
	}
	s := &c.send
	switch s.inFlight {
	case sendZeroCopy:
		if e.flags&cqeMore != 0 { // errors have a notification, too
			s.inFlight, s.result = sendNotified, e.res
			return
		}
		e.res = s.withoutCopy(e.res)
	case sendNotified:
		if uint32(e.res)&notifCopied != 0 && s.result > 0 {
			s.copies = true
		}
		e.res = s.withoutCopy(s.result)
	}
	l.sendEnded(c, e.res)
}

// withoutCopy is the result of a zero-copy send. One that the socket does not know,
// or that finds no memory to lock (RLIMIT_MEMLOCK), is made again as one that
// copies.
func (s *sending) withoutCopy(res int32) int32 {
	switch syscall.Errno(-res) {
	case syscall.EOPNOTSUPP, syscall.ENOMEM, syscall.ENOBUFS:
		s.copies = true
		return -int32(syscall.EINTR)
	}
	return res
}

// finishQuiet ends the sends that have posted nothing, and so succeeded.
func (l *loop) finishQuiet() {
	for _, c := range l.quiet {
		if c.send.looked && c.send.inFlight != 0 {
			l.count.SentQuietly++
			l.count.InFlight--
			l.sendEnded(c, int32(c.send.size))
		}
	}
	clear(l.quiet)
	l.quiet = l.quiet[:0]
}

// sendEnded handles the result of the request in flight.
func (l *loop) sendEnded(c *conn, res int32) {
	s := &c.send
	size := s.size
	s.inFlight, s.looked = 0, false
	if s.vector != nil {
		l.memory.putVector(s.vector)
		s.vector = nil
	}
	if res >= 0 {
		l.advance(c, int(res))
		if int(res) < size {
			l.waitForRoom(c)
		}
	} else {
		switch errno := syscall.Errno(-res); errno {
		case syscall.EAGAIN:
			l.waitForRoom(c)
		case syscall.EINTR, syscall.ECANCELED:
		case syscall.ENOBUFS, syscall.ENOMEM:
			l.sendRefused(c, os.NewSyscallError("write", errno))
		default:
			l.sendFailed(c, os.NewSyscallError("write", errno))
		}
	}
	l.afterSend(c)
}

// advance takes n sent bytes off the queue.
func (l *loop) advance(c *conn, n int) {
	s := &c.send
	s.queued -= n
	for n > 0 {
		p := s.first
		k := min(n, len(p.data))
		n -= k
		q := p.asker
		if q != nil {
			q.n += k
			q.left -= k
		}
		if k < len(p.data) {
			p.data = p.data[k:]
			return
		}
		if s.first = p.next; s.first == nil {
			s.last = nil
		}
		l.memory.put(p)
		if q != nil && q.left == 0 {
			l.finishWrite(c, q, nil)
		}
	}
}

func (l *loop) finishWrite(c *conn, q *request, err error) {
	q.err = err
	if q.kind == requestCopy {
		c.remote.Add(-int64(q.n + q.left))
	}
	l.finish(q)
}

// drop takes p, which comes after before, out of the queue.
func (l *loop) drop(c *conn, before, p *piece) {
	s := &c.send
	if before == nil {
		s.first = p.next
	} else {
		before.next = p.next
	}
	if s.last == p {
		s.last = before
	}
	s.queued -= len(p.data)
	l.memory.put(p)
}

// failWrites ends the calls for which refuse has an error, but not what no call
// waits for. Those of which the kernel has a part end when it has let go.
func (l *loop) failWrites(c *conn, refuse func(q *request) error) {
	s := &c.send
	var before *piece
	p := s.first
	if s.inFlight != 0 {
		for range s.pieces {
			if q := p.asker; q != nil && q.kind != requestCopy && q.refused == nil {
				q.refused = refuse(q)
				s.refused = s.refused || q.refused != nil
			}
			before, p = p, p.next
		}
	}
	for p != nil {
		q, next := p.asker, p.next
		var err error
		if q != nil && q.kind != requestCopy && (q.refused == nil || s.inFlight == 0) {
			err = refuse(q)
		}
		if err == nil {
			before = p
		} else {
			l.drop(c, before, p)
			if next == nil || next.asker != q {
				l.finishWrite(c, q, err)
			}
		}
		p = next
	}
}

// afterSend ends the calls that were not to go on when the kernel had a part of
// them.
func (l *loop) afterSend(c *conn) {
	refused := c.send.refused
	c.send.refused = false
	if expired := c.deadlines[timerWrite].expired(); expired || refused {
		l.failWrites(c, func(q *request) error {
			if q.refused == nil && expired {
				return os.ErrDeadlineExceeded
			}
			return q.refused
		})
	}
	if c.send.first == nil {
		c.deadlines[timerWrite].waiting.Store(false)
	}
	l.touch(c)
}

// sendRefused ends the calls that wait, since the kernel lacks memory; what no
// call waits for is tried again.
func (l *loop) sendRefused(c *conn, err error) {
	l.waitForRoom(c)
	l.failWrites(c, func(*request) error { return err })
}

// sendFailed ends the sending half. Our own end of it decides first, the errno
// second.
func (l *loop) sendFailed(c *conn, err error) {
	if c.closed.Load() {
		err = net.ErrClosed
	}
	s := &c.send
	s.err = err
	for p := s.first; p != nil; p = s.first {
		q := p.asker
		l.drop(c, nil, p)
		if q != nil && (s.first == nil || s.first.asker != q) {
			l.finishWrite(c, q, err)
		}
	}
}
