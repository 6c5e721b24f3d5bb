package accept

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// Acceptor is what a backend gives a Listener. Applications never call it.
//
// Accept returns a connected socket with its addresses, or an error: ctx's
// error when ctx ended, os.ErrDeadlineExceeded, net.ErrClosed after Close, or
// one in which errors.As finds a syscall.Errno. A connection that was taken
// from the queue is returned, even when ctx ended meanwhile. EINTR and EAGAIN
// are handled below. Close ends every Accept in flight and waits for them.
type Acceptor interface {
	Accept(ctx context.Context) (fd.Socket, error)
	Close() error
	Addr() net.Addr
	SetDeadline(t time.Time) error
	SyscallConn() (syscall.RawConn, error)
	File() (*os.File, error)
	SetUnlinkOnClose(unlink bool)
}

// Listener accepts connections as FDs. All methods may be called by any number
// of goroutines.
type Listener struct {
	acceptor Acceptor
	events   *fd.Events
	closed   chan struct{} // ends the waits of a Loop
	once     sync.Once
}

// New makes a Listener. For backends; applications call Backend.Listen.
func New(a Acceptor, events *fd.Events) *Listener {
	return &Listener{acceptor: a, events: events, closed: make(chan struct{})}
}

// Acceptor returns what the backend gave New. For backends.
func (l *Listener) Acceptor() Acceptor { return l.acceptor }

// Accept waits for a connection and returns it with the peer's address. It
// ends early when ctx ends (the error is ctx's), when the deadline passes
// (os.ErrDeadlineExceeded) or when the listener is closed (net.ErrClosed).
// Every other error is an *Error with a Class; it consumes no id, and the
// listener can be used further. No connection is lost to a cancelled Accept:
// it stays queued for the next. Reference: accept(2).
func (l *Listener) Accept(ctx context.Context) (*fd.FD, net.Addr, error) {
	s, err := l.acceptor.Accept(ctx)
	if err != nil {
		if plain(ctx, err) {
			return nil, nil, err
		}
		return nil, nil, &Error{Class: Classify(err), Err: err}
	}
	f := fd.Accepted(s, l.events)
	f.CloseWhenLost()
	return f, s.RemoteAddr(), nil
}

// plain reports the errors that are the caller's own doing and have no class.
func plain(ctx context.Context, err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) ||
		ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// Close ends every Accept in flight and closes the OS socket; connections that
// wait in its queue are reset by the system. Closing again returns
// net.ErrClosed. Accepted connections are not touched. The path of a unix
// socket is removed, unless SetUnlinkOnClose says otherwise or another socket has taken
// its place.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.acceptor.Close()
}

// Addr returns the address it listens on: a *net.TCPAddr or *net.UnixAddr. It
// keeps answering after Close.
func (l *Listener) Addr() net.Addr { return l.acceptor.Addr() }

// SetDeadline makes Accept fail with os.ErrDeadlineExceeded from t on; the
// zero time clears it.
func (l *Listener) SetDeadline(t time.Time) error { return l.acceptor.SetDeadline(t) }

// SyscallConn gives access to the OS socket.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.acceptor.SyscallConn() }

// SetUnlinkOnClose says whether Close removes the path of a unix socket, which it does by
// default: turn that off when a duplicate (File) goes on listening there. As that of
// *net.UnixListener; on TCP it does nothing.
func (l *Listener) SetUnlinkOnClose(unlink bool) { l.acceptor.SetUnlinkOnClose(unlink) }

// File returns a duplicate of the OS socket. Closing either does not touch the other; but
// for a unix socket see SetUnlinkOnClose. As with fd.FD.File it does not block, and
// stays so whoever calls its Fd, on Unix.
func (l *Listener) File() (*os.File, error) { return l.acceptor.File() }

// NetListener returns the net view. Closing either closes both.
func (l *Listener) NetListener() *NetListener { return &NetListener{l} }

// NetListener is a Listener as a net.Listener: Accept returns an *fd.Conn and
// errors whose outermost value is a net.Error, with Temporary true for the
// classes System and Socket, so that net/http and its like wait and go on.
type NetListener struct {
	l *Listener
}

var (
	_ net.Listener = (*NetListener)(nil)
	_ syscall.Conn = (*NetListener)(nil)
)

// Accept is Listener.Accept without a context.
func (n *NetListener) Accept() (net.Conn, error) {
	f, _, err := n.l.Accept(context.Background())
	if err != nil {
		return nil, n.opError("accept", err)
	}
	return f.Conn(), nil
}

// Close is Listener.Close.
func (n *NetListener) Close() error { return n.opError("close", n.l.Close()) }

// Addr is Listener.Addr.
func (n *NetListener) Addr() net.Addr { return n.l.Addr() }

// SetDeadline is Listener.SetDeadline.
func (n *NetListener) SetDeadline(t time.Time) error { return n.opError("set", n.l.SetDeadline(t)) }

// SetUnlinkOnClose is Listener.SetUnlinkOnClose.
func (n *NetListener) SetUnlinkOnClose(unlink bool) { n.l.SetUnlinkOnClose(unlink) }

// SyscallConn is Listener.SyscallConn.
func (n *NetListener) SyscallConn() (syscall.RawConn, error) {
	rc, err := n.l.SyscallConn()
	return rc, n.opError("raw-control", err)
}

// File is Listener.File.
func (n *NetListener) File() (*os.File, error) {
	f, err := n.l.File()
	return f, n.opError("file", err)
}

// Listener returns the Listener below.
func (n *NetListener) Listener() *Listener { return n.l }

func (n *NetListener) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, net.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: n.Addr().Network(), Addr: n.Addr(), Err: err}
}
