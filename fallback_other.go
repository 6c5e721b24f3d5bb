// "Other" is every case that is not the ring: this backend is compiled on
// every OS, Linux too, and serves where io_uring is absent, blocked or not
// wanted. It is the same API and the same behaviour on Go's net package.

package ringfd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// netBackend keeps its open sockets and listeners, to close them with itself.
type netBackend struct {
	dial   fd.DialConfig
	accept accept.Loop
	drain  time.Duration // of Serve; 0 is not at all
	events *fd.Events

	mu        sync.Mutex
	closed    bool
	ended     chan struct{} // closed when close has done its work
	sockets   map[*netSocket]struct{}
	listeners map[*netAcceptor]struct{}
	running   tally // handlers, and slow writes of a Broadcast
}

func newNetBackend(o Options) *netBackend {
	return &netBackend{
		dial:      o.Dial,
		accept:    o.Accept,
		drain:     o.Loops.Drain,
		events:    o.Events,
		ended:     make(chan struct{}),
		sockets:   make(map[*netSocket]struct{}),
		listeners: make(map[*netAcceptor]struct{}),
	}
}

func (b *netBackend) away(work func()) error {
	work()
	return nil
}

func (b *netBackend) features() Features { return 0 }

func (b *netBackend) stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Sockets: len(b.sockets), Listeners: len(b.listeners)}
}

func (b *netBackend) close() error {
	b.mu.Lock()
	first := !b.closed
	b.closed = true
	sockets, listeners := b.sockets, b.listeners
	if first {
		b.sockets, b.listeners = nil, nil
	}
	b.mu.Unlock()
	inHandler := inHandler()
	switch {
	case first && inHandler:
		go b.end(sockets, listeners)
		return nil
	case first:
		b.end(sockets, listeners)
		return nil
	case !inHandler:
		<-b.ended
	}
	return net.ErrClosed
}

func (b *netBackend) end(sockets map[*netSocket]struct{}, listeners map[*netAcceptor]struct{}) {
	defer close(b.ended)
	for l := range listeners {
		_ = l.Close()
	}
	for s := range sockets {
		_ = s.Close()
	}
	b.running.Wait()
}

// inHandler reports that the caller is a handler, which close would wait for. The
// stack says so, so that no connection has to carry what only this asks for.
func inHandler() bool {
	var pcs [64]uintptr
	for skip := 1; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		frames := runtime.CallersFrames(pcs[:n])
		for more := n > 0; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			if strings.Contains(frame.Function, ".(*netServed).") {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}

// begin counts a goroutine that close waits for, and whose end calls
// running.Done; false means that the backend is closed.
func (b *netBackend) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.running.Add()
	}
	return !b.closed
}

func (b *netBackend) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *netBackend) socket() fd.Socket { return &netSocket{backend: b} }

// opened registers a socket that connects or is connected; false means that
// the backend is closed.
func (b *netBackend) opened(s *netSocket) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.sockets[s] = struct{}{}
	}
	return !b.closed
}

func (b *netBackend) forget(s *netSocket) {
	b.mu.Lock()
	delete(b.sockets, s)
	b.mu.Unlock()
}

// streamConn is what *net.TCPConn and *net.UnixConn have in common.
type streamConn interface {
	net.Conn
	syscall.Conn
	CloseRead() error
	CloseWrite() error
	File() (*os.File, error)
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

// netSocket is fd.Socket on a net connection. net itself keeps one reader and
// one writer apart, queues further ones, and waits in Close for calls in flight.
type netSocket struct {
	backend *netBackend
	conn    streamConn // set before the FD is connected; constant after

	mu            sync.Mutex
	closed        bool
	cancelConnect context.CancelFunc // while Connect runs
	connectDone   chan struct{}
	raw           syscall.RawConn // of conn; nil until WaitRead needs it
	readDeadline  time.Time       // set before there was a connection
	writeDeadline time.Time       // the user's
	abortingWrite bool            // the end of a Broadcast's context has set another

	// duplicated: Close does not shut the connection down first, since the application
	// has a duplicate that goes on (File).
	duplicated bool

	halves [2]bool // that the application ended, unless shutdownEndsCalls

	// writing is held by who writes. net queues writers as well, but does not say
	// whether there are any, which Broadcast must know.
	writing sync.Mutex
}

func (s *netSocket) Connect(ctx context.Context, addr net.Addr) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.cancelConnect, s.connectDone = cancel, make(chan struct{})
	s.mu.Unlock()
	defer close(s.connectDone)

	if !s.backend.opened(s) { // before it connects: Backend.Close cancels it
		return net.ErrClosed
	}
	conn, err := s.dial(ctx, addr)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelConnect = nil
	if err == nil && s.closed {
		_ = conn.Close()
	}
	if err != nil || s.closed {
		s.backend.forget(s)
		if s.closed {
			return net.ErrClosed
		}
		return err
	}
	s.conn = conn
	if !s.readDeadline.IsZero() {
		_ = conn.SetReadDeadline(s.readDeadline)
	}
	if !s.writeDeadline.IsZero() {
		_ = conn.SetWriteDeadline(s.writeDeadline)
	}
	return nil
}

func (s *netSocket) dial(ctx context.Context, addr net.Addr) (streamConn, error) {
	ctx, _ = traced(ctx) // it is for Dial
	config := &s.backend.dial
	if err := fd.CheckConnect(config.LocalAddr, addr); err != nil {
		return nil, err
	}
	if a, ok := addr.(*net.UnixAddr); ok && a.Net == "" {
		addr = &net.UnixAddr{Name: a.Name, Net: "unix"}
	}
	d := net.Dialer{
		LocalAddr:       config.LocalAddr,
		KeepAlive:       -1,
		KeepAliveConfig: fd.KeepAlive(config.KeepAlive),
		Control:         config.Control,
	}
	conn, err := d.DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		if errnoless(err) {
			if ctxErr := ctx.Err(); ctxErr != nil {
				return nil, ctxErr
			}
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() { // net saw ctx's deadline before ctx did
				return nil, context.DeadlineExceeded
			}
		}
		return nil, bare(err)
	}
	c := conn.(streamConn)
	if config.UserTimeout > 0 {
		if err := control(c, func(h uintptr) error { return setUserTimeout(h, config.UserTimeout) }); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (s *netSocket) Read(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if err != nil && !shutdownEndsCalls {
		n, err = s.readLeft(p, err)
	}
	if err != nil {
		return n, s.ended(err, readHalf)
	}
	raceAcquire()
	return n, nil
}

// WaitRead waits in Go's netpoller.
func (s *netSocket) WaitRead() error {
	s.mu.Lock()
	var err error
	if s.raw == nil {
		s.raw, err = s.conn.SyscallConn()
	}
	raw := s.raw
	s.mu.Unlock()
	if err == nil {
		err = waitReadable(raw)
	}
	if err == nil {
		err = io.EOF // perhaps, or our own shutdown before a close
	}
	if err = s.ended(err, readHalf); err == io.EOF { // Read tells
		return nil
	}
	return err
}

func (s *netSocket) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	n, err := s.conn.Write(p)
	if err != nil {
		return n, s.ended(err, writeHalf)
	}
	return n, nil
}

// buffersPool lends the slices that net.Buffers consumes.
var buffersPool = sync.Pool{New: func() any { return new(net.Buffers) }}

func (s *netSocket) Writev(buffers [][]byte) (int64, error) {
	raceRelease()
	lent := buffersPool.Get().(*net.Buffers)
	whole := append((*lent)[:0], buffers...)
	*lent = whole
	s.writing.Lock()
	n, err := lent.WriteTo(s.conn)
	s.writing.Unlock()
	clear(whole)
	*lent = whole[:0]
	buffersPool.Put(lent)
	if err != nil {
		return n, s.ended(err, writeHalf)
	}
	return n, nil
}

// ended is the error of a call that moves bytes: what Close's shutdown looks
// like to it is no doing of the peer.
func (s *netSocket) ended(err error, h half) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	err = bare(err)
	if err == os.ErrDeadlineExceeded && s.halves[h] {
		return endedHalf[h]
	}
	return err
}

func (s *netSocket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	conn, cancel, done := s.conn, s.cancelConnect, s.connectDone
	quiet := s.duplicated
	s.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
	if conn == nil {
		return nil
	}
	s.backend.forget(s)
	if !quiet && !resets(conn) { // the peer sees an end of file even when we leave data unread
		_ = conn.CloseWrite()
		_ = conn.CloseRead()
	}
	if err := bare(conn.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (s *netSocket) LocalAddr() net.Addr {
	if c := s.connected(); c != nil {
		return c.LocalAddr()
	}
	return nil
}

func (s *netSocket) RemoteAddr() net.Addr {
	if c := s.connected(); c != nil {
		return c.RemoteAddr()
	}
	return nil
}

func (s *netSocket) connected() streamConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *netSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.conn == nil:
		s.readDeadline = monotonic(t)
		return nil
	case s.halves[readHalf]:
		return nil
	}
	return bare(s.conn.SetReadDeadline(t))
}

func (s *netSocket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.writeDeadline = monotonic(t)
	if s.conn == nil || s.halves[writeHalf] || s.abortingWrite {
		return nil
	}
	return bare(s.conn.SetWriteDeadline(t))
}

func (s *netSocket) SyscallConn() (syscall.RawConn, error) { return s.conn.SyscallConn() }
func (s *netSocket) SetReadBuffer(bytes int) error         { return bare(s.conn.SetReadBuffer(bytes)) }
func (s *netSocket) SetWriteBuffer(bytes int) error        { return bare(s.conn.SetWriteBuffer(bytes)) }

// File returns a duplicate, which shares the connection: Close does not shut it
// down any more.
func (s *netSocket) File() (*os.File, error) {
	s.mu.Lock()
	s.duplicated = true
	s.mu.Unlock()
	return duplicate(s.conn, s.conn.LocalAddr().Network()+":"+s.conn.LocalAddr().String()+"->"+s.conn.RemoteAddr().String())
}

func (s *netSocket) SetLinger(seconds int) error {
	return s.tcp(func(c *net.TCPConn) error { return c.SetLinger(seconds) })
}

// resets reports that a close of c resets the connection (SO_LINGER with no time), which
// a shutdown before would turn into an end of file. Whoever set the option: a listener's
// is inherited, and the application may have had the descriptor.
func resets(c syscall.Conn) bool {
	reset := false
	err := control(c, func(h uintptr) (err error) {
		reset, err = lingersNot(h)
		return err
	})
	return err == nil && reset
}

func (s *netSocket) SetNoDelay(on bool) error {
	return s.tcp(func(c *net.TCPConn) error { return c.SetNoDelay(on) })
}

func (s *netSocket) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return s.tcp(func(c *net.TCPConn) error { return c.SetKeepAliveConfig(config) })
}

func (s *netSocket) MultipathTCP() (bool, error) {
	var on bool
	err := s.tcp(func(c *net.TCPConn) (err error) {
		on, err = c.MultipathTCP()
		return err
	})
	return on, err
}

func (s *netSocket) tcp(set func(*net.TCPConn) error) error {
	c, ok := s.conn.(*net.TCPConn)
	if !ok {
		return os.NewSyscallError("setsockopt", syscall.EOPNOTSUPP)
	}
	return bare(set(c))
}

// bare takes off the wrapping that net puts around an error, so that both
// backends report the same.
func bare(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	var syscallErr *os.SyscallError
	if errors.As(err, &syscallErr) {
		return syscallErr
	}
	var opErr *net.OpError
	if errors.As(err, &opErr) {
		return opErr.Err
	}
	return err
}

// errnoless reports an error that no system call gave.
func errnoless(err error) bool {
	var errno syscall.Errno
	return !errors.As(err, &errno)
}

// control runs f on the descriptor or handle of c.
func control(c syscall.Conn, f func(handle uintptr) error) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(h uintptr) { inner = f(h) }); err != nil {
		return err
	}
	return inner
}
