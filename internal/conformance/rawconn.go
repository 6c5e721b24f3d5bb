package conformance

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// rawCases are about the descriptor in the hands of the application.
var rawCases = []Case{
	{Name: "ControlUnderClose", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, _ net.Conn) {
			controlUnderClose(t, ours, goRead(ours, make([]byte, 1)), ours.Close, func() {
				if ours.LocalAddr() == nil || ours.RemoteAddr() == nil {
					t.Error("an address is missing")
				}
				_, _ = ours.Reason()
			})
		})
	}},
	{Name: "ControlUnderListenerClose", Core: true, Accepted: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, accept.Config{})
		accepting := async(func() transfer {
			_, _, err := l.Accept(t.Context())
			return transfer{err: err}
		})
		controlUnderClose(t, l, accepting, l.Close, func() { _ = l.Addr() })
	}},
	{Name: "ControlIsNoLock", Core: true, Run: func(t *testing.T, e *Env) {
		// While a function has the descriptor, the others of the loop are served, also
		// when its connection is closed meanwhile.
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count = 1 })
		l := e.Listen(t, accept.Config{})
		held, heldPeer := e.Dial(t, l.Addr()), e.Accept(t, l)
		other, otherPeer := e.Dial(t, l.Addr()), e.Accept(t, l)
		reading := goRead(held, make([]byte, 1))
		goOn := make(chan struct{})
		control := goControl(t, held, func() { <-goOn })
		closing := async(held.Close)
		await(t, reading, "the end of Read")
		for range 10 {
			write(t, other, "ping")
			read(t, otherPeer, "ping")
			write(t, otherPeer, "pong")
			read(t, other, "pong")
		}
		close(goOn)
		if err := await(t, control, "the end of Control"); err != nil {
			t.Errorf("Control: %v", err)
		}
		if err := await(t, closing, "the end of Close"); err != nil {
			t.Errorf("Close: %v", err)
		}
		readErr(t, heldPeer, fd.ClosedByPeer, io.EOF) // the last user has closed it
	}},
	{Name: "ControlCloses", Core: true, Run: func(t *testing.T, e *Env) {
		if e.Backend.Kind() == ringfd.Net {
			return // Close waits for the function that calls it, as net's does
		}
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			err := await(t, goControl(t, ours, func() {
				if err := ours.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}), "the end of Control")
			if err != nil {
				t.Errorf("Control: %v", err)
			}
			if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the peer reads %v, want io.EOF", err)
			}
		})
	}},
	{Name: "ControlEndsItsGoroutine", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, _ net.Conn) {
			ended := async(func() (caught any) {
				defer func() { caught = recover() }()
				rc, err := ours.SyscallConn()
				if err == nil {
					err = rc.Control(func(uintptr) { panic("of the application") })
				}
				return err
			})
			if caught := await(t, ended, "the end of Control"); caught != "of the application" {
				t.Errorf("caught %v", caught)
			}
			if err := await(t, async(ours.Close), "the end of Close"); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}},
}

// goControl calls Control on a goroutine, and returns when f has been called.
func goControl(t testing.TB, c syscall.Conn, f func()) <-chan error {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	ended := async(func() error {
		return rc.Control(func(uintptr) {
			close(began)
			f()
		})
	})
	await(t, began, "Control")
	return ended
}

// controlUnderClose calls f with the descriptor, when Close has begun.
func controlUnderClose(t *testing.T, c syscall.Conn, waiting <-chan transfer, closeIt func() error, f func()) {
	closed := make(chan struct{})
	control := goControl(t, c, func() {
		<-closed
		f()
	})
	closing := async(closeIt)
	if got := await(t, waiting, "the end of the call that waits"); !errors.Is(got.err, net.ErrClosed) {
		t.Errorf("it ended with %v, want net.ErrClosed", got.err)
	}
	close(closed)
	if err := await(t, control, "the end of Control"); err != nil {
		t.Errorf("Control: %v", err)
	}
	if err := await(t, closing, "the end of Close"); err != nil {
		t.Errorf("Close: %v", err)
	}
	rc, err := c.SyscallConn()
	if err == nil {
		err = rc.Control(func(uintptr) { t.Error("the descriptor is given out after Close") })
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Control after Close: %v, want net.ErrClosed", err)
	}
}
