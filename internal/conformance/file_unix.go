//go:build unix

package conformance

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/fd"
	"golang.org/x/sys/unix"
)

// fileCases are about the duplicates that File makes: what is done with them, Fd above
// all, leaves the socket as it was, and neither Close waits for the other.
var fileCases = []Case{
	{Name: "FileHasDeadlines", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		f, err := ours.File()
		if err != nil {
			t.Fatal(err)
		}
		wantNonblocking(t, f)
		set(t, f.SetReadDeadline(past))
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read of the file: %v, want os.ErrDeadlineExceeded", err)
		}
		set(t, f.SetReadDeadline(forever))
		if !e.Row.Served { // where the loop receives what comes
			write(t, peer, "to the file")
			read(t, f, "to the file")
		}
		pending := goRead(f, make([]byte, 1))
		parked(t, "os.(*File).Read", 1)
		if err := f.Close(); err != nil { // which ends its Read, and touches ours not
			t.Error(err)
		}
		if r := await(t, pending, "the end of the file's Read"); !errors.Is(r.err, os.ErrClosed) {
			t.Errorf("Read of the file: %v, want os.ErrClosed", r.err)
		}
		write(t, peer, "alive")
		read(t, plainReader{ours}, "alive")
	}},
	{Name: "FileFdLeavesConnAlone", Core: true, Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		f, err := ours.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_ = f.Fd()
		wantNonblocking(t, f)
		set(t, ours.SetReadDeadline(past))
		readErr(t, ours, fd.None, os.ErrDeadlineExceeded)
		set(t, ours.SetReadDeadline(forever))
		pending := goRead(ours, make([]byte, 1))
		parked(t, "fd.(*FD).Read", 1)
		closing := async(ours.Close)
		if err := await(t, closing, "the end of Close"); err != nil {
			t.Error(err)
		}
		if r := await(t, pending, "the end of Read"); !errors.Is(r.err, net.ErrClosed) {
			t.Errorf("Read: %v", r.err)
		}
	}},
	{Name: "ListenerFileFdLeavesAcceptAlone", Core: true, Accepted: true, Run: func(t *testing.T, e *Env) {
		for name, spoil := range spoilers {
			l := e.Listen(t, defaultConfig)
			f, err := l.File()
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, f)
			ctx, cancel := context.WithCancel(t.Context())
			pending := async(func() error {
				_, _, err := l.Accept(ctx)
				return err
			})
			parked(t, "accept.(*Listener).Accept", 1)
			cancel()
			wantPlain(t, await(t, pending, name+": the end of a cancelled Accept"), context.Canceled)
			pending = async(func() error {
				accepted, _, err := l.Accept(context.Background())
				if err == nil {
					_ = accepted.Close()
				}
				return err
			})
			parked(t, "accept.(*Listener).Accept", 1)
			_ = e.Dial(t, l.Addr())
			if err := await(t, pending, name+": a connection"); err != nil {
				t.Error(err)
			}
			pending = async(func() error {
				_, _, err := l.Accept(context.Background())
				return err
			})
			parked(t, "accept.(*Listener).Accept", 1)
			closing := async(l.Close)
			wantPlain(t, await(t, pending, name+": the end of Accept at Close"), net.ErrClosed)
			if err := await(t, closing, name+": the end of Close"); err != nil {
				t.Error(err)
			}
			_ = f.Close()
		}
	}},
	{Name: "ListenerFileFdLeavesServeAlone", Core: true, Run: func(t *testing.T, e *Env) {
		for name, spoil := range spoilers {
			l := e.Listen(t, defaultConfig)
			f, err := l.File()
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, f)
			ctx, cancel := context.WithCancel(t.Context())
			serving := async(func() error { return e.Backend.Serve(ctx, l, blockingEcho()) })
			c := e.peerOf(t, l)
			if err := wantEcho(c, []byte("served")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_ = c.Close()
			cancel()
			if err := await(t, serving, name+": the end of Serve"); err != nil {
				t.Errorf("%s: Serve: %v", name, err)
			}
			_, _ = f.Close(), l.Close()
		}
	}},
}

// spoilers are what a duplicate's holder does to it.
var spoilers = map[string]func(*testing.T, *os.File){
	"Fd": func(t *testing.T, f *os.File) {
		_ = f.Fd()
		wantNonblocking(t, f)
	},
	"SetNonblock": func(t *testing.T, f *os.File) {
		if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
			t.Fatal(err)
		}
	},
}

func wantNonblocking(t testing.TB, f *os.File) {
	t.Helper()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("the flags of the file are %#x, %v: it blocks", flags, err)
	}
}
