package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// handlerCases are about handlers that misbehave.
var handlerCases = []Case{
	{Name: "HandlerPanics", Core: true, Run: func(t *testing.T, e *Env) {
		boom := errors.New("boom")
		for _, place := range []string{"Blocking", "Data", "Open", "End"} {
			t.Run(place+" panics", func(t *testing.T) {
				handlerEnds(t, e, place, boom, func() { panic(boom) })
			})
			t.Run(place+" ends its goroutine", func(t *testing.T) {
				handlerEnds(t, e, place, nil, runtime.Goexit)
			})
		}
	}},
	{Name: "HandlerPanicsAgainAndAgain", Run: func(t *testing.T, e *Env) {
		for _, h := range []style{
			{"Blocking", fd.Handler{Blocking: func(f *fd.FD) { runtime.Goexit() }}},
			{"Data", fd.Handler{Data: func(*fd.FD, []byte) {}, Open: func(*fd.FD) { runtime.Goexit() }}},
		} {
			t.Run(h.name, func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				for range 100 {
					wantAll(t, e.peerOf(t, l), "")
				}
			})
		}
	}},
	{Name: "HandlerIsChecked", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		for _, bad := range []fd.Handler{
			{},
			{Blocking: func(*fd.FD) {}, Data: func(*fd.FD, []byte) {}},
			{Blocking: func(*fd.FD) {}, Open: func(*fd.FD) {}},
		} {
			if err := e.Backend.Serve(t.Context(), l, bad); err == nil || err.Error() != bad.Check().Error() {
				t.Errorf("Serve: %v, want %v", err, bad.Check())
			}
			if _, err := e.Backend.DialServe(t.Context(), e.Network, l.Addr().String(), bad); err == nil {
				t.Error("DialServe takes a bad handler")
			}
		}
	}},
}

// handlerEnds has a handler panic, or end its goroutine, in one place: that ends
// its connection and no other, and a data handler is told.
func handlerEnds(t *testing.T, e *Env, place string, value any, misbehave func()) {
	bad := make(chan *fd.FD, 1)
	ends := make(chan error, 1)
	mayEnd := func(at string, f *fd.FD, first byte) {
		if at == place && first == 'p' {
			bad <- f
			misbehave()
		}
	}
	var calls atomic.Int64 // of Open or End, of the bad one
	var opened atomic.Int64
	h := fd.Handler{
		Open: func(f *fd.FD) {
			if opened.Add(1) == 2 { // the bad one
				mayEnd("Open", f, 'p')
			}
		},
		Data: func(f *fd.FD, data []byte) {
			mayEnd("Data", f, data[0])
			_, _ = f.Write(data)
		},
		End: func(f *fd.FD, err error) {
			if f.Stats().Read == 1 || place == "Open" && f.Stats().Read == 0 {
				calls.Add(1)
				ends <- err
				mayEnd("End", f, 'p')
			}
		},
	}
	if place == "Blocking" {
		h = fd.Handler{Blocking: func(f *fd.FD) {
			buf := make([]byte, 100)
			for {
				n, err := f.Read(buf)
				if err != nil {
					return
				}
				mayEnd("Blocking", f, buf[0])
				_, _ = f.Write(buf[:n])
			}
		}}
	}
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	l, _ := e.serveWith(t, h)
	other := e.peerOf(t, l)
	if err := wantEcho(other, []byte("before")); err != nil {
		t.Fatal(err)
	}
	c := e.peerOf(t, l)
	switch place {
	case "Open":
	case "End":
		if err := wantEcho(c, []byte("e")); err != nil {
			t.Fatal(err)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	default:
		write(t, c, "p")
	}
	wantAll(t, c, "")
	f := await(t, bad, "the handler")
	if place == "End" {
		// The end of file came first.
		wantErr(t, "End", await(t, ends, "End"), "read", fd.ClosedByPeer, io.EOF)
		wantReason(t, f, fd.ClosedByPeer)
	} else {
		wantPanicked(t, f, value)
	}
	if place == "Data" || place == "Open" {
		err := await(t, ends, "End")
		wantErr(t, "End", err, "read", fd.Unexpected)
		if p, ok := errors.AsType[*fd.PanicError](err); !ok || p.Value != value {
			t.Errorf("End was told %v", err)
		}
	}
	if err := wantEcho(other, []byte("after")); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	if place != "Blocking" && calls.Load() != 1 {
		t.Errorf("End was called %d times", calls.Load())
	}
	if err := wantEcho(e.peerOf(t, l), []byte("new")); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}

// dataHandlerCases are about what data handlers are promised.
var dataHandlerCases = []Case{
	{Name: "OpenAndEndOnce", Core: true, Run: openAndEndOnce},
	{Name: "DataHandlersDoNotRead", Core: true, Run: func(t *testing.T, e *Env) {
		reports := make(chan error, 1)
		opened := make(chan *fd.FD, 1)
		l, _ := e.serveWith(t, fd.Handler{
			Open: func(f *fd.FD) { opened <- f },
			Data: func(f *fd.FD, data []byte) {
				n, err := f.Read(make([]byte, 10))
				if n != 0 || !errors.Is(err, fd.ErrDataHandler) {
					reports <- fmt.Errorf("Read = %d, %v", n, err)
					return
				}
				_, err = f.Write(data)
				reports <- err
			},
		})
		c := e.peerOf(t, l)
		f := await(t, opened, "Open")
		wantErr(t, "Read", func() error { _, err := f.Read(make([]byte, 1)); return err }(), "read", fd.None, fd.ErrDataHandler)
		wantErr(t, "WaitRead", f.WaitRead(), "read", fd.None, fd.ErrDataHandler)
		for range 2 {
			if err := wantEcho(c, []byte("alive")); err != nil {
				t.Fatal(err)
			}
			wantReport(t, reports)
		}
		wantReason(t, f, fd.None)
	}},
	{Name: "DataInOrder", Core: true, Run: func(t *testing.T, e *Env) {
		const size = 6 << 20
		var got []byte
		ended := make(chan error, 1)
		l, _ := e.serveWith(t, fd.Handler{
			Data: func(_ *fd.FD, data []byte) { got = append(got, data...) },
			End:  func(_ *fd.FD, err error) { ended <- err },
		})
		c := e.peerOf(t, l)
		write(t, c, string(pattern(size)))
		_ = c.Close()
		wantErr(t, "End", await(t, ended, "End"), "read", fd.ClosedByPeer, io.EOF)
		checkPattern(t, got, size)
	}},
	{Name: "BackPressure", Run: backPressure},
	{Name: "WriteLimit", Core: true, Run: writeLimit},
	{Name: "KeptBehindABacklog", Core: true, Run: keptBehindABacklog},
}

// openAndEndOnce ends connections in every way: Open comes first, once, End last,
// once, with the error that Read would return.
func openAndEndOnce(t *testing.T, e *Env) {
	type told struct {
		f   *fd.FD
		err error
	}
	for _, way := range []string{"end of file", "reset", "Close in Data", "Close elsewhere", "CloseRead", "Close in Open"} {
		t.Run(way, func(t *testing.T) {
			if way == "reset" && (!e.tcp() || runtime.GOOS != "linux") {
				t.Skip("a TCP network on Linux would make this run")
			}
			var calls atomic.Value // one letter per call
			calls.Store("")
			called := func(letter string) { calls.Store(calls.Load().(string) + letter) } // they come one by one
			opened, ended := make(chan *fd.FD, 10), make(chan told, 10)
			l, stop := e.serveWith(t, fd.Handler{
				Open: func(f *fd.FD) {
					called("O")
					opened <- f
					if way == "Close in Open" {
						_ = f.Close()
					}
				},
				Data: func(f *fd.FD, data []byte) {
					called("D")
					_, _ = f.Write(data)
					if way == "Close in Data" {
						_ = f.Close()
					}
				},
				End: func(f *fd.FD, err error) {
					called("E")
					_, _ = f.Write([]byte("bye"))
					ended <- told{f, err}
				},
			})
			c := e.peerOf(t, l)
			f := await(t, opened, "Open")
			want, bye := "ODE", ""
			if way == "Close in Open" {
				want = "OE"
			} else {
				write(t, c, "x")
				read(t, c, "x")
			}
			switch way {
			case "end of file":
				if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				bye = "bye"
			case "reset":
				reset(t, c)
			case "Close elsewhere":
				_ = f.Close()
			case "CloseRead":
				if err := f.CloseRead(); err != nil {
					t.Fatal(err)
				}
				bye = "bye"
			}
			if way != "reset" {
				wantAll(t, c, bye)
			}
			end := await(t, ended, "End")
			switch way {
			case "end of file":
				wantErr(t, "End", end.err, "read", fd.ClosedByPeer, io.EOF)
			case "reset":
				wantErr(t, "End", end.err, "read", fd.Lost)
				wantPeerClosed(t, end.err)
			case "CloseRead":
				wantErr(t, "End", end.err, "read", fd.ClosedLocally, io.EOF)
			default:
				wantErr(t, "End", end.err, "read", fd.ClosedLocally, net.ErrClosed)
			}
			if end.f != f {
				t.Error("End was told of another FD than Open")
			}
			if err := stop(); err != nil { // no call is to come after
				t.Error(err)
			}
			if got := calls.Load(); got != want {
				t.Errorf("the calls were %s, want %s", got, want)
			}
			if _, err := f.Write([]byte("x")); err == nil {
				t.Error("the connection is open after End")
			}
		})
	}
}

// backPressure has a peer that sends and does not read: what it may send is
// bounded, and when it reads it gets all.
func backPressure(t *testing.T, e *Env) {
	for _, h := range echoes() {
		t.Run(h.name, func(t *testing.T) {
			l, _ := e.serveWith(t, h.handler)
			c := e.peerOf(t, l)
			const limit = 64 << 20 // far more than the buffers of two sockets
			block := pattern(64 << 10)
			sent := 0
			for sent < limit {
				_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				n, err := c.Write(block)
				sent += n
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if sent >= limit {
				t.Fatalf("the server took %d bytes that nobody reads", sent)
			}
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			want := strings.Repeat(string(block), sent/len(block)+1)[:sent]
			if err != nil || string(got) != want {
				t.Errorf("%d bytes came back, %v; want the %d that were sent", len(got), err, sent)
			}
		})
	}
}

// writeLimit writes in a data handler until it is refused: having taken nothing,
// Retryable, and the connection goes on.
func writeLimit(t *testing.T, e *Env) {
	if e.Backend.Kind() == ringfd.Net {
		t.Skip("on net a data handler's Write waits; io_uring would make this run")
	}
	const limit, most = 128 << 10, 64 << 20
	e = e.With(t, func(o *ringfd.Options) { o.Loops.WriteLimit = limit })
	for _, size := range []int{1000, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			refused := make(chan error, 1)
			taken := make(chan int, 1)
			message := pattern(size)
			l, _ := e.serveWith(t, fd.Handler{Data: func(f *fd.FD, data []byte) {
				if string(data) == "again" {
					_, _ = f.Write(data)
					_ = f.Close()
					return
				}
				for total := 0; total < most; total += size {
					if n, err := f.Write(message); err != nil {
						if n != 0 {
							err = fmt.Errorf("took %d: %w", n, err)
						}
						taken <- total
						refused <- err
						return
					}
				}
				taken <- most
				refused <- errors.New("it was not refused")
			}})
			c := e.peerOf(t, l)
			write(t, c, "x")
			total := await(t, taken, "the refusal")
			err := await(t, refused, "the refusal")
			if e, ok := errors.AsType[*fd.Error](err); !ok || err != error(e) || !e.Retryable() || e.Reason != fd.None {
				t.Fatalf("Write: %v, want a Retryable error", err)
			}
			got := make([]byte, total)
			if _, err := io.ReadFull(c, got); err != nil {
				t.Fatal(err)
			}
			for len(got) > 0 {
				if string(got[:size]) != string(message) {
					t.Fatal("other bytes arrived")
				}
				got = got[size:]
			}
			write(t, c, "again")
			wantAll(t, c, "again")
		})
	}
}

// keptBehindABacklog: what came in the same turn in which a data handler wrote too
// much is kept from it until enough of that was sent, and so are the end behind it
// and the order.
func keptBehindABacklog(t *testing.T, e *Env) {
	if e.Backend.Kind() == ringfd.Net {
		t.Skip("on net a data handler's Write waits; io_uring would make this run")
	}
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	large, message := pattern(beyondBuffers), pattern(100<<10) // more than a buffer of the kernel's
	held, sent := make(chan struct{}), make(chan struct{})
	refused := make(chan error, 1)
	taken := make(chan int, 1)
	holder, _ := e.serveWith(t, fd.Handler{Data: func(*fd.FD, []byte) {
		close(held)
		<-sent // the loop comes late to what the other one sends
	}})
	first := true
	l, _ := e.serveWith(t, fd.Handler{Data: func(f *fd.FD, data []byte) {
		if first {
			first = false
			taken <- len(data)
			data = large
		}
		if _, err := f.Write(data); err != nil && len(refused) == 0 {
			refused <- err
		}
	}})
	c := e.peerOf(t, l)
	write(t, e.peerOf(t, holder), "x")
	await(t, held, "the loop is held")
	write(t, c, string(message))
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	close(sent)
	n := await(t, taken, "the first data")
	if err := wantStream(c, large); err != nil {
		t.Fatal(err)
	}
	if err := wantStream(c, message[n:]); err != nil {
		t.Error(err)
	}
	wantAll(t, c, "")
	select {
	case err := <-refused:
		t.Errorf("Write: %v", err)
	default:
	}
}
