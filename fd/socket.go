package fd

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"
)

// Socket is what a backend gives an FD: one stream socket. Applications never
// call it.
//
// The contract, which both backends keep and the conformance suite checks:
//   - Read, Write and Writev may be called by any number of goroutines. One
//     reader and one writer run without waiting for each other; further readers
//     (writers) queue, so that at most one receive and one send are in flight.
//   - Read returns n > 0 with a nil error, or 0 with an error: io.EOF when the
//     peer ended its side. Write and Writev return only when everything was
//     handed to the kernel, or with an error and the count so far.
//   - No method returns while the kernel may still read or write the caller's
//     buffer.
//   - Errors are io.EOF, os.ErrDeadlineExceeded, net.ErrClosed after Close, a
//     context error, or an error in which errors.As finds a syscall.Errno. EAGAIN, EINTR
//     and the codes that only io_uring has are handled below.
//   - Close ends every call in flight with net.ErrClosed, waits for them, and
//     closes the socket. It is called once.
//   - A deadline aborts the call in flight; data that arrived before is
//     returned, never lost. A zero time clears it. Setting one costs no syscall.
//   - RemoteAddr and LocalAddr keep answering after Close.
type Socket interface {
	// Connect makes the OS socket if there is none yet and connects it. When it
	// fails for any reason the OS socket is closed.
	Connect(ctx context.Context, addr net.Addr) error
	Read(p []byte) (int, error)
	// WaitRead returns nil when Read would return at once, also with an error of
	// the connection; the errors are those that Read has without it.
	WaitRead() error
	Write(p []byte) (int, error)
	Writev(buffers [][]byte) (int64, error)
	CloseRead() error
	CloseWrite() error
	Close() error
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	SyscallConn() (syscall.RawConn, error)
	// File returns a duplicate, as (*net.TCPConn).File does.
	File() (*os.File, error)

	SetLinger(seconds int) error
	SetNoDelay(on bool) error
	SetKeepAliveConfig(config net.KeepAliveConfig) error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	MultipathTCP() (bool, error)
}
