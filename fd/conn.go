package fd

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Conn is the net view of an FD: a net.Conn with every method of *net.TCPConn
// and the errors that users of net expect. It is the same connection: what one
// does, the other sees.
type Conn struct {
	fd *FD
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ syscall.Conn  = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
)

// Conn returns the net view.
func (f *FD) Conn() *Conn { return &Conn{f} }

// FD returns the FD below.
func (c *Conn) FD() *FD { return c.fd }

// ID is FD.ID.
func (c *Conn) ID() uint64 { return c.fd.ID() }

// Read is FD.Read with the errors of net: end of file is io.EOF itself, every
// other error is a *net.OpError in which errors.As finds *Error, *os.SyscallError
// and syscall.Errno. After Close it matches net.ErrClosed, after an expired
// deadline os.ErrDeadlineExceeded, and its Timeout method says true.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.fd.Read(p)
	if err != nil {
		err = c.opError("read", err)
	}
	return n, err
}

// Write is FD.Write with the errors of net.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.fd.Write(p)
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

// Writev is FD.Writev with the errors of net. (net.Buffers cannot reach it: it
// knows only the types of net, and calls Write per buffer for all others.)
func (c *Conn) Writev(buffers [][]byte) (int64, error) {
	n, err := c.fd.Writev(buffers)
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

// ReadFrom copies from r until end of file, through a buffer.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// WriteTo copies to w until end of file, through a buffer.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// Close is FD.Close. As with net, closing again is an error that matches net.ErrClosed;
// after the peer, or an error, has ended the connection it is not.
func (c *Conn) Close() error {
	again := c.fd.released.Swap(true)
	err := c.fd.Close()
	if err == nil && again {
		err = net.ErrClosed
	}
	return c.wrap("close", err)
}

// CloseWithReason is FD.CloseWithReason, with the errors of Close.
func (c *Conn) CloseWithReason(reason error) error {
	c.fd.AddReason(reason)
	return c.Close()
}

// CloseRead is FD.CloseRead.
func (c *Conn) CloseRead() error { return c.wrap("close", c.fd.CloseRead()) }

// CloseWrite is FD.CloseWrite.
func (c *Conn) CloseWrite() error { return c.wrap("close", c.fd.CloseWrite()) }

// LocalAddr is FD.LocalAddr: a *net.TCPAddr or *net.UnixAddr.
func (c *Conn) LocalAddr() net.Addr { return c.fd.LocalAddr() }

// RemoteAddr is FD.RemoteAddr: a *net.TCPAddr or *net.UnixAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.fd.RemoteAddr() }

// SetDeadline is FD.SetDeadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.wrap("set", c.fd.SetDeadline(t)) }

// SetReadDeadline is FD.SetReadDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.wrap("set", c.fd.SetReadDeadline(t)) }

// SetWriteDeadline is FD.SetWriteDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.wrap("set", c.fd.SetWriteDeadline(t)) }

// SetLinger sets SO_LINGER, in seconds: negative turns it off, 0 makes Close
// send a reset, more makes Close wait that long at most for what was written to
// be acknowledged (a signal can end the wait; no other call waits with it).
func (c *Conn) SetLinger(seconds int) error {
	return c.option(func(s Socket) error { return s.SetLinger(seconds) })
}

// SetNoDelay sets TCP_NODELAY, which is on for every new TCP connection.
func (c *Conn) SetNoDelay(on bool) error {
	return c.option(func(s Socket) error { return s.SetNoDelay(on) })
}

// SetKeepAlive turns keepalive on, with its present timings, or off.
func (c *Conn) SetKeepAlive(on bool) error {
	return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: on, Idle: -1, Interval: -1, Count: -1})
}

// SetKeepAlivePeriod sets the idle time before the first keepalive probe.
func (c *Conn) SetKeepAlivePeriod(d time.Duration) error {
	return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: -1, Count: -1})
}

// SetKeepAliveConfig is (*net.TCPConn).SetKeepAliveConfig: zero fields take
// net's defaults, negative ones leave the system's value.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.option(func(s Socket) error { return s.SetKeepAliveConfig(config) })
}

// SetReadBuffer sets SO_RCVBUF, in bytes.
func (c *Conn) SetReadBuffer(bytes int) error {
	return c.option(func(s Socket) error { return s.SetReadBuffer(bytes) })
}

// SetWriteBuffer sets SO_SNDBUF, in bytes.
func (c *Conn) SetWriteBuffer(bytes int) error {
	return c.option(func(s Socket) error { return s.SetWriteBuffer(bytes) })
}

// MultipathTCP reports whether the connection uses MPTCP.
func (c *Conn) MultipathTCP() (bool, error) {
	var on bool
	err := c.option(func(s Socket) (err error) {
		on, err = s.MultipathTCP()
		return err
	})
	return on, err
}

// SyscallConn is FD.SyscallConn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	rc, err := c.fd.SyscallConn()
	return rc, c.wrap("raw-control", err)
}

// File is FD.File.
func (c *Conn) File() (*os.File, error) {
	f, err := c.fd.File()
	return f, c.wrap("file", err)
}

func (c *Conn) option(set func(Socket) error) error {
	if c.fd.phase.Load() != connected {
		return c.wrap("set", c.fd.notConnected("set"))
	}
	return c.wrap("set", c.fd.set(set(c.fd.sock)))
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return c.opError(op, err)
}

// opError gives err the form that net's own connections give it. It looks at
// the local close first: then the sticky reason is of no interest to users of
// net, who look for net.ErrClosed.
func (c *Conn) opError(op string, err error) error {
	switch {
	case err == readDeadlineError, err == writeDeadlineError:
		err = os.ErrDeadlineExceeded
	case errors.Is(err, net.ErrClosed):
		err = net.ErrClosed
	case op == "read" && errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	}
	return &net.OpError{Op: op, Net: c.network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *Conn) network() string {
	if a := c.fd.RemoteAddr(); a != nil {
		return a.Network()
	}
	return "tcp"
}
