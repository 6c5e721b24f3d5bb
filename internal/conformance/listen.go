package conformance

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// listenCases are about opening and closing listeners.
var listenCases = []Case{
	{Name: "ListenBusy", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		address := l.Addr().String()
		_, err := e.Backend.Listen(t.Context(), e.Network, address, defaultConfig)
		busy, ok := errors.AsType[*accept.ListenError](err)
		if !ok {
			t.Fatalf("Listen: %v (%T), want an *accept.ListenError", err, err)
		}
		if !isErr(err, syscall.EADDRINUSE) || busy.Hint == "" || !strings.Contains(err.Error(), busy.Hint) {
			t.Errorf("Listen: %v, hint %q; want EADDRINUSE with a hint", err, busy.Hint)
		}
		want := accept.ListenError{Address: address}
		if e.tcp() {
			host, port, _ := net.SplitHostPort(address)
			want.Address = host
			want.Port, _ = strconv.Atoi(port)
		}
		if busy.Address != want.Address || busy.Port != want.Port {
			t.Errorf("the error is about %q and %d, want %q and %d", busy.Address, busy.Port, want.Address, want.Port)
		}
	}},
	{Name: "ListenBadAddress", Run: func(t *testing.T, e *Env) {
		for _, bad := range []struct{ network, address string }{
			{"udp", "127.0.0.1:0"}, {"tcp", "127.0.0.1"}, {"tcp", "127.0.0.1:99999"},
			{"tcp4", "[::1]:0"}, {"tcp6", "127.0.0.1:0"}, {"tcp", "192.0.2.1:0"}, // not an address of this host
			{"unix", "/no/such/directory/s"},
		} {
			l, err := e.Backend.Listen(t.Context(), bad.network, bad.address, defaultConfig)
			if err == nil {
				_ = l.Close()
				t.Errorf("Listen(%q, %q) succeeded", bad.network, bad.address)
				continue
			}
			if _, ok := errors.AsType[*accept.ListenError](err); !ok {
				t.Errorf("Listen(%q, %q): %v (%T), want an *accept.ListenError", bad.network, bad.address, err, err)
			}
		}
	}},
	{Name: "ListenAddr", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		before := l.Addr()
		switch a := before.(type) {
		case *net.TCPAddr:
			if !e.tcp() || a.Port == 0 {
				t.Errorf("Addr = %v", a)
			}
		case *net.UnixAddr:
			if e.tcp() || a.Name == "" {
				t.Errorf("Addr = %v", a)
			}
		default:
			t.Errorf("Addr is a %T", a)
		}
		_ = l.Close()
		if after := l.Addr(); after == nil || after.String() != before.String() {
			t.Errorf("Addr after Close = %v, was %v", after, before)
		}
	}},
	{Name: "ListenControl", Run: func(t *testing.T, e *Env) {
		var networks []string
		config := accept.Config{Control: func(network, address string, c syscall.RawConn) error {
			networks = append(networks, network)
			return c.Control(func(uintptr) {})
		}}
		l, err := e.Backend.Listen(t.Context(), e.Network, e.Address(t), config)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if len(networks) != 1 || networks[0] != e.Network {
			t.Errorf("Control was called for %q, want %q", networks, e.Network)
		}
		refusal := errors.New("not this one")
		config.Control = func(string, string, syscall.RawConn) error { return refusal }
		if _, err := e.Backend.Listen(t.Context(), e.Network, e.Address(t), config); !errors.Is(err, refusal) {
			t.Errorf("Listen: %v, want what Control said", err)
		}
	}},
	{Name: "ReusePort", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		first := e.Listen(t, accept.Config{ReusePort: true})
		second, err := e.Backend.Listen(t.Context(), e.Network, first.Addr().String(), accept.Config{ReusePort: true})
		if err != nil {
			t.Fatal(err)
		}
		_ = second.Close()
		if third, err := e.Backend.Listen(t.Context(), e.Network, first.Addr().String(), defaultConfig); err == nil {
			_ = third.Close()
			t.Error("a listener without ReusePort shares the port")
		}
	}},
	{Name: "ListenAgain", Core: true, Run: func(t *testing.T, e *Env) {
		// A port whose last listener had connections is free at once.
		l := e.Listen(t, defaultConfig)
		c := e.Dial(t, l.Addr())
		_ = e.Accept(t, l).Close() // the side that closes first goes to TIME_WAIT
		_ = c.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := e.Backend.Listen(t.Context(), e.Network, l.Addr().String(), defaultConfig)
		if err != nil {
			t.Fatal(err)
		}
		_ = again.Close()
	}},
	{Name: "UnixPathIsRemoved", Unix: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		path := l.Addr().String()
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the path is left: %v", err)
		}
	}},
	{Name: "Backlog", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		_ = fullListener(t, e) // which could not be filled with the default of 4096
	}},
	{Name: "DualStack", TCP: true, Run: func(t *testing.T, e *Env) {
		if runtime.GOOS == "openbsd" || runtime.GOOS == "dragonfly" {
			t.Skipf("%s has no dual stack; any other system would make this run", runtime.GOOS)
		}
		others := 0
		for i := 0; i < 2; i++ {
			v6only := i == 1
			l, err := e.Backend.Listen(t.Context(), "tcp", ":0", accept.Config{V6Only: v6only})
			if err != nil {
				t.Fatal(err)
			}
			port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
			host := map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"}[e.Network]
			c, err := net.Dial("tcp", net.JoinHostPort(host, port))
			want := e.Network == "tcp6" || !v6only
			if err == nil && !want && others < 3 { // another process has that port for IPv4
				_, _ = c.Close(), l.Close()
				others++
				i--
				continue
			}
			if (err == nil) != want {
				t.Errorf("V6Only %v: dialling %s: %v", v6only, host, err)
			}
			if err == nil {
				f := e.Accept(t, l)
				if ip := f.RemoteAddr().(*net.TCPAddr).IP; ip.String() != host {
					t.Errorf("the peer is %v, want %s: IPv4 peers have IPv4 addresses", ip, host)
				}
				_, _ = f.Close(), c.Close()
			}
			_ = l.Close()
		}
	}},
}

// acceptCases are about Accept.
var acceptCases = []Case{
	{Name: "AcceptAddresses", Run: func(t *testing.T, e *Env) {
		client, server := e.Pair(t)
		if !e.tcp() {
			if got := server.LocalAddr().String(); got != client.RemoteAddr().String() {
				t.Errorf("the server is %q, the client dialled %q", got, client.RemoteAddr())
			}
			return
		}
		if server.RemoteAddr().String() != client.LocalAddr().String() || server.LocalAddr().String() != client.RemoteAddr().String() {
			t.Errorf("client %v to %v, server %v to %v", client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr())
		}
		addr, ok := server.RemoteAddr().(*net.TCPAddr)
		if !ok {
			t.Fatalf("RemoteAddr is a %T", server.RemoteAddr())
		}
		if size := map[string]int{"tcp4": net.IPv4len, "tcp6": net.IPv6len}[e.Network]; len(addr.IP.To16()) != net.IPv6len ||
			(addr.IP.To4() != nil) != (size == net.IPv4len) {
			t.Errorf("RemoteAddr = %v on %s", addr, e.Network)
		}
		_, _ = client.Close(), server.Close()
		if server.RemoteAddr() == nil || client.LocalAddr() == nil {
			t.Error("the addresses are gone after Close")
		}
	}},
	{Name: "AcceptCanceled", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		ctx, cancel := context.WithCancel(t.Context())
		pending := async(func() error {
			_, _, err := l.Accept(ctx)
			return err
		})
		parked(t, "accept.(*Listener).Accept", 1)
		cancel()
		wantPlain(t, await(t, pending, "the end of Accept"), context.Canceled)
		if _, _, err := l.Accept(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Accept under a context that is over: %v", err)
		}
		c := e.Dial(t, l.Addr())
		f := e.Accept(t, l)
		write(t, c, "x")
		read(t, f, "x")
	}},
	{Name: "AcceptTimeout", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, _, err := l.Accept(ctx)
		wantPlain(t, err, context.DeadlineExceeded)
	}},
	{Name: "AcceptCancelLosesNothing", Core: true, Run: acceptCancelLosesNothing},
	{Name: "AcceptCancelsOnlyItself", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		ctx, cancel := context.WithCancel(t.Context())
		canceled := async(func() error {
			_, _, err := l.Accept(ctx)
			return err
		})
		other := async(func() *fd.FD {
			f, _, err := l.Accept(context.Background())
			if err != nil {
				t.Errorf("the other Accept: %v", err)
			}
			return f
		})
		parked(t, "accept.(*Listener).Accept", 2)
		cancel()
		wantPlain(t, await(t, canceled, "the end of Accept"), context.Canceled)
		_ = e.Dial(t, l.Addr())
		if f := await(t, other, "the other Accept"); f != nil {
			_ = f.Close()
		}
	}},
	{Name: "ListenerDeadline", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		pending := async(func() error {
			_, _, err := l.Accept(context.Background())
			return err
		})
		parked(t, "accept.(*Listener).Accept", 1)
		set(t, l.SetDeadline(past))
		wantPlain(t, await(t, pending, "the end of Accept"), os.ErrDeadlineExceeded)
		_ = e.Dial(t, l.Addr()) // it waits in the queue
		_, _, err := l.Accept(t.Context())
		wantPlain(t, err, os.ErrDeadlineExceeded)
		set(t, l.SetDeadline(forever))
		_ = e.Accept(t, l)
	}},
	{Name: "ListenerCloseUnblocksAccepts", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		const n = 4
		var pending []<-chan error
		for range n {
			pending = append(pending, async(func() error {
				_, _, err := l.Accept(context.Background())
				return err
			}))
		}
		parked(t, "accept.(*Listener).Accept", n)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, p := range pending {
			wantPlain(t, await(t, p, "the end of Accept"), net.ErrClosed)
		}
		_, _, err := l.Accept(t.Context())
		wantPlain(t, err, net.ErrClosed)
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v, want net.ErrClosed", err)
		}
		if err := l.SetDeadline(past); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline: %v, want net.ErrClosed", err)
		}
		f := e.Backend.Socket()
		if err := f.Connect(t.Context(), l.Addr()); err == nil {
			t.Error("a closed listener takes connections")
		}
		_ = f.Close()
	}},
	{Name: "ListenerCloseKeepsConnections", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		client := e.Dial(t, l.Addr())
		server := e.Accept(t, l)
		_ = l.Close()
		write(t, client, "alive")
		read(t, server, "alive")
	}},
	{Name: "ListenerCloseRacesDial", Core: true, Run: func(t *testing.T, e *Env) {
		for range 30 {
			l, err := e.Backend.Listen(t.Context(), e.Network, e.Address(t), defaultConfig)
			if err != nil {
				t.Fatal(err)
			}
			accepting := async(func() error {
				f, _, err := l.Accept(context.Background())
				if err == nil {
					return f.Close()
				}
				return err
			})
			dialling := async(func() error {
				f := e.Backend.Socket()
				_ = f.Connect(context.Background(), l.Addr()) // in time or not
				return f.Close()
			})
			_ = l.Close()
			if err := await(t, accepting, "the end of Accept"); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: %v", err)
			}
			if err := await(t, dialling, "the end of Connect"); err != nil {
				t.Error(err)
			}
		}
	}},
	{Name: "LoopServes", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		served := make(chan *fd.FD, 64)
		done := async(func() error {
			return accept.Loop{}.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) { served <- f })
		})
		for range cap(served) {
			_ = e.Dial(t, l.Addr())
		}
		for range cap(served) {
			_ = await(t, served, "a connection").Close()
		}
		_ = l.Close()
		if err := await(t, done, "the end of the loop"); err != nil {
			t.Errorf("the loop ended with %v", err)
		}
	}},
	{Name: "AcceptNotListening", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// shutdown(2) on the socket behind our back: the listener is of no use
		// any more, and that is no reason to spin.
		l := e.Listen(t, defaultConfig)
		pending := async(func() error {
			return accept.Loop{}.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) { _ = f.Close() })
		})
		parked(t, "accept.(*Listener).Accept", 1)
		shutdown(t, l)
		err := await(t, pending, "the end of the loop")
		if ae, ok := errors.AsType[*accept.Error](err); !ok || ae.Class != accept.Unexpected || !errors.Is(err, syscall.EINVAL) {
			t.Errorf("the loop ended with %v, want an Unexpected EINVAL", err)
		}
	}},
}

// wantPlain checks an Accept that ended by the caller's own doing: that is no
// *accept.Error.
func wantPlain(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("Accept: %v, want %v", err, target)
	}
	if ae, ok := errors.AsType[*accept.Error](err); ok {
		t.Fatalf("Accept: %v has class %v, want a plain error", err, ae.Class)
	}
}

// acceptCancelLosesNothing cancels Accepts while connections arrive: each one
// is returned by exactly one Accept, even if its context has just ended.
func acceptCancelLosesNothing(t *testing.T, e *Env) {
	const connections = 100
	l := e.Listen(t, defaultConfig)
	dialled := async(func() error {
		for range connections {
			c, err := net.Dial(e.Network, l.Addr().String())
			if err != nil {
				return err
			}
			defer c.Close()
			time.Sleep(50 * time.Microsecond) // so that Accepts find nothing at times
		}
		return nil
	})
	canceled := 0
	end := time.Now().Add(patience)
	for got := 0; got < connections; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d connections arrived", got, connections)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(canceled%100)*time.Microsecond)
		f, _, err := l.Accept(ctx)
		cancel()
		switch {
		case err == nil:
			got++
			_ = f.Close()
		case errors.Is(err, context.DeadlineExceeded):
			canceled++
		default:
			t.Fatal(err)
		}
	}
	if err := await(t, dialled, "the end of the dialler"); err != nil {
		t.Error(err)
	}
	if canceled == 0 {
		t.Error("no Accept was cancelled: the case tried nothing")
	}
}
