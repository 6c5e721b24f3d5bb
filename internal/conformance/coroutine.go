package conformance

import (
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// coroutineCases make calls in a coroutine that a handler resumes (iter.Pull): another
// goroutine, on the thread of the handler's loop. A call works there, as with Go's net,
// or fails at once and says what to do instead; the loop never waits for itself.
var coroutineCases = []Case{
	{Name: "CoroutineWrites", Core: true, Run: func(t *testing.T, e *Env) {
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		message := pattern(100 << 10) // more than is copied, less than WriteLimit
		for _, h := range []style{
			{"Data", fd.Handler{Data: func(f *fd.FD, data []byte) {
				inCoroutine(func() { _, _ = f.Write(data); _, _ = f.Writev([][]byte{message}) })
			}}},
			{"Blocking", fd.Handler{Blocking: func(f *fd.FD) {
				buf := make([]byte, 1)
				if _, err := f.Read(buf); err == nil {
					inCoroutine(func() { _, _ = f.Write(buf); _, _ = f.Writev([][]byte{message}) })
				}
				_, _ = f.Read(buf)
			}}},
		} {
			t.Run(h.name, func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				c := e.peerOf(t, l)
				write(t, c, "x")
				if err := wantStream(c, append([]byte("x"), message...)); err != nil {
					t.Error(err)
				}
			})
		}
	}},
	{Name: "CoroutineCloses", Core: true, Run: func(t *testing.T, e *Env) {
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		for _, h := range []style{
			{"Data", fd.Handler{Data: func(f *fd.FD, _ []byte) {
				inCoroutine(func() { _, _ = f.Write([]byte("bye")); _ = f.CloseWrite(); _ = f.Close() })
			}}},
			{"Blocking", fd.Handler{Blocking: func(f *fd.FD) {
				inCoroutine(func() { _, _ = f.Write([]byte("bye")); _ = f.Close() })
			}}},
		} {
			t.Run(h.name, func(t *testing.T) {
				l, _ := e.serveWith(t, h.handler)
				c := e.peerOf(t, l)
				if h.name == "Data" {
					write(t, c, "x")
				}
				wantAll(t, c, "bye")
			})
		}
	}},
	{Name: "CoroutineReads", Core: true, Run: func(t *testing.T, e *Env) {
		reports := make(chan error, 1)
		reading := make(chan struct{}, 1)
		l, _ := e.serveWith(t, blocking(reports, func(f *fd.FD) (err error) {
			reading <- struct{}{}
			inCoroutine(func() { _, err = f.Read(make([]byte, 1)) })
			if e.Backend.Kind() == ringfd.IOUring {
				if !errors.Is(err, fd.ErrNested) {
					return fmt.Errorf("Read in a coroutine: %v, want ErrNested", err)
				}
				_, err = f.Read(make([]byte, 1)) // the connection goes on
			}
			return err
		}))
		c := e.peerOf(t, l)
		await(t, reading, "Read")
		if e.Backend.Kind() == ringfd.IOUring {
			// Read fails at once. What has come by then would be read.
			for e.Backend.Stats().Loops[0].Turns == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond)
		}
		write(t, c, "x")
		wantReport(t, reports)
	}},
	{Name: "CoroutineWaits", Core: true, Run: coroutineWaits},
	{Name: "CoroutineClosesBackend", Core: true, Run: func(t *testing.T, e *Env) {
		for _, place := range []string{"Blocking", "Data"} {
			t.Run(place, func(t *testing.T) {
				b := e.own(t)
				own := &Env{Row: e.Row, Network: e.Network, Backend: b}
				closed := make(chan error, 1)
				closeIt := func() { inCoroutine(func() { closed <- b.Close() }) }
				h := fd.Handler{Data: func(*fd.FD, []byte) { closeIt() }}
				if place == "Blocking" {
					h = fd.Handler{Blocking: func(f *fd.FD) { closeIt() }}
				}
				if e.Backend.Kind() == ringfd.Net {
					t.Skip("on net a handler is known by its stack, which a coroutine does not have; a mark that goroutines inherit would make this run")
				}
				l := own.Listen(t, defaultConfig)
				serving := async(func() error { return b.Serve(t.Context(), l, h) })
				write(t, own.peerOf(t, l), "x")
				if err := await(t, closed, "the end of Close in the coroutine"); err != nil {
					t.Errorf("Close: %v", err)
				}
				await(t, serving, "the end of Serve")
				_ = b.Close()
			})
		}
	}},
}

// coroutineWaits makes calls of another FD of the Backend, whose peer says nothing, in a
// coroutine: they fail at once on a loop.
func coroutineWaits(t *testing.T, e *Env) {
	if e.Backend.Kind() == ringfd.Net {
		t.Skip("on net each call may wait; io_uring would make this run")
	}
	e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
	silent, _ := e.peers(t)
	for _, place := range []string{"Blocking", "Data"} {
		t.Run(place, func(t *testing.T) {
			reports := make(chan error, 8)
			calls := func() {
				_, err := silent.Read(make([]byte, 1))
				reports <- err
				reports <- silent.WaitRead()
				_, err = e.Backend.Dial(t.Context(), e.Network, silent.RemoteAddr().String())
				reports <- err
				close(reports)
			}
			h := fd.Handler{Data: func(*fd.FD, []byte) { inCoroutine(calls) }}
			if place == "Blocking" {
				h = fd.Handler{Blocking: func(f *fd.FD) { inCoroutine(calls) }}
			}
			l, _ := e.serveWith(t, h)
			write(t, e.peerOf(t, l), "x")
			for range 3 {
				if err := await(t, reports, "the end of a call"); !errors.Is(err, fd.ErrNested) {
					t.Errorf("%v, want ErrNested", err)
				}
			}
			wantReason(t, silent, fd.None)
		})
	}
}

// inCoroutine runs f in a coroutine of the caller.
func inCoroutine(f func()) {
	next, stop := iter.Pull(func(yield func(struct{}) bool) { f(); yield(struct{}{}) })
	next()
	stop()
}

// peers returns a connection of a goroutine, of this Backend, and its peer, of package net.
func (e *Env) peers(t testing.TB) (*fd.FD, interface{ Close() error }) {
	t.Helper()
	l := listenPlain(t, e)
	accepted := async(func() interface{ Close() error } { c, _ := l.Accept(); return c })
	f, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	c := await(t, accepted, "a connection")
	t.Cleanup(func() { _ = c.Close() })
	return f, c
}
