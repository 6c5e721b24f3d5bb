package ringfd

import (
	"context"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// servedSocket is a netSocket that a handler serves, on a goroutine of its own.
type servedSocket struct {
	*netSocket
	handler Handler

	dataDeadline time.Time // the user's read deadline, of a data handler; guarded by mu
}

// Read is for blocking handlers.
func (s *servedSocket) Read(p []byte) (int, error) {
	if s.handler.Data != nil {
		return 0, fd.ErrDataHandler
	}
	return s.netSocket.Read(p)
}

// WaitRead is for blocking handlers.
func (s *servedSocket) WaitRead() error {
	if s.handler.Data != nil {
		return fd.ErrDataHandler
	}
	return s.netSocket.WaitRead()
}

// SetReadDeadline is that of the connection, if a data handler serves it.
func (s *servedSocket) SetReadDeadline(t time.Time) error {
	if s.handler.Data != nil {
		s.mu.Lock()
		s.dataDeadline = t
		s.mu.Unlock()
		if idle := s.handler.IdleTimeout; idle > 0 { // and no later than that
			if at := time.Now().Add(idle); t.IsZero() || at.Before(t) {
				t = at
			}
		}
	}
	return s.netSocket.SetReadDeadline(t)
}

// idleUntil sets the deadline by which something must be received again, unless the
// handler has set an earlier one.
func (s *servedSocket) idleUntil(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.halves[readHalf] {
		return
	}
	if own := s.dataDeadline; !own.IsZero() && own.Before(t) {
		t = own
	}
	_ = s.conn.SetReadDeadline(t)
}

// goesOn reports that a deadline that has passed was not the connection's last: something
// was received since it was set. So a message costs no timer.
func (c *netServed) goesOn(err error) bool {
	idle := c.handler.IdleTimeout
	if idle <= 0 || err != os.ErrDeadlineExceeded {
		return false
	}
	c.mu.Lock()
	own := c.dataDeadline
	c.mu.Unlock()
	until := c.receivedAt.Add(idle)
	if now := time.Now(); !now.Before(until) || !own.IsZero() && !now.Before(own) {
		return false
	}
	c.idleUntil(until)
	return true
}

// servingAcceptor is a listener as Serve sees it.
type servingAcceptor struct {
	*netAcceptor
	handler Handler
}

func (a servingAcceptor) Accept(ctx context.Context) (fd.Socket, error) {
	s, err := a.accept(ctx, (*netAcceptor).waiveDeadline)
	if err != nil {
		return nil, err
	}
	return &servedSocket{netSocket: s, handler: a.handler}, nil
}

func (c *netServed) received() {
	if c.handler.IdleTimeout > 0 {
		c.receivedAt = time.Now()
	}
}

// netServing keeps the connections of one Serve, to drain them.
type netServing struct {
	mu       sync.Mutex
	conns    map[*fd.FD]struct{}
	draining bool
	over     chan struct{} // closed when the last has gone, after draining began
}

func (b *netBackend) serve(ctx context.Context, l *accept.Listener, h Handler) error {
	a, ok := l.Acceptor().(*netAcceptor)
	if !ok || a.backend != b {
		return errForeignListener
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // which is in the caller's bubble, if there is one, as ctx is
		select {
		case <-a.life.Done():
			cancel()
		case <-ctx.Done():
		}
	}()

	s := &netServing{conns: make(map[*fd.FD]struct{}), over: make(chan struct{})}
	err := b.accept.Run(ctx, accept.New(servingAcceptor{a, h}, b.events), func(f *fd.FD, _ net.Addr) {
		s.add(f)
		b.run(f, s.remove)
	})
	s.drain(b)
	if b.isClosed() {
		return net.ErrClosed
	}
	return err
}

func (s *netServing) add(f *fd.FD) {
	s.mu.Lock()
	s.conns[f] = struct{}{}
	s.mu.Unlock()
}

func (s *netServing) remove(f *fd.FD) {
	s.mu.Lock()
	delete(s.conns, f)
	if s.draining && len(s.conns) == 0 {
		close(s.over)
	}
	s.mu.Unlock()
}

// drain ends the receiving halves, then the connections, and waits for the
// handlers. When the backend is closed, the connections are.
func (s *netServing) drain(b *netBackend) {
	s.mu.Lock()
	s.draining = true
	left := make([]*fd.FD, 0, len(s.conns))
	for f := range s.conns {
		left = append(left, f)
	}
	s.mu.Unlock()
	if len(left) == 0 {
		return
	}
	if !b.isClosed() {
		for _, f := range left {
			_ = f.CloseRead()
		}
		t := time.NewTimer(b.drain)
		defer t.Stop()
		select {
		case <-s.over:
			return
		case <-t.C:
		}
	}
	for _, f := range left {
		_ = f.Close()
	}
	<-s.over
}

func (b *netBackend) served(h Handler) *fd.FD {
	return fd.New(&servedSocket{netSocket: &netSocket{backend: b}, handler: h}, b.events)
}

func (b *netBackend) start(f *fd.FD) { b.run(f, func(*fd.FD) {}) }

// run serves f on a goroutine, which calls over at its end.
func (b *netBackend) run(f *fd.FD, over func(*fd.FD)) {
	if !b.begin() {
		_ = f.Close()
		over(f)
		return
	}
	go func() {
		defer b.running.Done()
		defer over(f)
		c := &netServed{servedSocket: f.Socket().(*servedSocket), f: f, err: net.ErrClosed}
		if c.handler.Blocking != nil {
			c.block()
		} else {
			c.data()
		}
	}()
}

// netServed is a connection with its handler's goroutine, which the handler may
// end: all that follows it is deferred.
type netServed struct {
	*servedSocket
	f          *fd.FD
	returned   bool      // the handler has
	err        error     // why nothing more is received
	receivedAt time.Time // when something last was, if there is an IdleTimeout
}

func (c *netServed) block() {
	defer c.f.Close()
	defer c.caught()
	c.handler.Blocking(c.f)
	c.returned = true
}

func (c *netServed) data() {
	defer c.f.Close()
	defer c.end()
	defer c.caught()
	if c.handler.IdleTimeout > 0 {
		c.receivedAt = time.Now()
		c.idleUntil(c.receivedAt.Add(c.handler.IdleTimeout))
	}
	if c.handler.Open != nil {
		c.handler.Open(c.f)
	}
	c.receive()
	c.returned = true
}

// end tells the handler why nothing more is received; after a panic, that.
func (c *netServed) end() {
	err := c.f.ReceiveEnded(c.err)
	if c.handler.End == nil {
		return
	}
	c.returned = false
	defer c.caught()
	c.handler.End(c.f, err)
	c.returned = true
}

// caught is deferred around a handler: it ends the connection of one that has not
// returned.
func (c *netServed) caught() {
	if !c.returned {
		c.f.Panicked(&fd.PanicError{Value: recover(), Stack: debug.Stack()}) // nil: it ends its goroutine
	}
}
