package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/leak"
)

// drainCases are about how Serve ends.
var drainCases = []Case{
	{Name: "ServeDrains", Core: true, Run: func(t *testing.T, e *Env) {
		const connections = 10
		ends := make(chan error, connections)
		began := make(chan struct{}, connections)
		for _, h := range []style{
			{"blocking", fd.Handler{Blocking: func(f *fd.FD) {
				buf := make([]byte, 100)
				for {
					if _, err := f.Read(buf); err != nil {
						_, _ = f.Write([]byte("bye"))
						ends <- err
						return
					}
					began <- struct{}{}
				}
			}}},
			{"data", fd.Handler{
				Data: func(*fd.FD, []byte) { began <- struct{}{} },
				End: func(f *fd.FD, err error) {
					_, _ = f.Write([]byte("bye"))
					ends <- err
				},
			}},
		} {
			for _, how := range []string{"context", "listener"} {
				t.Run(h.name+", "+how, func(t *testing.T) {
					l, stop := e.serveWith(t, h.handler)
					var peers []net.Conn
					for range connections {
						c := e.peerOf(t, l)
						write(t, c, "x")
						await(t, began, "a handler")
						peers = append(peers, c)
					}
					if how == "listener" {
						_ = l.Close()
					} else {
						go stop()
					}
					for _, c := range peers {
						wantAll(t, c, "bye")
						wantErr(t, "the end", await(t, ends, "the end of a handler"), "read", fd.ClosedLocally, io.EOF)
					}
					if err := stop(); err != nil {
						t.Errorf("Serve: %v", err)
					}
				})
			}
		}
	}},
	{Name: "ServeDrainsWhatWasReceived", Core: true, Run: func(t *testing.T, e *Env) {
		const size = 20 << 10
		began, goOn := make(chan struct{}), make(chan struct{})
		reports := make(chan error, 1)
		l, stop := e.serveWith(t, blocking(reports, func(f *fd.FD) error {
			buf := make([]byte, 100)
			if n, err := f.Read(buf[:1]); err != nil {
				return fmt.Errorf("Read = %d, %w", n, err)
			}
			f.Offload(func() { close(began); <-goOn })
			for total := 1; ; {
				n, err := f.Read(buf)
				if total += n; err != nil {
					if total != size {
						return fmt.Errorf("read %d of %d bytes, then %w", total, size, err)
					}
					return nil
				}
			}
		}))
		c := e.peerOf(t, l)
		write(t, c, string(make([]byte, size)))
		await(t, began, "the handler")
		ended := async(stop)
		select { // Serve returns when the last handler has, and this one waits
		case err := <-ended:
			t.Fatalf("Serve returned %v before its handler", err)
		case <-time.After(50 * time.Millisecond):
		}
		close(goOn)
		wantReport(t, reports)
		if err := await(t, ended, "the end of Serve"); err != nil {
			t.Error(err)
		}
	}},
	{Name: "ServeDrainHasALimit", Core: true, Run: func(t *testing.T, e *Env) {
		for _, limit := range []time.Duration{50 * time.Millisecond, -1} {
			t.Run(limit.String(), func(t *testing.T) {
				e := e.With(t, func(o *ringfd.Options) { o.Loops.Drain = limit })
				ends := make(chan error, 1)
				l, stop := e.serveWith(t, fd.Handler{Blocking: func(f *fd.FD) {
					_, err := f.Write(make([]byte, 64<<20)) // which nobody reads
					ends <- err
				}})
				c := e.peerOf(t, l)
				read(t, c, "\x00")
				start := time.Now()
				if err := stop(); err != nil {
					t.Errorf("Serve: %v", err)
				}
				if took := time.Since(start); took < limit || took > patience/2 {
					t.Errorf("draining for %v took %v", limit, took)
				}
				wantErr(t, "Write", await(t, ends, "the end of Write"), "write", fd.ClosedLocally, net.ErrClosed)
			})
		}
	}},
	{Name: "ServeReturns", Core: true, Run: serveReturns},
	{Name: "ServeNotListening", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// shutdown(2) on the socket behind our back.
		l := e.Listen(t, defaultConfig)
		ended := async(func() error { return e.Backend.Serve(context.Background(), l, blockingEcho()) })
		if err := wantEcho(e.peerOf(t, l), []byte("x")); err != nil {
			t.Fatal(err)
		}
		shutdown(t, l)
		err := await(t, ended, "the end of Serve")
		if ae, ok := errors.AsType[*accept.Error](err); !ok || ae.Class != accept.Unexpected || !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Serve: %v, want an Unexpected EINVAL", err)
		}
	}},
	{Name: "ServeHasNoDeadline", Core: true, Run: func(t *testing.T, e *Env) {
		l, _ := e.serveWith(t, blockingEcho())
		for range 3 {
			set(t, l.SetDeadline(past))
			if err := wantEcho(e.peerOf(t, l), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		set(t, l.SetDeadline(time.Now().Add(20*time.Millisecond)))
		_, _, err := l.Accept(t.Context())
		wantPlain(t, err, os.ErrDeadlineExceeded)
		if err := wantEcho(e.peerOf(t, l), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}},
	{Name: "ForeignListener", Run: func(t *testing.T, e *Env) {
		other := e.With(t)
		l := other.Listen(t, defaultConfig)
		if err := e.Backend.Serve(t.Context(), l, blockingEcho()); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve with another Backend's listener: %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := async(func() error { return other.Backend.Serve(ctx, l, blockingEcho()) })
		if err := wantEcho(e.peerOf(t, l), []byte("its own")); err != nil {
			t.Error(err)
		}
		cancel()
		if err := await(t, ended, "the end of Serve"); err != nil {
			t.Error(err)
		}
	}},
	{Name: "TwoServes", Core: true, Run: func(t *testing.T, e *Env) {
		first, stopFirst := e.serveWith(t, blockingEcho())
		second, _ := e.serveWith(t, dataEcho())
		one, two := e.peerOf(t, first), e.peerOf(t, second)
		for _, c := range []net.Conn{one, two} {
			if err := wantEcho(c, []byte("hello")); err != nil {
				t.Error(err)
			}
		}
		if err := stopFirst(); err != nil {
			t.Error(err)
		}
		wantAll(t, one, "")
		for _, c := range []net.Conn{two, e.peerOf(t, second)} {
			if err := wantEcho(c, []byte("goes on")); err != nil {
				t.Error(err)
			}
		}
	}},
	{Name: "BackendCloseEndsHandlers", Core: true, Run: backendCloseEndsHandlers},
}

// serveReturns: what Serve returns when it ends without a failure.
func serveReturns(t *testing.T, e *Env) {
	for _, how := range []string{"context", "context was over", "listener", "listener was closed", "backend", "backend was closed"} {
		t.Run(how, func(t *testing.T) {
			b := e.own(t)
			own := &Env{Row: e.Row, Network: e.Network, Backend: b}
			closeBackend := func() {
				if err := b.Close(); err != nil {
					t.Errorf("Backend.Close: %v", err)
				}
			}
			l := own.Listen(t, defaultConfig)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var want error
			switch how {
			case "context was over":
				cancel()
			case "listener was closed":
				_ = l.Close()
			case "backend was closed":
				closeBackend()
			}
			ended := async(func() error { return b.Serve(ctx, l, dataEcho()) })
			if how == "context" || how == "listener" || how == "backend" {
				if err := wantEcho(own.peerOf(t, l), []byte("served")); err != nil {
					t.Error(err)
				}
			}
			switch how {
			case "context":
				cancel()
			case "listener":
				_ = l.Close()
			case "backend":
				closeBackend()
				want = net.ErrClosed
			case "backend was closed":
				want = net.ErrClosed
			}
			if err := await(t, ended, "the end of Serve"); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("Serve: %v, want %v", err, want)
			}
			if want == nil {
				closeBackend()
			}
		})
	}
}

// backendCloseEndsHandlers closes a Backend under handlers that read, write and
// offload: they end, and nothing is left.
func backendCloseEndsHandlers(t *testing.T, e *Env) {
	leak.Check(t)
	b := e.own(t)
	own := &Env{Row: e.Row, Network: e.Network, Backend: b}
	l := own.Listen(t, defaultConfig)
	dataListener := own.Listen(t, defaultConfig)
	const each = 5
	began := make(chan struct{}, 3*each)
	ends := make(chan error, 3*each)
	serving := async(func() error {
		return b.Serve(context.Background(), l, fd.Handler{Blocking: func(f *fd.FD) {
			buf := make([]byte, 1)
			if _, err := f.Read(buf); err != nil {
				ends <- err
				return
			}
			began <- struct{}{}
			if buf[0] == 'r' {
				_, err := f.Read(buf)
				ends <- err
				return
			}
			_, err := f.Write(make([]byte, 64<<20))
			ends <- err
		}})
	})
	servingData := async(func() error {
		return b.Serve(context.Background(), dataListener, fd.Handler{
			Data: func(*fd.FD, []byte) { began <- struct{}{} },
			End:  func(_ *fd.FD, err error) { ends <- err },
		})
	})
	for range each {
		for _, kind := range []string{"r", "w"} {
			write(t, own.peerOf(t, l), kind)
			await(t, began, "a handler")
		}
		write(t, own.peerOf(t, dataListener), "x")
		await(t, began, "a handler")
	}
	if err := await(t, async(b.Close), "the end of Backend.Close"); err != nil {
		t.Errorf("Backend.Close: %v", err)
	}
	if n := len(ends); n != 3*each {
		t.Errorf("%d of %d handlers had ended when Backend.Close returned", n, 3*each)
	}
	for range len(ends) {
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a handler ended with %v, want net.ErrClosed", err)
		}
	}
	for _, s := range []<-chan error{serving, servingData} {
		if err := await(t, s, "the end of Serve"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v, want net.ErrClosed", err)
		}
	}
	if s := b.Stats(); s.Sockets != 0 || s.Listeners != 0 || s.InFlight != 0 {
		t.Errorf("after Close: %+v", s)
	}
}
