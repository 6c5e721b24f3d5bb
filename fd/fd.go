package fd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// FD is a stream connection with an id that is unique in the process. All
// methods may be called by any number of goroutines at any time; one reader
// and one writer run without waiting for each other.
//
// Close it when done. One that is lost without is closed when the collector finds it, and
// Events.Leaked is told; calls that wait keep theirs.
//
// How an FD ends: see Reason. In short, end of file leaves it open, an expired
// deadline and a failed allocation in the kernel leave it open, and every
// other error closes it before the call returns.
type FD struct {
	id      uint64
	sock    Socket
	events  *Events
	phase   atomic.Uint32
	halves  atomic.Uint32 // which halves CloseRead and CloseWrite ended
	read    atomic.Uint64
	written atomic.Uint64
	// cause is set once, by the first end; it is replaced only to add a CloseErr.
	cause    atomic.Pointer[Error]
	released atomic.Bool // the application called Close

	cleanup runtime.Cleanup // of CloseWhenLost; constant once others have the FD

	mu    sync.Mutex // guards notes
	notes *notes     // nil for most
}

// notes are what the embedder has said of a connection.
type notes struct {
	reasons []error // oldest first
	peer    string
}

// noted returns the notes, to be changed. f.mu is held.
func (f *FD) noted() *notes {
	if f.notes == nil {
		f.notes = new(notes)
	}
	return f.notes
}

// The phases of an FD; it only moves down this list.
const (
	fresh uint32 = iota
	connecting
	connected
	closed
)

const (
	readEnded uint32 = 1 << iota
	writeEnded
)

// lastID is the only process-wide state of the library: ids are unique in the
// process, whatever backend an FD comes from.
var lastID atomic.Uint64

// New makes an FD, not connected yet, on a backend's socket. It takes the next
// id, counting from 1. For backends; applications call Backend.Socket.
func New(s Socket, events *Events) *FD {
	f := &FD{id: lastID.Add(1), sock: s, events: events}
	if events != nil && events.Create != nil {
		events.Create(f.id)
	}
	return f
}

// Accepted makes an FD on a connected socket. For accept.Listener.
func Accepted(s Socket, events *Events) *FD {
	f := New(s, events)
	f.phase.Store(connected)
	if events != nil && events.Accept != nil {
		events.Accept(f.id, SocketString(s.RemoteAddr()))
	}
	return f
}

// ID returns the id: 1 for the first FD of the process, one more for each
// further one, never reused. A failed accept consumes none.
func (f *FD) ID() uint64 { return f.id }

// Stats returns the byte counters. It may be called at any time, also after
// Close.
func (f *FD) Stats() Stats { return Stats{Read: f.read.Load(), Written: f.written.Load()} }

// Connect connects the FD to addr, a *net.TCPAddr or a *net.UnixAddr; without an IP,
// or with an unspecified one, that is this host. It fails with an *Error whose Connect
// field says how: refused, unreachable, timed out, canceled. An address with a field
// that cannot be meant is an *AddrError below it, and nothing is connected. When ctx ends first, the error matches ctx's error.
// After any failure the FD is closed; after ctx ended this includes that the
// kernel has let go of the socket. Connecting twice is an error that leaves a
// good connection alone. Close aborts a Connect in progress.
//
// Reference: connect(2); Octez v24 for the kinds of failure and for closing.
func (f *FD) Connect(ctx context.Context, addr net.Addr) error {
	if e := f.events; e != nil && e.Connect != nil {
		e.Connect(f.id, SocketString(addr))
	}
	if !f.phase.CompareAndSwap(fresh, connecting) {
		if f.phase.Load() == closed {
			return f.closedError("connect")
		}
		return &Error{Op: "connect", Err: os.NewSyscallError("connect", syscall.EISCONN)}
	}
	err := CheckAddr(addr)
	if err == nil {
		err = f.sock.Connect(ctx, addr)
	} else {
		addr = nil // not one to name
	}
	if err == nil && f.phase.CompareAndSwap(connecting, connected) {
		return nil
	}
	if f.phase.Load() == closed {
		return f.closedError("connect")
	}
	reason := Unexpected
	kind := connectFailure(err)
	if kind == ConnectCanceled || errors.Is(err, context.DeadlineExceeded) {
		reason = ClosedLocally
	}
	return f.end(&Error{Op: "connect", Reason: reason, Err: err, Connect: kind, Addr: CloneAddr(addr)})
}

// Read reads at least one byte into p and returns how many; with an empty p it
// returns 0 and nil at once. It waits for data, for the read deadline, or for
// the end of the connection. p belongs to the FD until Read returns and is not
// touched after.
//
// At end of file the error has Reason ClosedByPeer and matches io.EOF; the FD
// stays open. After an expired deadline it has Reason None, matches
// os.ErrDeadlineExceeded, and no byte is lost. After Close it matches
// net.ErrClosed. Reference: recv(2), and the table of errors in ARCHITECTURE.md.
func (f *FD) Read(p []byte) (int, error) {
	if e := f.events; e != nil && e.TryRead != nil {
		e.TryRead(f.id, len(p))
	}
	if f.phase.Load() != connected {
		return 0, f.notConnected("read")
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.sock.Read(p)
	if err == nil {
		total := f.read.Add(uint64(n))
		if e := f.events; e != nil && e.Read != nil {
			e.Read(f.id, n, total)
		}
		return n, nil
	}
	return 0, f.readFailed(err)
}

// WaitRead waits until Read would not: there is data, or the end of the connection,
// which Read then tells. It consumes nothing, so that a connection needs no buffer
// while it is idle: take one from a pool after it, read, and give it back. Of several
// goroutines that wait one may find that another has read what was there.
//
// Its errors are an expired read deadline, and those of a call after Close, as Read
// has them. In a Data handler it fails with ErrDataHandler. Reference: poll(2), POLLIN.
func (f *FD) WaitRead() error {
	if f.phase.Load() != connected {
		return f.notConnected("read")
	}
	if err := f.sock.WaitRead(); err != nil {
		return f.failed("read", err)
	}
	return nil
}

func (f *FD) readFailed(err error) error {
	if err != io.EOF {
		return f.failed("read", err)
	}
	if f.phase.Load() == closed {
		return f.closedError("read")
	}
	if f.halves.Load()&readEnded != 0 {
		return &Error{Op: "read", Reason: ClosedLocally, Err: io.EOF}
	}
	if e := f.events; e != nil && e.Read != nil {
		e.Read(f.id, 0, f.read.Load())
	}
	eof := &Error{Op: "read", Reason: ClosedByPeer, Err: io.EOF}
	f.cause.CompareAndSwap(nil, eof)
	return eof
}

// Write writes all of p and returns len(p), or an error and how many bytes the
// kernel took. It waits for room, for the write deadline, or for the end of
// the connection. p belongs to the FD until Write returns; the library keeps
// no copy. Concurrent writes do not interleave. An empty p succeeds without a
// syscall unless the FD is closed.
//
// Errors are those of Read, without end of file: a peer that is gone shows as
// Lost (EPIPE, ECONNRESET; see PeerClosed). ENOBUFS and ENOMEM leave the FD
// open (see Error.Retryable). SIGPIPE is never raised. Reference: send(2).
func (f *FD) Write(p []byte) (int, error) {
	if err := f.BeginWrite(len(p)); err != nil {
		return 0, err
	}
	var n int
	var err error
	if len(p) > 0 {
		n, err = f.sock.Write(p)
	}
	return n, f.EndWrite(n, err)
}

// Writev writes all the buffers, in order, as one Write of their
// concatenation, without copying them. The buffers and the slice of them
// belong to the FD until it returns; they are not changed. Errors and Close:
// as Write. Reference: sendmsg(2).
func (f *FD) Writev(buffers [][]byte) (int64, error) {
	size := 0
	for _, b := range buffers {
		size += len(b)
	}
	if err := f.BeginWrite(size); err != nil {
		return 0, err
	}
	var n int64
	var err error
	if size > 0 {
		n, err = f.sock.Writev(buffers)
	}
	return n, f.EndWrite(int(n), err)
}

func (f *FD) wrote(n int, err error) {
	if n == 0 && err != nil {
		return
	}
	total := f.written.Add(uint64(n))
	if e := f.events; e != nil && e.Written != nil {
		e.Written(f.id, n, total)
	}
}

// Close ends the connection: calls in flight return with Reason ClosedLocally,
// the peer sees end of file after all that was written, and the OS socket is
// closed when Close returns. Closing again returns nil at once. The error, of
// Reason Unexpected, is that of close(2); the FD is closed all the same.
func (f *FD) Close() error {
	f.released.Store(true)
	f.cause.CompareAndSwap(nil, &Error{Op: "close", Reason: ClosedLocally, Err: net.ErrClosed})
	if err := f.close(); err != nil {
		return &Error{Op: "close", Reason: Unexpected, Err: err}
	}
	return nil
}

// CloseWithReason is AddReason followed by Close. On an FD that is already
// closed it changes nothing: its Close event has been told.
func (f *FD) CloseWithReason(reason error) error {
	f.AddReason(reason)
	return f.Close()
}

// AddReason attaches a reason of the embedder's own (a ban, a full pool, a
// protocol error) that the Close event and Reasons report. nil is ignored, and
// so is a reason that comes after Close.
func (f *FD) AddReason(reason error) {
	if reason == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase.Load() != closed {
		n := f.noted()
		n.reasons = append(n.reasons, reason)
	}
}

// Reasons returns what AddReason and CloseWithReason attached, latest first.
func (f *FD) Reasons() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.notes == nil {
		return nil
	}
	r := slices.Clone(f.notes.reasons)
	slices.Reverse(r)
	return r
}

// Reason returns why the connection ended, or None while it has not, and the
// first error that said so (nil with None).
func (f *FD) Reason() (Reason, error) {
	if c := f.cause.Load(); c != nil {
		return c.Reason, c
	}
	return None, nil
}

// SetPeer names the peer (an identity that the embedder learnt) for the Close
// event.
func (f *FD) SetPeer(name string) {
	f.mu.Lock()
	f.noted().peer = name
	f.mu.Unlock()
}

// CloseRead ends the reading half: a Read that waits, and later ones, return
// with Reason ClosedLocally once the data already received is read. Reference:
// shutdown(2) with SHUT_RD.
func (f *FD) CloseRead() error {
	return f.closeHalf("close", readEnded, f.sock.CloseRead)
}

// CloseWrite ends the writing half: the peer reads end of file after what was
// written; later Writes return with Reason ClosedLocally. Reading goes on.
// Reference: shutdown(2) with SHUT_WR.
func (f *FD) CloseWrite() error {
	return f.closeHalf("close", writeEnded, f.sock.CloseWrite)
}

func (f *FD) closeHalf(op string, half uint32, shutdown func() error) error {
	if f.phase.Load() != connected {
		return f.notConnected(op)
	}
	f.halves.Or(half)
	err := shutdown()
	if err == nil {
		return nil
	}
	if f.phase.Load() == closed {
		return f.closedError(op)
	}
	return &Error{Op: op, Err: err}
}

// LocalAddr returns our address, nil before the FD is connected. It keeps
// answering after Close.
func (f *FD) LocalAddr() net.Addr { return f.sock.LocalAddr() }

// RemoteAddr returns the peer's address, nil before the FD is connected. It
// keeps answering after Close.
func (f *FD) RemoteAddr() net.Addr { return f.sock.RemoteAddr() }

// SetDeadline sets the read and the write deadline. A past time aborts the
// calls in flight and fails later ones until it is set anew; the zero time
// clears it. It costs no syscall. A deadline ends calls, not the connection.
// On a closed FD the error is that of its end, which after Close matches
// net.ErrClosed.
func (f *FD) SetDeadline(t time.Time) error {
	if err := f.SetReadDeadline(t); err != nil {
		return err
	}
	return f.SetWriteDeadline(t)
}

// SetReadDeadline is SetDeadline for Read.
func (f *FD) SetReadDeadline(t time.Time) error {
	return f.set(f.sock.SetReadDeadline(t))
}

// SetWriteDeadline is SetDeadline for Write and Writev. An aborted Write
// returns how many bytes were sent.
func (f *FD) SetWriteDeadline(t time.Time) error {
	return f.set(f.sock.SetWriteDeadline(t))
}

// SyscallConn gives access to the OS socket. A real file descriptor is behind
// it on every backend. On a closed or never connected FD it returns an error.
func (f *FD) SyscallConn() (syscall.RawConn, error) {
	if f.phase.Load() != connected {
		return nil, f.notConnected("raw-control")
	}
	rc, err := f.sock.SyscallConn()
	if err != nil {
		return nil, f.set(err)
	}
	return &heldRawConn{rc, f}, nil
}

// File returns a duplicate of the OS socket; closing either does not touch the
// other, and after it Close sends no end of file while the duplicate is open. The file
// has deadlines of its own.
//
// The two share what the kernel keeps of the socket, O_NONBLOCK among it. Unlike that of
// (*net.TCPConn).File, the Fd method of the file leaves it non-blocking: a socket that
// blocks could not be ended by deadlines, contexts and Close. A program in another
// language that inherits it, and wants it to block, should poll instead; if it clears
// O_NONBLOCK, calls of this FD on the net backend may not end.
func (f *FD) File() (*os.File, error) {
	if f.phase.Load() != connected {
		return nil, f.notConnected("file")
	}
	file, err := f.sock.File()
	return file, f.set(err)
}

// set wraps the error of a call that neither moves data nor ends anything.
func (f *FD) set(err error) error {
	if err == nil {
		return nil
	}
	if f.phase.Load() == closed {
		return f.closedError("set")
	}
	return &Error{Op: "set", Err: err}
}

// failed turns the error of a read or write into what the caller sees, and
// closes the FD if that error ends it. Our own state decides first, the errno
// second.
func (f *FD) failed(op string, err error) error {
	if f.phase.Load() == closed {
		return f.closedError(op)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return deadlineError(op)
	}
	if err == ErrDataHandler || err == ErrHoldsLoop || err == ErrNested {
		return &Error{Op: op, Err: err}
	}
	if errors.Is(err, net.ErrClosed) { // the Backend was closed, and its sockets with it
		f.released.Store(true)
		return f.end(&Error{Op: op, Reason: ClosedLocally, Err: net.ErrClosed, afterClose: true})
	}
	errno := errnoOf(err)
	if op == "write" {
		if isNoMemory(errno) {
			return &Error{Op: op, Err: err}
		}
		if f.halves.Load()&writeEnded != 0 && isBrokenPipe(errno) {
			return &Error{Op: op, Reason: ClosedLocally, Err: err}
		}
	}
	reason := Unexpected
	switch {
	case isLost(errno):
		reason = Lost
	case errors.Is(err, ErrSlowConsumer):
		reason = ClosedLocally
	}
	return f.end(&Error{Op: op, Reason: reason, Err: err})
}

// The errors of expired deadlines, of which a server like that of net/http makes one per
// request. Nothing changes them.
var (
	readDeadlineError  = &Error{Op: "read", Err: os.ErrDeadlineExceeded}
	writeDeadlineError = &Error{Op: "write", Err: os.ErrDeadlineExceeded}
)

func deadlineError(op string) *Error {
	if op == "read" {
		return readDeadlineError
	}
	return writeDeadlineError
}

// end closes the FD because of e, unless something ended it before, and
// returns the error for the call that met e: its own cause, under the reason
// that the first end decided.
func (f *FD) end(e *Error) error {
	f.cause.CompareAndSwap(nil, e)
	_ = f.close() // a failure is in the cause
	first := f.cause.Load()
	if first.Reason == e.Reason {
		return e
	}
	return &Error{Op: e.Op, Reason: first.Reason, Err: e.Err, CloseErr: first.CloseErr, Connect: e.Connect, Addr: e.Addr}
}

// close closes the OS socket, once. The cause is set by then.
func (f *FD) close() error {
	f.mu.Lock() // so that a reason is attached before Close or not at all
	was := f.phase.Swap(closed)
	f.mu.Unlock()
	if was == closed {
		return nil
	}
	f.cleanup.Stop()
	err := f.sock.Close()
	if err != nil {
		f.closeFailed(err)
	}
	f.tellClosed()
	return err
}

func (f *FD) closeFailed(err error) {
	if e := f.events; e != nil && e.CloseError != nil {
		e.CloseError(f.id, err)
	}
	cause := *f.cause.Load()
	if cause.Reason == Lost || cause.Reason == Unexpected {
		cause.Reason, cause.CloseErr = UnexpectedWhenClosing, err
		f.cause.Store(&cause)
	}
}

func (f *FD) tellClosed() {
	e := f.events
	if e == nil || e.Close == nil {
		return
	}
	peer := ""
	f.mu.Lock()
	if f.notes != nil {
		peer = f.notes.peer
	}
	f.mu.Unlock()
	e.Close(Closed{
		ID:      f.id,
		Stats:   f.Stats(),
		Cause:   f.cause.Load(),
		Reasons: f.Reasons(),
		Point:   SocketString(f.sock.RemoteAddr()),
		Peer:    peer,
	})
}

// closedError is the error of a call on a closed FD: the sticky reason.
func (f *FD) closedError(op string) error {
	cause := f.cause.Load()
	return &Error{
		Op: op, Reason: cause.Reason, Err: cause.Err, CloseErr: cause.CloseErr,
		Connect: cause.Connect, Addr: cause.Addr, afterClose: f.released.Load(),
	}
}

// notConnected is the error of a call that needs a connection.
func (f *FD) notConnected(op string) error {
	if f.phase.Load() == closed {
		return f.closedError(op)
	}
	return &Error{Op: op, Err: os.NewSyscallError(op, syscall.ENOTCONN)}
}
