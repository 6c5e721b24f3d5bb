package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// upstreamCases call FDs of the same Backend in handlers. On a loop a Blocking handler
// yields meanwhile; a Data handler cannot wait, and is told so at once.
var upstreamCases = []Case{
	{Name: "UpstreamOfHandlers", Core: true, Run: func(t *testing.T, e *Env) {
		const clients, each, answer = 16, 2, 50 * time.Millisecond
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		upstream := listenPlain(t, e)
		go func() {
			for {
				c, err := upstream.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buf := make([]byte, 1)
					for {
						if _, err := c.Read(buf); err != nil {
							return
						}
						time.Sleep(answer)
						_, _ = c.Write(buf)
					}
				}()
			}
		}()
		l, _ := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
			up, err := e.Backend.Dial(context.Background(), e.Network, upstream.Addr().String())
			if err != nil {
				_ = f.CloseWithReason(err)
				return
			}
			defer up.Close()
			buf := make([]byte, 1)
			for {
				if _, err := f.Read(buf); err != nil {
					return
				}
				if _, err := up.Write(buf); err != nil {
					return
				}
				if _, err := up.Read(buf); err != nil {
					return
				}
				_, _ = f.Write(buf)
			}
		}})
		began := time.Now()
		var group sync.WaitGroup
		for range clients {
			c := e.peerOf(t, l)
			group.Go(func() {
				for range each {
					if err := wantEcho(c, []byte("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		// One after the other they would take clients times as long.
		if took := time.Since(began); took > clients*each*answer/2 {
			t.Errorf("%d requests of %d connections took %v: they wait for each other", clients*each, clients, took)
		}
	}},
	{Name: "UpstreamOfDataHandlers", Core: true, Run: func(t *testing.T, e *Env) {
		if e.Backend.Kind() == ringfd.Net {
			t.Skip("on net a Data handler may wait; io_uring would make this run")
		}
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		other, _ := e.peers(t)
		reports := make(chan error, 4)
		l, _ := e.serveWith(t, fd.Handler{Data: func(*fd.FD, []byte) {
			_, err := other.Read(make([]byte, 1))
			reports <- err
			_, err = e.Backend.Dial(context.Background(), e.Network, other.RemoteAddr().String())
			reports <- err
			_, err = e.Backend.DialServe(context.Background(), e.Network, other.RemoteAddr().String(), blockingEcho())
			reports <- err
			foreign, err := e.Backend.Listen(context.Background(), e.Network, e.Address(t), defaultConfig)
			if err == nil {
				err = e.Backend.Serve(context.Background(), foreign, blockingEcho())
				_ = foreign.Close()
			}
			reports <- err
		}})
		write(t, e.peerOf(t, l), "x")
		for _, call := range []string{"Read", "Dial", "DialServe", "Serve"} {
			if err := await(t, reports, "the end of "+call); !errors.Is(err, fd.ErrHoldsLoop) {
				t.Errorf("%s: %v, want ErrHoldsLoop", call, err)
			}
		}
		wantReason(t, other, fd.None)
	}},
	{Name: "ServeInHandler", Run: func(t *testing.T, e *Env) {
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		inner := e.Listen(t, defaultConfig)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		reports := make(chan error, 1)
		outer, _ := e.serveWith(t, blocking(reports, func(*fd.FD) error { return e.Backend.Serve(ctx, inner, blockingEcho()) }))
		_ = e.peerOf(t, outer)
		c := e.peerOf(t, inner)
		if err := wantEcho(c, []byte("served by a handler")); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		cancel()
		wantReport(t, reports)
	}},
	{Name: "LoopsCountWakeups", Run: func(t *testing.T, e *Env) {
		if e.Backend.Kind() == ringfd.Net {
			t.Skip("net has no loops; io_uring would make this run")
		}
		opened := make(chan *fd.FD, 1)
		l, _ := e.serveWith(t, fd.Handler{Open: func(f *fd.FD) { opened <- f }, Data: func(*fd.FD, []byte) {}})
		c := e.peerOf(t, l)
		f := await(t, opened, "Open")
		for end := time.Now().Add(patience); e.wakeups() == 0; { // a loop that does not sleep yet needs none
			if time.Now().After(end) {
				t.Fatal("no wake-up was counted")
			}
			write(t, f, "x")
			read(t, c, "x")
			time.Sleep(time.Millisecond)
		}
	}},
	{Name: "BackendCloseEndsUpstreams", Core: true, Run: backendCloseEndsUpstreams},
}

// backendCloseEndsUpstreams closes a Backend while handlers wait for connections that
// they dialled, whose peers say nothing: Close ends those first, in every style.
func backendCloseEndsUpstreams(t *testing.T, e *Env) {
	for _, way := range []string{"Read", "Write", "WaitRead", "Broadcast", "Read in Offload", "Accept", "goroutine of a Data handler"} {
		t.Run(way, func(t *testing.T) {
			upstream := listenPlain(t, e)
			b := e.own(t)
			own := &Env{Row: e.Row, Network: e.Network, Backend: b}
			listener := own.Listen(t, defaultConfig)
			waits := make(chan struct{}, 1)
			ended := make(chan error, 1)
			wait := func(f *fd.FD) {
				err := func() error {
					up, err := b.Dial(context.Background(), e.Network, upstream.Addr().String())
					if err != nil {
						return fmt.Errorf("Dial: %w", err)
					}
					waits <- struct{}{}
					switch way {
					case "Write":
						_, err = up.Write(make([]byte, beyondBuffers))
					case "WaitRead":
						err = up.WaitRead()
					case "Broadcast":
						err = errors.Join(b.Broadcast(context.Background(), []*fd.FD{up}, make([]byte, beyondBuffers))...)
					case "Read in Offload":
						f.Offload(func() { _, err = up.Read(make([]byte, 1)) })
					case "Accept":
						_, _, err = listener.Accept(context.Background())
					default:
						_, err = up.Read(make([]byte, 1))
					}
					return err
				}()
				ended <- err
			}
			h := fd.Handler{Blocking: wait}
			if way == "goroutine of a Data handler" {
				h = fd.Handler{Data: func(f *fd.FD, _ []byte) { go wait(f) }}
			}
			l := own.Listen(t, defaultConfig)
			serving := async(func() error { return b.Serve(context.Background(), l, h) })
			write(t, own.peerOf(t, l), "x")
			await(t, waits, "the upstream")
			closed := async(b.Close)
			if err := await(t, closed, "the end of Backend.Close"); err != nil {
				t.Errorf("Close: %v", err)
			}
			if err := await(t, ended, "the end of "+way); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v, want net.ErrClosed", way, err)
			}
			await(t, serving, "the end of Serve")
		})
	}
}

// wakeups is how often the loops were woken.
func (e *Env) wakeups() (n uint64) {
	for _, l := range e.Backend.Stats().Loops {
		n += l.Wakeups
	}
	return n
}

// listenPlain listens by package net, until the end of the test.
func listenPlain(t testing.TB, e *Env) net.Listener {
	t.Helper()
	l, err := net.Listen(e.Network, e.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
