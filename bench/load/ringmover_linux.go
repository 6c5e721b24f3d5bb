package load

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringMover has a receive in flight on every connection, which fills buffers of
// a shared ring, and submits all sends of a turn with the wait that ends it. It
// reads the clock once in a turn: after what came was received, and before the
// messages that follow are sent. So a latency holds the turn of the generator's
// own that it fell in, and is never too low.
type ringMover struct {
	script  *script
	targets targets
	ring    *ring
	fds     []int // of the connections; -1 for one that is not open
	fixed   bool  // the descriptors are registered: connection i is file i
	// quiet leaves out the completion of a send that succeeded. That needs that
	// no connection sends before it has the reply, which tells the same.
	quiet   bool
	sending []bool // a send of this connection is in flight; if not quiet
	armed   []bool // a receive is
	rearm   []int32

	entries    []bufferEntry // the ring of buffers that the kernel may fill
	mask       uint16
	tail       uint16
	buffers    []byte
	bufferSize int
	starved    int // receives that found none
}

// What a completion is of, in its user data; the connection is above it.
const (
	ofReceive = 1
	ofSend    = 2
	kindBits  = 2
)

func newRingMover(s *script) (mover, error) {
	targets, err := newTargets(s.spec)
	if err != nil {
		return nil, err
	}
	conns := len(s.conns)
	r, err := newRing(min(max(2*conns, 64), 4096), min(max(4*conns, 4096), 64<<10))
	if err != nil {
		return nil, err
	}
	m := &ringMover{
		script: s, targets: targets, ring: r, quiet: s.spec.Depth == 1,
		sending: make([]bool, conns), armed: make([]bool, conns), rearm: make([]int32, 0, conns),
	}
	if err := m.share(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if m.fds, err = connectAll(s, targets); err != nil {
		return nil, errors.Join(err, m.close())
	}
	if s.spec.Workload == Churn {
		return m, nil
	}
	files := make([]int32, conns)
	for i, fd := range m.fds {
		files[i] = int32(fd)
	}
	// It saves a look-up per request. Without it all works as well.
	m.fixed = r.register(registerFiles, unsafe.Pointer(&files[0]), conns) == 0
	for i := range m.fds {
		if err := m.arm(i, 0); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// Buffers are as large as what one connection can have waiting, and there are
// few more than connections: so that they stay in the cache, and large messages
// come in few pieces. When none is left, receives end and are made anew.
const (
	leastBuffer   = 64
	largestBuffer = 64 << 10
	leastBuffers  = 16
	mostBuffers   = 4096
	bufferMemory  = 4 << 20
)

// share gives the kernel buffers to receive into. Reference:
// io_uring_register(2), IORING_REGISTER_PBUF_RING.
func (m *ringMover) share() error {
	spec := m.script.spec
	due := spec.Request
	switch spec.Workload {
	case Exchange, HTTP, RESP:
		due = spec.Reply
	case Flood:
		due = max(spec.Request, spec.Reply)
	case Trace:
		due = TraceLargest
	}
	m.bufferSize = powerOf2(min(max(due*spec.Depth, leastBuffer), largestBuffer))
	n := min(max(bufferMemory/m.bufferSize, leastBuffers), mostBuffers, powerOf2(max(2*spec.Conns, leastBuffers)))
	m.mask = uint16(n - 1)
	mem, err := unix.Mmap(-1, 0, n*int(unsafe.Sizeof(bufferEntry{}))+n*m.bufferSize,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	m.ring.memory = append(m.ring.memory, mem)
	m.entries = unsafe.Slice((*bufferEntry)(unsafe.Pointer(&mem[0])), n)
	m.buffers = mem[n*int(unsafe.Sizeof(bufferEntry{})):]
	reg := bufferReg{address: uint64(uintptr(unsafe.Pointer(&mem[0]))), entries: uint32(n)}
	if errno := m.ring.register(registerBufRing, unsafe.Pointer(&reg), 1); errno != 0 {
		return fmt.Errorf("%w: %w", errNoRing, os.NewSyscallError("io_uring_register", errno))
	}
	for i := range n {
		m.give(uint16(i))
	}
	m.publish()
	return nil
}

func powerOf2(n int) int { return 1 << bits.Len(uint(n-1)) }

func (m *ringMover) buffer(id uint16) []byte {
	return m.buffers[int(id)*m.bufferSize:][:m.bufferSize]
}

// give puts a buffer back into the ring of buffers, for publish.
func (m *ringMover) give(id uint16) {
	e := &m.entries[m.tail&m.mask]
	e.addr, e.len, e.id = uint64(uintptr(unsafe.Pointer(&m.buffer(id)[0]))), uint32(m.bufferSize), id
	m.tail++
}

// publish lets the kernel have what was given. The tail shares a word with the
// id of the first entry, which the kernel only reads.
func (m *ringMover) publish() {
	first := &m.entries[0]
	word := (*uint32)(unsafe.Pointer(&first.id))
	var both [2]uint16
	both[0], both[1] = first.id, m.tail
	atomic.StoreUint32(word, *(*uint32)(unsafe.Pointer(&both)))
}

// request is a request for connection i.
func (m *ringMover) request(i int, opcode uint8, kind uint64) (*sqe, error) {
	e, err := m.ring.request()
	if err != nil {
		return nil, err
	}
	e.opcode, e.fd, e.userData = opcode, int32(m.fds[i]), uint64(i)<<kindBits|kind
	if m.fixed {
		e.flags, e.fd = sqeFixedFile, int32(i)
	}
	return e, nil
}

// arm has the kernel receive on connection i: all that comes, but in Churn once,
// as a connection with a receive in flight does not end when it is closed.
func (m *ringMover) arm(i int, hint uint16) error {
	e, err := m.request(i, opRecv, ofReceive)
	if err != nil {
		return err
	}
	m.armed[i] = true
	e.flags |= sqeBufferSelect
	if e.ioprio = hint; m.script.spec.Workload != Churn {
		e.ioprio |= recvMultishot
	}
	return nil
}

func (m *ringMover) do(i int) error {
	if c := &m.script.conns[i]; c.ended {
		c.ended = false
		if err := closeAll(m.fds[i : i+1]); err != nil {
			return err
		}
	}
	if m.sending[i] {
		return nil // its completion comes here again
	}
	p := m.script.output(i)
	if len(p) == 0 {
		return nil
	}
	fresh := m.fds[i] < 0
	if fresh {
		var err error
		if m.fds[i], err = m.targets.connect(i); err != nil {
			return fmt.Errorf("connection %d to %s: %w", i, m.script.spec.Address, err)
		}
	}
	e, err := m.request(i, opSend, ofSend)
	if err != nil {
		return err
	}
	// The script keeps p as it is until it was sent.
	e.addr, e.len = uint64(uintptr(unsafe.Pointer(&p[0]))), uint32(len(p))
	e.msgFlags = unix.MSG_NOSIGNAL | unix.MSG_WAITALL
	if m.quiet {
		e.flags |= sqeSkipSuccess
		m.script.wrote(i, len(p))
	} else {
		m.sending[i] = true
	}
	if fresh {
		return m.arm(i, recvPollFirst)
	}
	return nil
}

func (m *ringMover) wait(d time.Duration) (bool, error) {
	n, more := m.ring.waiting()
	if n > 0 {
		d = 0
	}
	if m.ring.tail != m.ring.entered || n == 0 && (d > 0 || more) {
		if errno := m.ring.enter(1, d); errno != 0 && errno != unix.ETIME && errno != unix.EINTR {
			return false, os.NewSyscallError("io_uring_enter", errno)
		}
		n, _ = m.ring.waiting()
	}
	if n == 0 {
		return false, nil
	}
	now := clock()
	for k := range n {
		e := m.ring.cqes[(*m.ring.cqHead+k)&m.ring.cqMask]
		i := int(e.userData >> kindBits)
		var err error
		if e.userData&(1<<kindBits-1) == ofReceive {
			err = m.received(i, &e, now)
		} else {
			err = m.sent(i, &e)
		}
		if err != nil {
			return true, err
		}
	}
	atomic.StoreUint32(m.ring.cqHead, *m.ring.cqHead+n)
	m.publish()
	for _, i := range m.rearm {
		if err := m.arm(int(i), 0); err != nil {
			return true, err
		}
	}
	m.rearm = m.rearm[:0]
	return true, nil
}

func (m *ringMover) received(i int, e *cqe, now int64) error {
	switch {
	case e.flags&cqeMore != 0:
	case e.res == -int32(unix.ENOBUFS), e.res > 0 && m.script.spec.Workload != Churn:
		m.rearm = append(m.rearm, int32(i)) // when buffers are there again
	default:
		m.armed[i] = false
	}
	switch {
	case e.res == -int32(unix.ENOBUFS):
		m.starved++
		return nil
	case e.res < 0:
		return failed(i, "receive", syscall.Errno(-e.res))
	case e.res == 0:
		return fmt.Errorf("connection %d: the server closed it: %w", i, io.ErrUnexpectedEOF)
	}
	id := uint16(e.flags >> cqeBufferShift)
	err := m.script.input(i, m.buffer(id)[:e.res], now)
	m.give(id)
	if c := &m.script.conns[i]; m.script.spec.Workload == Churn && !c.ended {
		m.rearm = append(m.rearm, int32(i))
	}
	return err
}

func (m *ringMover) sent(i int, e *cqe) error {
	if e.res < 0 {
		return failed(i, "send", syscall.Errno(-e.res))
	}
	if m.quiet {
		return fmt.Errorf("connection %d: only %d bytes of a message could be sent", i, e.res)
	}
	m.sending[i] = false
	m.script.wrote(i, int(e.res))
	return m.do(i)
}

// close ends the receives in flight by shutting the connections down, and waits
// for them: the kernel may write into their buffers until then.
func (m *ringMover) close() error {
	err := m.drain()
	return errors.Join(err, closeAll(m.fds), m.ring.close())
}

func (m *ringMover) drain() error {
	for i, fd := range m.fds {
		if fd >= 0 && (m.armed[i] || m.sending[i]) {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR) // ENOTCONN if the other end was faster
		}
	}
	for {
		inFlight := 0
		for i := range m.fds {
			if m.armed[i] || m.sending[i] {
				inFlight++
			}
		}
		if inFlight == 0 {
			return nil
		}
		if errno := m.ring.enter(1, StallLimit); errno != 0 && errno != unix.EINTR {
			return os.NewSyscallError("io_uring_enter", errno)
		}
		n, _ := m.ring.waiting()
		for k := range n {
			e := &m.ring.cqes[(*m.ring.cqHead+k)&m.ring.cqMask]
			i := int(e.userData >> kindBits)
			switch {
			case e.userData&(1<<kindBits-1) == ofSend:
				m.sending[i] = false
			case e.flags&cqeMore == 0:
				m.armed[i] = false
			}
			if e.flags&cqeBuffer != 0 {
				m.give(uint16(e.flags >> cqeBufferShift))
			}
		}
		atomic.StoreUint32(m.ring.cqHead, *m.ring.cqHead+n)
		m.publish()
	}
}
