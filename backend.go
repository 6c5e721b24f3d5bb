package ringfd

import (
	"context"
	"errors"
	"net"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// backend is the one contract that the io_uring and the net backend satisfy.
//
// The guarantees of a connection are spelled out at fd.Socket, those of a
// listener at accept.Acceptor. Beyond them:
//   - socket cannot fail and makes no system call.
//   - listen leaves nothing open when it fails.
//   - close ends every call in flight on every socket and listener of the
//     backend, waits for them, and releases all resources. Sockets made after
//     it fail to connect with net.ErrClosed.
//   - nothing logs, panics on input, or starts a goroutine that close does not
//     stop.
type backend interface {
	socket() fd.Socket
	listen(addr net.Addr, network string, config accept.Config) (accept.Acceptor, error)
	features() Features
	stats() Stats
	close() error

	// away runs work, which may wait, so that no loop waits with it. The error is that of
	// a handler that cannot wait, and work has not run.
	away(work func()) error

	// serve, served, start and broadcast are Serve, DialServe and Broadcast:
	// served makes an FD, not connected, that h will serve, and start, once it is
	// connected, begins. broadcast calls done for each FD of fds that is not nil,
	// once, on the calling goroutine, before it returns.
	serve(ctx context.Context, l *accept.Listener, h Handler) error
	served(h Handler) *fd.FD
	start(f *fd.FD)
	broadcast(ctx context.Context, fds []*fd.FD, message []byte, done func(i, n int, err error))
}

// errForeignListener is what Serve says of a listener that it cannot accept from.
var errForeignListener = errors.New("the listener is of another Backend: make it with Listen of the one that serves")
