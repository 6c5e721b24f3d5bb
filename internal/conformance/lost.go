package conformance

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// lostCases are about FDs that are lost without Close: the collector closes them, as net
// has it. Handlers have theirs from the backend, which closes them.
var lostCases = []Case{
	{Name: "LostIsClosed", Accepted: true, Run: func(t *testing.T, e *Env) {
		leaked := make(chan fd.Leaked, 2)
		e = e.With(t, func(o *ringfd.Options) { o.Events = &fd.Events{Leaked: func(l fd.Leaked) { leaked <- l }} })
		l := e.Listen(t, defaultConfig)
		plain, err := net.Listen(e.Network, e.Address(t))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		for name, lose := range map[string]func() (peer net.Conn, id uint64){
			"accepted": func() (net.Conn, uint64) {
				peer, err := net.Dial(e.Network, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				f, _, err := l.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				set(t, f.SetReadDeadline(time.Now().Add(time.Hour))) // whose timer refers to the socket
				return peer, f.ID()
			},
			"dialled, once waited for": func() (net.Conn, uint64) {
				f, err := e.Backend.Dial(t.Context(), e.Network, plain.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				peer, err := plain.Accept()
				if err != nil {
					t.Fatal(err)
				}
				pending := goRead(f, make([]byte, 1)) // so that the kernel knows of it
				parked(t, "fd.(*FD).Read", 1)
				runtime.GC() // a call that waits keeps its FD
				write(t, peer, "x")
				if r := await(t, pending, "the end of Read"); r.err != nil {
					t.Fatal(r.err)
				}
				return peer, f.ID()
			},
		} {
			peer, id := lose()
			ended := goRead(peer, make([]byte, 1))
			var got fd.Leaked
			collect(t, func() bool {
				select {
				case got = <-leaked:
					return true
				default:
					return false
				}
			})
			if got.ID != id || got.Point == "" {
				t.Errorf("%s: told of %+v, want id %d", name, got, id)
			}
			if r := await(t, ended, "the end at the peer"); !errors.Is(r.err, io.EOF) {
				t.Errorf("%s: the peer reads %v, want an end of file", name, r.err)
			}
			_ = peer.Close()
		}
		if s := e.Backend.Stats(); s.Sockets != 0 {
			t.Errorf("%d sockets are left", s.Sockets)
		}
	}},
	{Name: "RawConnKeepsFD", Accepted: true, Run: func(t *testing.T, e *Env) {
		leaked := make(chan fd.Leaked, 2)
		e = e.With(t, func(o *ringfd.Options) { o.Events = &fd.Events{Leaked: func(l fd.Leaked) { leaked <- l }} })
		l := e.Listen(t, defaultConfig)
		peer, err := net.Dial(e.Network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		raw := func() syscall.RawConn {
			f, _, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rc, err := f.Conn().SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			return rc
		}()
		for range 3 {
			runtime.GC()
		}
		if err := raw.Control(func(uintptr) {}); err != nil {
			t.Errorf("Control, with nothing but the RawConn left: %v", err)
		}
		runtime.KeepAlive(raw)
		raw = nil
		collect(t, func() bool { return len(leaked) == 1 })
	}},
	{Name: "ClosedIsNotLost", Accepted: true, Run: func(t *testing.T, e *Env) {
		leaked := make(chan fd.Leaked, 4)
		e = e.With(t, func(o *ringfd.Options) { o.Events = &fd.Events{Leaked: func(l fd.Leaked) { leaked <- l }} })
		func() {
			l := e.Listen(t, defaultConfig)
			c, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Close(), s.Close()
			_ = e.Backend.Socket() // never connected: nothing is lost with it
		}()
		gone := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(chan struct{}) { close(gone) }, gone)
		collect(t, func() bool {
			select {
			case <-gone:
				return true
			default:
				return false
			}
		})
		if len(leaked) != 0 {
			t.Errorf("told of %+v, which was closed", <-leaked)
		}
	}},
}

// collect runs the collector until done says that it has done its work.
func collect(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the collector has not closed what was lost")
		}
		runtime.GC()
	}
}
