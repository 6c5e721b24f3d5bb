package server

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/fd"
)

// Server serves connections, and counts: with Serve and ServeNet by a goroutine
// for each, with Handler as Backend.Serve does.
type Server struct {
	spec     Spec
	handlers sync.WaitGroup // of Serve and ServeNet
	// members are the live connections, for Fanout: a new list for each change.
	members atomic.Pointer[members]
	// backend, if not nil, broadcasts.
	backend *ringfd.Backend
	// requests are of the connections of data handlers that are in the midst of
	// one, or may be.
	requests fd.Table[*request]
	// buffers are for blocking handlers that have something to read.
	buffers sync.Pool

	mu    sync.Mutex
	live  map[connection]struct{}
	ended control.Totals // of the connections that ended
	// gone are those that ended in Fanout: what was written to them is counted by
	// whom they got it from, which may be later.
	gone []connection
	// drained, if not nil, is closed when none is live.
	drained chan struct{}
}

// connection is an *fd.FD or a net.Conn, with its counters.
type connection interface {
	io.ReadWriteCloser
	counts() (read, written uint64)
}

// New returns a server that does what spec says.
func New(spec Spec) *Server {
	s := &Server{spec: spec, live: make(map[connection]struct{})}
	s.buffers.New = func() any {
		buffer := make([]byte, spec.Buffer)
		return &buffer
	}
	s.members.Store(new(members))
	s.ended.Ends = make(map[string]uint64)
	s.ended.AcceptErrors = make(map[string]uint64)
	return s
}

type fdConnection struct{ *fd.FD }

func (c fdConnection) counts() (read, written uint64) {
	stats := c.Stats()
	return stats.Read, stats.Written
}

// Serve accepts from l until ctx ends or l is closed; then it closes l and
// every connection, and returns when all goroutines have ended.
func (s *Server) Serve(ctx context.Context, l *accept.Listener) error {
	loop := accept.Loop{OnError: func(err *accept.Error, _ time.Duration) { s.acceptFailed(err.Class.String()) }}
	err := loop.Run(ctx, l, func(f *fd.FD, _ net.Addr) { s.start(fdConnection{f}) })
	return errors.Join(err, s.end(l))
}

type netConnection struct {
	net.Conn
	read, written atomic.Uint64
}

func (c *netConnection) counts() (read, written uint64) { return c.read.Load(), c.written.Load() }

func (c *netConnection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(uint64(n))
	return n, err
}

func (c *netConnection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(uint64(n))
	return n, err
}

// ServeNet is Serve on Go's net.
func (s *Server) ServeNet(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = nil
			}
			return errors.Join(err, s.end(l))
		}
		s.start(&netConnection{Conn: conn})
	}
}

func (s *Server) start(c connection) {
	s.beginning(c)
	s.handlers.Go(func() {
		err := s.serve(c)
		_ = c.Close()
		s.ending(c, reasonOf(err))
	})
}

func (s *Server) beginning(c connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[c] = struct{}{}
	s.ended.Accepted++
	s.listMembers()
}

func (s *Server) ending(c connection, reason string) {
	read, written := c.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, c)
	s.listMembers()
	if s.spec.Service == control.Fanout && !s.spec.Forgets {
		s.gone = append(s.gone, c)
	} else {
		s.ended.Read += read
		s.ended.Written += written
	}
	s.ended.Ends[reason]++
	if len(s.live) == 0 && s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
}

// members are connections to write to, or, for a broadcast, their FDs.
type members struct {
	all []connection
	fds []*fd.FD
}

// listMembers makes the list anew; only Fanout needs it.
func (s *Server) listMembers() {
	if s.spec.Service != control.Fanout {
		return
	}
	m := new(members)
	for c := range s.live {
		if f, ok := c.(fdConnection); ok && s.backend != nil {
			m.fds = append(m.fds, f.FD)
		} else {
			m.all = append(m.all, c)
		}
	}
	s.members.Store(m)
}

func (s *Server) acceptFailed(class string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended.AcceptErrors[class]++
}

// end closes what is open, and waits for its handlers.
func (s *Server) end(l io.Closer) error {
	err := l.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.mu.Lock()
	live := maps.Clone(s.live)
	s.mu.Unlock()
	for c := range live {
		_ = c.Close() // its handler says how it ended
	}
	s.handlers.Wait()
	return err
}

// Drain waits until every connection was ended by its peer, at most for limit.
func (s *Server) Drain(limit time.Duration) {
	s.mu.Lock()
	drained := make(chan struct{})
	if len(s.live) == 0 {
		close(drained)
	} else {
		s.drained = drained
	}
	s.mu.Unlock()
	select {
	case <-drained:
	case <-time.After(limit):
	}
}

// Totals returns the counts so far, open connections included. Read is exact
// as soon as the peer has the reply; Written may lag behind it until the Write
// returns.
func (s *Server) Totals() control.Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.ended
	t.Ends, t.AcceptErrors = maps.Clone(t.Ends), maps.Clone(t.AcceptErrors)
	t.Live = uint64(len(s.live))
	add := func(c connection) {
		read, written := c.counts()
		t.Read += read
		t.Written += written
	}
	for c := range s.live {
		add(c)
	}
	for _, c := range s.gone {
		add(c)
	}
	return t
}

// reasonOf names the end of a connection as package fd does.
func reasonOf(err error) string {
	var fdErr *fd.Error
	if errors.As(err, &fdErr) && fdErr.Reason != fd.None {
		return fdErr.Reason.String()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) {
		return control.PeerClosed
	}
	return err.Error()
}
