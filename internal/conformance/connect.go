package conformance

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// connectCases are about Connect and Dial.
var connectCases = []Case{
	{Name: "ConnectRefused", Core: true, Run: func(t *testing.T, e *Env) {
		addr := e.deadAddr(t)
		f := e.Backend.Socket()
		err := f.Connect(t.Context(), addr)
		if e.tcp() {
			wantConnectErr(t, f, err, fd.Unexpected, fd.ConnectRefused, syscall.ECONNREFUSED)
		} else {
			wantConnectErr(t, f, err, fd.Unexpected, fd.ConnectOther, syscall.ENOENT)
		}
		// And again, by name.
		if _, err := e.Backend.Dial(t.Context(), e.Network, addr.String()); err == nil {
			t.Error("Dial succeeded")
		}
	}},
	{Name: "UnixNobodyListens", Unix: true, Run: func(t *testing.T, e *Env) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: e.Address(t), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false) // the path stays
		_ = l.Close()
		f := e.Backend.Socket()
		err = f.Connect(t.Context(), l.Addr())
		wantConnectErr(t, f, err, fd.Unexpected, fd.ConnectRefused, syscall.ECONNREFUSED)
	}},
	{Name: "UnixPathTooLong", Unix: true, Run: func(t *testing.T, e *Env) {
		long := filepath.Join(os.TempDir(), string(make([]byte, 200)))
		f := e.Backend.Socket()
		err := f.Connect(t.Context(), &net.UnixAddr{Name: long, Net: "unix"})
		wantConnectErr(t, f, err, fd.Unexpected, fd.ConnectOther, syscall.EINVAL)
	}},
	{Name: "UnixBacklogFull", Unix: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, accept.Config{Backlog: 1})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for range 16 {
			f := e.Backend.Socket()
			t.Cleanup(func() { _ = f.Close() })
			if err := f.Connect(ctx, l.Addr()); err != nil { // at once, as with net: nobody waits for room
				wantConnectErr(t, f, err, fd.Unexpected, fd.ConnectOther, syscall.EAGAIN)
				return
			}
		}
		t.Fatal("a backlog of 1 takes 16 connections")
	}},
	{Name: "ConnectTimeout", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		addr := fullListener(t, e)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		f := e.Backend.Socket()
		err := f.Connect(ctx, addr)
		wantConnectErr(t, f, err, fd.ClosedLocally, fd.ConnectTimedOut, context.DeadlineExceeded)
		if !err.(net.Error).Timeout() {
			t.Errorf("Timeout() of %v is false", err)
		}
	}},
	{Name: "ConnectCanceled", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		addr := fullListener(t, e)
		ctx, cancel := context.WithCancel(t.Context())
		f := e.Backend.Socket()
		pending := async(func() error { return f.Connect(ctx, addr) })
		parked(t, "fd.(*FD).Connect", 1)
		cancel()
		err := await(t, pending, "the end of Connect")
		wantConnectErr(t, f, err, fd.ClosedLocally, fd.ConnectCanceled, context.Canceled)
	}},
	{Name: "ConnectContextOver", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f := e.Backend.Socket()
		err := f.Connect(ctx, l.Addr())
		wantConnectErr(t, f, err, fd.ClosedLocally, fd.ConnectCanceled, context.Canceled)
	}},
	{Name: "ConnectOutlivesContext", Core: true, Run: func(t *testing.T, e *Env) {
		// A context that ends after Connect has nothing more to say.
		l := e.Listen(t, defaultConfig)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		f := e.Backend.Socket()
		t.Cleanup(func() { _ = f.Close() })
		if err := f.Connect(ctx, l.Addr()); err != nil {
			t.Fatal(err)
		}
		peer := e.Accept(t, l)
		cancel()
		write(t, f, "alive")
		read(t, peer, "alive")
	}},
	{Name: "CloseDuringConnect", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		addr := fullListener(t, e)
		f := e.Backend.Socket()
		pending := async(func() error { return f.Connect(context.Background(), addr) })
		parked(t, "fd.(*FD).Connect", 1)
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		err := await(t, pending, "the end of Connect")
		wantErr(t, "Connect", err, "connect", fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "BackendCloseDuringConnect", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		addr := fullListener(t, e)
		b := e.own(t)
		f := b.Socket()
		pending := async(func() error { return f.Connect(context.Background(), addr) })
		parked(t, "fd.(*FD).Connect", 1)
		if err := b.Close(); err != nil {
			t.Errorf("Backend.Close: %v", err)
		}
		if err := await(t, pending, "the end of Connect"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Connect: %v, want net.ErrClosed", err)
		}
	}},
	{Name: "ConnectRacesCancel", Core: true, Run: func(t *testing.T, e *Env) {
		// Either it is connected and stays so, or it is closed; nothing leaks.
		l := e.Listen(t, accept.Config{})
		accepted := make(chan *fd.FD)
		stop, cancelAccept := context.WithCancel(context.Background())
		done := async(func() error {
			return accept.Loop{}.Run(stop, l, func(f *fd.FD, _ net.Addr) { accepted <- f })
		})
		closers := async(func() bool {
			for f := range accepted {
				_ = f.Close()
			}
			return true
		})
		for i := range e.times(200) {
			ctx, cancel := context.WithCancel(context.Background())
			f := e.Backend.Socket()
			pending := async(func() error { return f.Connect(ctx, l.Addr()) })
			for range i % 20 {
				time.Sleep(time.Microsecond)
			}
			cancel()
			if err := await(t, pending, "the end of Connect"); err != nil {
				wantErr(t, "Connect", err, "connect", fd.ClosedLocally, context.Canceled)
			} else if _, err := f.SyscallConn(); err != nil {
				t.Errorf("Connect succeeded, and then: %v", err)
			}
			_ = f.Close()
		}
		cancelAccept()
		if err := await(t, done, "the end of the accept loop"); err != nil {
			t.Error(err)
		}
		close(accepted)
		await(t, closers, "the end of the closers")
	}},
	{Name: "ConnectTwice", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		f := e.Dial(t, l.Addr())
		peer := e.Accept(t, l)
		wantErr(t, "Connect", f.Connect(t.Context(), l.Addr()), "connect", fd.None, syscall.EISCONN)
		write(t, f, "alive")
		read(t, peer, "alive")
		wantErr(t, "Connect", peer.Connect(t.Context(), l.Addr()), "connect", fd.None, syscall.EISCONN)
	}},
	{Name: "ConnectAfterFailure", Run: func(t *testing.T, e *Env) {
		f := e.Backend.Socket()
		first := f.Connect(t.Context(), e.deadAddr(t))
		l := e.Listen(t, defaultConfig)
		second := f.Connect(t.Context(), l.Addr())
		if first == nil || second == nil || first.Error() != second.Error() {
			t.Errorf("Connect: %v, then %v; want the same failure", first, second)
		}
	}},
	{Name: "Dial", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		f, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		peer := e.Accept(t, l)
		if e.tcp() && f.LocalAddr().String() != peer.RemoteAddr().String() {
			t.Errorf("LocalAddr is %v, the peer sees %v", f.LocalAddr(), peer.RemoteAddr())
		}
		write(t, f, "hello")
		read(t, peer, "hello")
	}},
	{Name: "DialByName", TCP: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		// "tcp" tries the addresses of both families until one answers.
		host := map[string]string{"tcp4": "localhost", "tcp6": "::1"}[e.Network]
		f, err := e.Backend.Dial(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_ = e.Accept(t, l)
	}},
	{Name: "DialErrors", Run: func(t *testing.T, e *Env) {
		for _, bad := range []struct{ network, address string }{
			{"udp", "127.0.0.1:1"}, {"tcp", "127.0.0.1"}, {"tcp", "127.0.0.1:99999"},
			{"tcp4", "[::1]:1"}, {"tcp6", "127.0.0.1:1"}, {"", ""},
		} {
			f, err := e.Backend.Dial(t.Context(), bad.network, bad.address)
			if err == nil {
				_ = f.Close()
				t.Errorf("Dial(%q, %q) succeeded", bad.network, bad.address)
			}
		}
	}},
}

// wantConnectErr checks a failed Connect: its kind, and that the FD is closed.
func wantConnectErr(t testing.TB, f *fd.FD, err error, reason fd.Reason, kind fd.ConnectFailure, is error) {
	t.Helper()
	wantErr(t, "Connect", err, "connect", reason, is)
	if e, _ := errors.AsType[*fd.Error](err); e.Connect != kind {
		t.Errorf("Connect: %v is called %q, want %q", err, e.Connect, kind)
	}
	wantReason(t, f, reason)
	if f.LocalAddr() != nil || f.RemoteAddr() != nil {
		t.Errorf("a failed Connect left the addresses %v and %v", f.LocalAddr(), f.RemoteAddr())
	}
	readErr(t, f, reason, is)
	if _, err := f.SyscallConn(); err == nil {
		t.Error("a failed Connect left the socket open")
	}
}

// deadAddr returns an address where nobody listens. A bound port that does not
// listen refuses, and nobody else can take it.
func (e *Env) deadAddr(t testing.TB) net.Addr {
	t.Helper()
	if !e.tcp() {
		return &net.UnixAddr{Name: e.Address(t), Net: "unix"}
	}
	l, err := net.Listen(e.Network, e.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	// The far end of a connection whose listener is gone keeps its port.
	c, err := net.Dial(e.Network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr()
}

// DeadAddr returns an address where nobody listens, until the end of the test.
func DeadAddr(t testing.TB, network string) net.Addr {
	return (&Env{Network: network}).deadAddr(t)
}

// FullAddr returns the address of a listener of b whose queue is full, so that a
// connect to it hangs. It is for TCP on Linux.
func FullAddr(t testing.TB, network string, b *ringfd.Backend) net.Addr {
	return fullListener(t, &Env{Network: network, Backend: b})
}

// fullListener returns the address of a listener whose queue is full: Linux
// drops further SYNs, and a connect to it hangs.
func fullListener(t testing.TB, e *Env) net.Addr {
	t.Helper()
	l := e.Listen(t, accept.Config{Backlog: 1})
	for range 16 {
		c, err := net.DialTimeout(e.Network, l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				return l.Addr()
			}
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("a backlog of 1 takes 16 connections")
	return nil
}
