//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
	errorx "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/logging"

	"github.com/ringfd/ringfd/bench/control"
)

const gnetTarget = "gnet"

// gnetServer runs a service on gnet's event loops. All of it but Start, Stop
// and Totals runs in them: a connection stays in one loop, the loops run at the
// same time.
type gnetServer struct {
	gnet.BuiltinEventEngine
	totals
	spec control.ServerSpec

	engine  gnet.Engine
	address string
	bootErr error
	booted  chan struct{}
	done    chan error

	// members are the live connections, for Fanout: a new slice for each
	// change, which totals.mu guards.
	members atomic.Pointer[[]*gnetConn]
	sent    gnet.AsyncCallback
}

// gnetConn is the context of a gnet.Conn. Its loop alone touches it, but for
// the fields that do not change.
type gnetConn struct {
	gnet.Conn
	loop gnet.EventLoop
	*counts
	have  int    // bytes of the request that is coming in
	reply []byte // of Exchange
}

// gnetOptions follow the comments in gnet's options.go, which is all the advice
// that gnet gives, and its authors' own program in gnet-io/gnet-benchmarks. Where
// they leave a choice it is by what was measured, as CPU per message:
//   - level-triggered: edge-triggered reads once more, in vain, for each small
//     message (6.7 µs against 6.5 at 64 B and 64 connections), and was within the
//     noise at 64 KiB;
//   - the read buffer of 64 KiB, which each loop has once: 256 KiB and 1 MiB made
//     requests of 1 MiB a tenth slower, and no difference at 16 and 64 KiB.
func gnetOptions(loops int) []gnet.Option {
	several := loops > 1
	return []gnet.Option{
		// Multicore alone would start a loop for each CPU, however few Ps there are.
		gnet.WithMulticore(several),
		gnet.WithNumEventLoop(loops),
		// "to actually run in parallel": half the latency with two loops. One loop
		// gains nothing, and pays a thread switch for each wake-up (28 µs against 24
		// at one connection).
		gnet.WithLockOSThread(several),
		// A single loop that accepts by itself needs no second one, which would hand
		// over each connection (0.6 of the CPU of a short connection). Several loops
		// share better in turns, and would each listen on another port.
		gnet.WithReusePort(!several),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithLogger(stderrLogger{}),
	}
}

func (s *gnetServer) Start(spec control.ServerSpec) (control.Ready, error) {
	if _, err := os.Lstat(spec.Address); err == nil && spec.Network == "unix" {
		return control.Ready{}, fmt.Errorf("%s exists, and gnet would delete it: choose another path", spec.Address)
	}
	s.spec, s.booted, s.done = spec, make(chan struct{}), make(chan error, 1)
	s.members.Store(new([]*gnetConn))
	s.sent = s.countSent
	loops := runtime.GOMAXPROCS(0)
	go func() { s.done <- gnet.Run(s, spec.Network+"://"+spec.Address, gnetOptions(loops)...) }()
	select {
	case err := <-s.done:
		return control.Ready{}, fmt.Errorf("gnet cannot listen on %s %s: %w", spec.Network, spec.Address, err)
	case <-s.booted:
	}
	if s.bootErr != nil {
		return control.Ready{}, errors.Join(s.bootErr, <-s.done)
	}
	why := fmt.Sprintf("gnet %s, event loops: %d", version("github.com/panjf2000/gnet/v2"), loops)
	return control.Ready{Kind: gnetTarget, Why: why, Address: s.address}, nil
}

// OnBoot finds out where gnet listens, which it does not tell.
func (s *gnetServer) OnBoot(engine gnet.Engine) gnet.Action {
	defer close(s.booted)
	s.engine = engine
	if s.address, s.bootErr = listensOn(engine); s.bootErr != nil {
		return gnet.Shutdown
	}
	return gnet.None
}

func listensOn(engine gnet.Engine) (string, error) {
	fd, err := engine.Dup()
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), "gnet's listener")
	l, err := net.FileListener(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *gnetServer) Stop() error {
	s.drain(control.DrainLimit)
	// Engine.Stop would look every 500 ms whether the engine has ended. With a
	// context that is over it only asks for the end; Run returns when all is closed.
	over, cancel := context.WithCancel(context.Background())
	cancel()
	switch err := s.engine.Stop(over); {
	case errors.Is(err, errorx.ErrEngineInShutdown):
		return errors.Join(errEndedByItself, <-s.done)
	case err != nil && !errors.Is(err, context.Canceled):
		return err
	}
	return <-s.done
}

// errEndedByItself is worth an error of its own, because Run returns none.
var errEndedByItself = errors.New("gnet ended by itself, with all its connections, as it does when it cannot accept one: " +
	"what it wrote to standard error says why; if it had too many open files, raise the limit (ulimit -n)")

func (s *gnetServer) OnOpen(conn gnet.Conn) ([]byte, gnet.Action) {
	c := &gnetConn{Conn: conn, loop: conn.EventLoop(), counts: s.opened()}
	conn.SetContext(c)
	switch s.spec.Service {
	case control.Exchange:
		c.reply = make([]byte, s.spec.Reply)
	case control.Fanout:
		s.mu.Lock()
		defer s.mu.Unlock()
		list := append(slices.Clone(*s.members.Load()), c)
		s.members.Store(&list)
	}
	return nil, gnet.None
}

func (s *gnetServer) OnClose(conn gnet.Conn, err error) gnet.Action {
	c := conn.Context().(*gnetConn)
	if s.spec.Service == control.Fanout {
		s.mu.Lock()
		list := slices.DeleteFunc(slices.Clone(*s.members.Load()), func(m *gnetConn) bool { return m == c })
		s.members.Store(&list)
		s.mu.Unlock()
	}
	// What gnet still holds was counted when gnet took it. To a peer that closed
	// only one half it sends some of that yet, and loses the rest.
	c.written.Add(-uint64(conn.OutboundBuffered()))
	s.closed(c.counts, reasonOf(err))
	return gnet.None
}

func (s *gnetServer) OnTraffic(conn gnet.Conn) gnet.Action {
	c := conn.Context().(*gnetConn)
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
		return gnet.Close // a Write that fails has closed c already: read no more of it
	}
	return gnet.None
}

// send gives p to gnet, which sends it or keeps a copy. It is for c's own loop.
func (c *gnetConn) send(p []byte) error {
	if _, err := c.Write(p); err != nil {
		return err
	}
	c.written.Add(uint64(len(p)))
	return nil
}

func (c *gnetConn) echo() error {
	in, err := c.Next(-1)
	if err != nil {
		return err
	}
	c.read.Add(uint64(len(in)))
	return c.send(in)
}

// exchange counts bytes to tell requests apart, and keeps of each its stamp.
func (s *gnetServer) exchange(c *gnetConn) error {
	in, err := c.Next(-1)
	if err != nil {
		return err
	}
	c.read.Add(uint64(len(in)))
	for len(in) > 0 {
		part := in[:min(len(in), s.spec.Request-c.have)]
		if c.have < control.StampSize {
			copy(c.reply[c.have:control.StampSize], part)
		}
		in = in[len(part):]
		if c.have += len(part); c.have < s.spec.Request {
			break
		}
		c.have = 0
		if err := c.send(c.reply); err != nil {
			return err
		}
	}
	return nil
}

// fanout leaves the beginning of a message in gnet's buffer until the rest is
// there, as Peek and Discard are for.
func (s *gnetServer) fanout(c *gnetConn) error {
	c.read.Add(uint64(c.InboundBuffered() - c.have))
	for c.InboundBuffered() >= s.spec.Request {
		message, err := c.Peek(s.spec.Request)
		if err != nil {
			return err
		}
		s.sendOthers(c, message)
		// Its own comes last: a Write that fails closes c and frees message.
		if err := c.send(message); err != nil {
			return err
		}
		if _, err := c.Discard(len(message)); err != nil {
			return err
		}
	}
	c.have = c.InboundBuffered()
	return nil
}

// sendOthers sends message to all members but c. Whom it does not reach has
// ended, which OnClose counts.
func (s *gnetServer) sendOthers(c *gnetConn, message []byte) {
	var kept []byte // a copy for the other loops, which write it later
	for _, m := range *s.members.Load() {
		switch {
		case m == c:
		case m.loop == c.loop:
			_ = m.send(message)
		default:
			if kept == nil {
				kept = slices.Clone(message)
			}
			_ = m.AsyncWrite(kept, s.sent)
		}
	}
}

// countSent counts a message of an AsyncWrite. It runs in the loop of conn.
func (s *gnetServer) countSent(conn gnet.Conn, err error) error {
	if c, open := conn.Context().(*gnetConn); open && err == nil {
		c.written.Add(uint64(s.spec.Request))
	}
	return nil
}

// stderrLogger writes gnet's warnings and errors to standard error; standard
// output is the lab's.
type stderrLogger struct{}

var _ logging.Logger = stderrLogger{}

func (stderrLogger) Debugf(string, ...any)          {}
func (stderrLogger) Infof(string, ...any)           {}
func (stderrLogger) Warnf(f string, args ...any)    { fmt.Fprintf(os.Stderr, "gnet: "+f+"\n", args...) }
func (l stderrLogger) Errorf(f string, args ...any) { l.Warnf(f, args...) }

// Fatalf does not return, as the interface has it.
func (l stderrLogger) Fatalf(f string, args ...any) { l.Warnf(f, args...); os.Exit(1) }
