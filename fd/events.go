package fd

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// Events are the optional callbacks of the events that Octez logs under the
// prefix p2p.fd. A nil *Events and a nil field are both "disabled" and cost
// one comparison. Callbacks run on the goroutine of the call they describe and
// must not block; they may call any method of the FD but Close.
//
// Set the fields before Open; do not change them after.
type Events struct {
	// Create: an FD was made (create_fd).
	Create func(id uint64)
	// Close: an FD is being closed, once per FD (close_fd, close_fd_reason).
	Close func(Closed)
	// CloseError: closing the OS socket failed (close_fd_error).
	CloseError func(id uint64, err error)
	// TryRead: a Read with a buffer of length bytes begins (try_read).
	TryRead func(id uint64, length int)
	// Read: n bytes were read, total so far; n is 0 at end of file (read_fd).
	Read func(id uint64, n int, total uint64)
	// TryWrite: a Write of length bytes begins (try_write).
	TryWrite func(id uint64, length int)
	// Written: n bytes were handed to the kernel, total so far (written_fd).
	Written func(id uint64, n int, total uint64)
	// Connect: a connect to socket begins (connect).
	Connect func(id uint64, socket string)
	// Accept: an FD was accepted from socket (accept).
	Accept func(id uint64, socket string)
	// Held: a handler has held its loop for longer than the limit (see
	// Options.Loops.HandlerLimit). It is called on a goroutine of its own, while
	// the handler may still run. Where it is nil, the Backend prints that, as
	// with Panic.
	Held func(Held)
	// Leaked: an FD was lost without Close, and its socket has been closed. It is called
	// on a goroutine of its own.
	Leaked func(Leaked)
	// Panic: a handler panicked, which ended its FD. Where it is nil, the Backend that
	// is opened with these Events prints what happened and the stack to standard
	// error, as net/http does; a function that does nothing silences that. It is not
	// called for a handler that ends its goroutine (runtime.Goexit).
	Panic func(id uint64, err *PanicError)
	// RingLost: an object of the kernel that many connections share failed, and
	// they with it, or could not be replaced yet. The Backend goes on with a new
	// one. It is called on a goroutine of its own, and must not close the Backend.
	RingLost func(err error)
}

// Held describes a handler that computes, or waits for something other than
// FDs, while the other connections of its loop wait for it.
type Held struct {
	// ID is that of the FD whose handler it is.
	ID uint64
	// For is how long it has held the loop so far.
	For time.Duration
	// Stack is where it is, as runtime.Stack formats it.
	Stack []byte
}

// Closed describes the end of an FD.
type Closed struct {
	ID uint64
	Stats
	// Cause is the sticky reason with its error, as FD.Reason gives them.
	Cause *Error
	// Reasons are those of AddReason and CloseWithReason, latest first.
	Reasons []error
	// Point is the remote address as SocketString prints it, "" if the FD was
	// never connected; Peer is what SetPeer said.
	Point, Peer string
}

// SocketString prints an address as Octez does: host:port with no brackets
// around IPv6 (`::1:9732`), and @path for a unix socket.
func SocketString(a net.Addr) string {
	switch a := a.(type) {
	case nil:
		return ""
	case *net.TCPAddr:
		if a == nil {
			return ""
		}
		host := a.IP.String()
		if len(a.IP) == 0 {
			host = "::"
		}
		if a.Zone != "" {
			host += "%" + a.Zone
		}
		return host + ":" + strconv.Itoa(a.Port)
	case *net.UnixAddr:
		if a == nil {
			return ""
		}
		return "@" + a.Name
	}
	return fmt.Sprint(a) // which survives a nil pointer
}
