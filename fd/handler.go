package fd

import (
	"errors"
	"fmt"
	"time"
)

// Handler serves connections, in one of two styles: set Blocking, or set Data.
// Backend.Serve and Backend.DialServe take one.
//
// On io_uring a handler runs on the thread of its loop, which serves many
// connections: while it computes they wait, so what takes long, or waits for
// anything but FDs (a lock that is held across such a wait, a channel, a disk),
// belongs into FD.Offload. On net every connection has a goroutine, and the same
// rules do no harm; a Data handler's Write waits there instead of keeping a copy.
//
// A handler must leave the lock of its thread alone (runtime.LockOSThread and
// UnlockOSThread): one that waits under another lock than it began with ends the
// process, by a rule of Go's coroutines that nothing can catch. What is offloaded
// may lock its own.
//
// A handler that panics, or ends its goroutine, ends its connection with reason
// Unexpected and a *PanicError, and nothing else.
type Handler struct {
	// Blocking serves a connection from its beginning to its end, with the calls
	// that wait: Read, Write, Close. The connection is closed when it returns.
	// What it wrote is still sent.
	Blocking func(f *FD)

	// Data is called with what was received, in order, as soon as it is there:
	// nothing is kept for a connection that is idle. data belongs to the library,
	// and is valid until Data returns.
	//
	// Calls that wait do not wait here. Read and WaitRead fail with ErrDataHandler. Write
	// takes all it is given, and keeps a copy of what the kernel has no room for;
	// nothing is received while too much is kept, and Write fails with a Retryable
	// error, having taken nothing, while more than the limit is (see
	// Options.Loops.WriteLimit). Close returns at once; what was written is still
	// sent.
	Data func(f *FD, data []byte)

	// Open, if set, is called before the first data of a connection, and End after
	// the last: with the error that Read would return (end of file, a reset, our
	// own Close). What End writes after an end of file is still sent; then the
	// connection is closed. They are for Data, and run as Data does.
	Open func(f *FD)
	End  func(f *FD, err error)

	// IdleTimeout, if set, is how long a connection of a Data handler may receive nothing:
	// then it ends as with a read deadline that has passed. It costs no timer per message.
	//
	// Deadlines are those of the connection in a Data handler, since no call waits: after
	// a read deadline, whether or not something was received, or a write deadline with
	// something that the peer does not take, End is called with an error that matches
	// os.ErrDeadlineExceeded, and the connection is closed.
	IdleTimeout time.Duration
}

// ErrHoldsLoop is the error of a call that would have to wait, on any FD but a handler's
// own, or a dial, in a Data handler of Serve on io_uring: the loop and all its
// connections would wait with it. The call has done nothing, unless it says how much.
var ErrHoldsLoop = errors.New("this call waits, which a Data handler cannot: make it on a goroutine, or in a Blocking handler")

// ErrNested is the error of a call that would have to wait, in a coroutine (iter.Pull)
// that runs inside a handler on a loop: only the handler itself can wait.
var ErrNested = errors.New("this call waits, which a coroutine inside a handler cannot (iter.Pull): make it in the handler itself, or run the coroutine in FD.Offload")

// ErrDataHandler is the error of a Read of a connection that a data handler
// serves. It does not end the connection.
var ErrDataHandler = errors.New("a data handler serves this connection: what it receives goes there")

// Check says what is wrong with h, or nil.
func (h Handler) Check() error {
	switch {
	case h.Blocking == nil && h.Data == nil:
		return errors.New("the handler is empty: set Blocking or Data")
	case h.Blocking != nil && h.Data != nil:
		return errors.New("the handler has two styles: set Blocking or Data, not both")
	case h.IdleTimeout < 0:
		return fmt.Errorf("IdleTimeout is %v: give a positive duration, or zero for none", h.IdleTimeout)
	case h.Blocking != nil && h.IdleTimeout != 0:
		return errors.New("IdleTimeout is for Data: set a read deadline in a Blocking handler")
	case h.Blocking != nil && (h.Open != nil || h.End != nil):
		return errors.New("Open and End are for Data: a Blocking handler begins and ends with its connection")
	}
	return nil
}

// PanicError is the cause of a connection's end when its handler panicked, or
// ended its goroutine (runtime.Goexit).
type PanicError struct {
	// Value is what was given to panic; nil for runtime.Goexit.
	Value any
	// Stack is the handler's, as debug.Stack formats it.
	Stack []byte
}

// Error names the value; the stack is in Stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "the handler ended its goroutine"
	}
	return fmt.Sprintf("the handler panicked: %v", e.Value)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Offload runs work where it may wait, and returns when it has. A handler on a
// loop calls it for what must not hold the loop: the other connections are
// served meanwhile, and this one's Blocking handler goes on after. It must not
// be called by a Data handler, which cannot wait: there it panics. Elsewhere
// (goroutines, the net backend) it just calls work. A panic of work is the
// caller's.
func (f *FD) Offload(work func()) {
	if o, ok := f.sock.(Offloader); ok {
		o.Offload(work)
		return
	}
	work()
}

// Offloader is a Socket whose handler must not wait.
type Offloader interface{ Offload(work func()) }

// What follows is for backends, which serve an FD with a Handler.

// Socket returns what the backend gave New.
func (f *FD) Socket() Socket { return f.sock }

// Received counts n bytes that go to a data handler.
func (f *FD) Received(n int) {
	total := f.read.Add(uint64(n))
	if e := f.events; e != nil && e.Read != nil {
		e.Read(f.id, n, total)
	}
}

// ReceiveEnded is what Read makes of the error of its socket.
func (f *FD) ReceiveEnded(err error) error { return f.readFailed(err) }

// Panicked ends the FD because its handler did.
func (f *FD) Panicked(err *PanicError) {
	if e := f.events; e != nil && e.Panic != nil && err.Value != nil {
		e.Panic(f.id, err)
	}
	_ = f.end(&Error{Op: "handler", Reason: Unexpected, Err: err})
}

// BeginWrite is what Write does before its socket's. A message of n bytes that
// is not written one by one (Broadcast) begins and ends with these.
func (f *FD) BeginWrite(n int) error {
	if e := f.events; e != nil && e.TryWrite != nil {
		e.TryWrite(f.id, n)
	}
	if f.phase.Load() != connected {
		return f.notConnected("write")
	}
	return nil
}

// EndWrite is what Write does with what its socket's returned.
func (f *FD) EndWrite(n int, err error) error {
	f.wrote(n, err)
	if err != nil {
		return f.failed("write", err)
	}
	return nil
}
