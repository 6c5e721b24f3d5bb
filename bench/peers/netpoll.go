//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cloudwego/netpoll"

	"github.com/ringfd/ringfd/bench/control"
)

const netpollTarget = "netpoll"

// netpollServer runs a service on cloudwego/netpoll. Its pollers read into the
// buffers of connections; a handler for each connection with data runs in a
// goroutine, one at a time, and ends when the buffer is empty.
type netpollServer struct {
	totals
	spec     control.ServerSpec
	loop     netpoll.EventLoop
	done     chan error
	stopping atomic.Bool
	// members are the live connections: a new slice for each change, which
	// totals.mu guards.
	members atomic.Pointer[[]*netpollConn]
}

// netpollConn is a connection in the context of its handler.
type netpollConn struct {
	netpoll.Connection
	*counts
	reply   []byte // of Exchange
	failure error  // why the handler closed it

	// writing is for Fanout, where the handlers of other connections write too:
	// Flush refuses a second caller, and a write after over panics.
	writing sync.Mutex
	over    bool
}

// configure sets what is for the whole process, by docs/guide/guide_en.md. The
// rest stays as netpoll has it, for what was measured:
//   - "How to configure gopool": a goroutine for each event in place of the pool
//     carried a fifth fewer messages (64 B, 64 connections, one P);
//   - buffers begin at 8 KiB and grow by themselves: no difference at 4 KiB, nor at
//     64 KiB with messages of up to 1 MiB.
var configure = sync.OnceValue(func() error {
	return netpoll.Configure(netpoll.Config{
		// "How to configure the number of pollers": as many as Ps, for heavy I/O. The
		// guide calls that the default, but it is one for every 20.
		PollerNum:    runtime.GOMAXPROCS(0),
		LoggerOutput: os.Stderr,
	})
})

func (s *netpollServer) Start(spec control.ServerSpec) (control.Ready, error) {
	if err := configure(); err != nil {
		return control.Ready{}, err
	}
	s.spec, s.done = spec, make(chan error, 1)
	s.members.Store(new([]*netpollConn))
	loop, err := netpoll.NewEventLoop(s.serve, netpoll.WithOnPrepare(s.prepare))
	if err != nil {
		return control.Ready{}, err
	}
	l, err := netpoll.CreateListener(spec.Network, spec.Address)
	if err != nil {
		return control.Ready{}, err
	}
	serving := make(chan struct{})
	s.loop = loop
	go func() {
		s.done <- loop.Serve(&watchedListener{Listener: l, asked: sync.OnceFunc(func() { close(serving) })})
	}()
	select {
	case err := <-s.done:
		return control.Ready{}, err
	case <-serving:
	}
	why := fmt.Sprintf("netpoll %s, pollers: %d", version("github.com/cloudwego/netpoll"), runtime.GOMAXPROCS(0))
	return control.Ready{Kind: netpollTarget, Why: why, Address: l.Addr().String()}, nil
}

// watchedListener tells when Serve asks for its descriptor. Serve then holds the
// lock that Shutdown takes; a Shutdown before that would be lost.
type watchedListener struct {
	netpoll.Listener
	asked func()
}

func (l *watchedListener) Fd() int {
	l.asked()
	return l.Listener.Fd()
}

func (s *netpollServer) Stop() error {
	s.drain(control.DrainLimit)
	s.stopping.Store(true)
	for _, c := range *s.members.Load() {
		_ = c.Close() // Shutdown would wait for as long as its peer does not read
	}
	ctx, cancel := context.WithTimeout(context.Background(), control.DrainLimit)
	defer cancel()
	return errors.Join(s.loop.Shutdown(ctx), <-s.done)
}

type connKey struct{}

// prepare begins with a connection, before anything is read.
func (s *netpollServer) prepare(conn netpoll.Connection) context.Context {
	c := &netpollConn{Connection: conn, counts: s.opened()}
	if s.spec.Service == control.Exchange {
		c.reply = make([]byte, s.spec.Reply)
	}
	s.mu.Lock()
	list := append(slices.Clone(*s.members.Load()), c)
	s.members.Store(&list)
	s.mu.Unlock()
	_ = conn.AddCloseCallback(func(netpoll.Connection) error { s.ended(c); return nil }) // it cannot fail
	return context.WithValue(context.Background(), connKey{}, c)
}

// ended runs once for each connection, after its handler and before its buffers
// are freed.
func (s *netpollServer) ended(c *netpollConn) {
	c.writing.Lock() // a Flush of another handler returns now, and is counted
	c.over = true
	c.writing.Unlock()
	s.mu.Lock()
	list := slices.DeleteFunc(slices.Clone(*s.members.Load()), func(m *netpollConn) bool { return m == c })
	s.members.Store(&list)
	s.mu.Unlock()
	s.closed(c.counts, s.reason(c.failure))
}

// reason is reasonOf for netpoll, which has errors of its own, and which does
// not tell why it closed a connection: it does so at end of file, at a reset,
// and at any other error.
func (s *netpollServer) reason(failure error) string {
	switch {
	case failure != nil && !errors.Is(failure, netpoll.ErrConnClosed): // which ErrEOF is too
		return reasonOf(failure)
	case s.stopping.Load():
		return closedByUs
	}
	return control.PeerClosed
}

// serve handles what is in the buffer. It is called again while something is.
func (s *netpollServer) serve(ctx context.Context, _ netpoll.Connection) error {
	c := ctx.Value(connKey{}).(*netpollConn)
	var err error
	switch s.spec.Service {
	case control.Exchange:
		err = s.exchange(c)
	case control.Fanout:
		err = s.fanout(c)
	default:
		err = c.echo()
	}
	if err != nil {
		c.read.Add(uint64(c.Reader().Len())) // the beginning of a message
		c.failure = err
		return c.Close() // or netpoll would call for the rest for ever
	}
	return nil
}

// flush sends what was written to c, and counts n bytes when all are sent.
func (c *netpollConn) flush(n int) error {
	if err := c.Writer().Flush(); err != nil {
		return err
	}
	c.written.Add(uint64(n))
	return nil
}

func (c *netpollConn) echo() error {
	in := c.Reader()
	message, err := in.Next(in.Len())
	if err != nil {
		return err
	}
	c.read.Add(uint64(len(message)))
	if _, err := c.Writer().WriteBinary(message); err != nil {
		return err
	}
	if err := c.flush(len(message)); err != nil {
		return err
	}
	return in.Release()
}

// exchange waits for a whole request, as "Simple usage" in the guide does, and
// looks at its stamp only.
func (s *netpollServer) exchange(c *netpollConn) error {
	in := c.Reader()
	stamp, err := in.Next(control.StampSize)
	if err != nil {
		return err
	}
	copy(c.reply, stamp)
	c.read.Add(control.StampSize)
	if err := in.Skip(s.spec.Request - control.StampSize); err != nil {
		return err
	}
	c.read.Add(uint64(s.spec.Request - control.StampSize))
	if err := in.Release(); err != nil {
		return err
	}
	if _, err := c.Writer().WriteBinary(c.reply); err != nil {
		return err
	}
	return c.flush(len(c.reply))
}

func (s *netpollServer) fanout(c *netpollConn) error {
	in := c.Reader()
	message, err := in.Next(s.spec.Request)
	if err != nil {
		return err
	}
	c.read.Add(uint64(len(message)))
	for _, member := range *s.members.Load() {
		// Whom the message does not reach has ended, which is for its poller to say.
		_ = member.send(message)
	}
	return in.Release()
}

// send writes message whole, whoever else writes to c.
func (c *netpollConn) send(message []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.over {
		return netpoll.ErrConnClosed
	}
	if _, err := c.Writer().WriteBinary(message); err != nil {
		return err
	}
	return c.flush(len(message))
}
