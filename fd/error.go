package fd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Error is the error of every FD method. errors.Is and errors.As reach what is
// below it: io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, context errors,
// *os.SyscallError and syscall.Errno.
type Error struct {
	// Op is the call that failed: "read", "write", "connect", "close", ….
	Op string
	// Reason is why the connection ended, or None when this error did not end
	// it. The reason is sticky: it is that of the first failure of the FD.
	Reason Reason
	// Err is the cause. It is never nil.
	Err error
	// CloseErr is the error of closing the socket after Err; it is set only
	// with Reason UnexpectedWhenClosing.
	CloseErr error
	// Connect refines a failed connect; zero for every other operation.
	Connect ConnectFailure
	// Addr is where a failed connect went; nil for every other operation.
	Addr net.Addr

	afterClose bool // the application had called Close
}

var _ net.Error = (*Error)(nil)

// ConnectFailure refines why a connect failed (reference: connect(2), and the
// Windows Sockets error codes).
type ConnectFailure uint8

const (
	// ConnectOther is a failure with no name of its own.
	ConnectOther ConnectFailure = iota
	// ConnectRefused: nobody listens there (ECONNREFUSED).
	ConnectRefused
	// ConnectHostUnreachable: EHOSTUNREACH or EHOSTDOWN.
	ConnectHostUnreachable
	// ConnectNetworkUnreachable: ENETUNREACH, or an address family that this
	// host does not have.
	ConnectNetworkUnreachable
	// ConnectTimedOut: ETIMEDOUT, or the context's deadline passed.
	ConnectTimedOut
	// ConnectCanceled: the context was cancelled.
	ConnectCanceled
)

// String names the failure.
func (c ConnectFailure) String() string {
	switch c {
	case ConnectRefused:
		return "refused"
	case ConnectHostUnreachable:
		return "host unreachable"
	case ConnectNetworkUnreachable:
		return "network unreachable"
	case ConnectTimedOut:
		return "timed out"
	case ConnectCanceled:
		return "canceled"
	}
	return "other"
}

// Error says what failed and why. A failed connect names the network, the address and
// the cause, as package net does; of an error that ended a connection it is the text of
// CloseReason, and of any other the operation and its cause.
func (e *Error) Error() string {
	switch {
	case e.Addr != nil:
		return "dial " + e.Addr.Network() + " " + e.Addr.String() + ": " + e.causeOf("connect")
	case e.Reason == None, errors.Is(e.Err, ErrSlowConsumer):
		return e.Op + ": " + e.causeOf(e.Op)
	}
	return e.CloseReason()
}

// CloseReason says why the connection ended, in the words of Octez's pp_close_reason.
func (e *Error) CloseReason() string {
	switch e.Reason {
	case ClosedByPeer, ClosedLocally:
		return e.Reason.String()
	case Lost:
		return "connection to peer was lost with exception " + e.Err.Error()
	case Unexpected:
		return "connection closed because of an unexpected error " + e.Err.Error()
	case UnexpectedWhenClosing:
		return "unexpected error (" + e.CloseErr.Error() +
			") whilst closing the socket following an error (" + e.Err.Error() + ")"
	}
	return e.Op + ": " + e.causeOf(e.Op)
}

// causeOf is the text of the cause, without the name of the system call if that is call,
// which stands before it already.
func (e *Error) causeOf(call string) string {
	if of, ok := e.Err.(*os.SyscallError); ok && of.Syscall == call {
		return of.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap gives errors.Is and errors.As the cause and the closing error.
func (e *Error) Unwrap() []error {
	if e.CloseErr == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.CloseErr}
}

// Is makes errors.Is(err, net.ErrClosed) true for every call after the
// application's Close, whatever the sticky reason is.
func (e *Error) Is(target error) bool {
	return target == net.ErrClosed && e.afterClose
}

// Timeout reports an expired deadline or a connection that timed out.
func (e *Error) Timeout() bool {
	return errors.Is(e.Err, os.ErrDeadlineExceeded) ||
		errors.Is(e.Err, context.DeadlineExceeded) ||
		isTimeoutErrno(e.Err)
}

// Temporary reports whether the same call may succeed later on this FD: an
// expired deadline, or a lack of memory while sending.
func (e *Error) Temporary() bool {
	return errors.Is(e.Err, os.ErrDeadlineExceeded) || e.Reason == None && e.Retryable()
}

// Retryable reports an error after which the FD is open and the same call may
// be made again: ENOBUFS and ENOMEM of a write.
func (e *Error) Retryable() bool {
	return e.Reason == None && isNoMemory(errnoOf(e.Err))
}

// PeerClosed reports whether the peer, not the network, ended the connection:
// end of file, ECONNRESET, or EPIPE. Octez before v19 called the last two
// "lost", later versions "closed by peer"; this is the second view.
func PeerClosed(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Reason == ClosedLocally || e.Reason == None {
		return false
	}
	return errors.Is(e.Err, io.EOF) || isPeerReset(errnoOf(e.Err))
}

// errnoOf finds the errno in err, or 0.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return 0
}
