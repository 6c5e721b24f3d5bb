package conformance

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// textCases are about what errors say: the operation, the network, the address, the
// cause and the cure, and the same on every backend.
var textCases = []Case{
	{Name: "DialErrorText", Linux: true, Run: func(t *testing.T, e *Env) {
		dead := e.deadAddr(t)
		want := "dial tcp " + dead.String() + ": connection refused"
		if !e.tcp() {
			want = "dial unix " + dead.String() + ": no such file or directory"
		}
		f := e.Backend.Socket()
		err := f.Connect(t.Context(), dead)
		wantText(t, "Connect", err, want)
		wantText(t, "Connect again", f.Connect(t.Context(), dead), want)
		_, err = e.Backend.Dial(t.Context(), e.Network, dead.String())
		wantText(t, "Dial", err, want)
		_, err = e.Backend.DialServe(t.Context(), e.Network, dead.String(), blockingEcho())
		wantText(t, "DialServe", err, want)
		if octez := err.(*fd.Error).CloseReason(); !strings.HasPrefix(octez, "connection closed because of an unexpected error connect: ") {
			t.Errorf("Octez's words are %q", octez)
		}
	}},
	{Name: "DialTimeoutText", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		addr := fullListener(t, e)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := e.Backend.Dial(ctx, e.Network, addr.String())
		wantText(t, "Dial", err, "dial tcp "+addr.String()+": context deadline exceeded")
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = e.Backend.DialContext(ctx, e.Network, addr.String())
		wantText(t, "DialContext", err, "dial "+e.Network+" "+addr.String()+": i/o timeout")
		if !err.(net.Error).Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no timeout that matches ctx's, as net's does", err)
		}
	}},
	{Name: "DialNameText", Run: func(t *testing.T, e *Env) {
		for _, bad := range []struct{ network, address, want string }{
			{"tcp", "127.0.0.1", "dial tcp: address 127.0.0.1: missing port in address"},
			{"tcp", "127.0.0.1:99999", "dial tcp: address 99999: invalid port"},
			{"tcp", "", "dial tcp: missing address"},
			{"unix", "", "dial unix: missing address"},
			{"udp", "127.0.0.1:1", "dial udp: unknown network udp: choose tcp, tcp4, tcp6 or unix"},
		} {
			_, err := e.Backend.Dial(t.Context(), bad.network, bad.address)
			wantText(t, "Dial "+bad.address, err, bad.want)
		}
	}},
	{Name: "UnixListenText", Unix: true, Run: func(t *testing.T, e *Env) {
		path := e.Address(t)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		wantHint(t, e, path, syscall.EADDRINUSE, "no socket")

		path = e.Address(t)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		wantHint(t, e, path, syscall.EADDRINUSE, "listens there")
		l.SetUnlinkOnClose(false)
		_ = l.Close()
		wantHint(t, e, path, syscall.EADDRINUSE, "remove it")
		wantHint(t, e, "/no/such/directory/s", syscall.ENOENT, "no such directory")
	}},
	{Name: "ListenText", TCP: true, Run: func(t *testing.T, e *Env) {
		elsewhere := "192.0.2.1:0"
		if e.Network == "tcp6" {
			elsewhere = "[2001:db8::1]:0"
		}
		wantHint(t, e, elsewhere, syscall.EADDRNOTAVAIL, "no address of this host")
	}},
	{Name: "NotConnectedText", Linux: true, Run: func(t *testing.T, e *Env) {
		f := e.Backend.Socket()
		_, err := f.Write([]byte("x"))
		wantText(t, "Write", err, "write: transport endpoint is not connected")
		_, err = f.Read(make([]byte, 1))
		wantText(t, "Read", err, "read: transport endpoint is not connected")
		ours, _ := e.Pair(t)
		wantText(t, "Connect", ours.Connect(t.Context(), ours.RemoteAddr()), "connect: transport endpoint is already connected")
	}},
}

// limitCases are about errors of our own limits. They are for loops: nothing is kept on net.
var limitCases = []Case{
	{Name: "WriteLimitText", Core: true, Run: func(t *testing.T, e *Env) {
		if e.Row.Options.Backend == "net" {
			return // where a Data handler's Write waits
		}
		over := make(chan error, 1)
		l := e.Listen(t, defaultConfig)
		h := fd.Handler{Data: func(f *fd.FD, _ []byte) {
			for {
				if _, err := f.Write(make([]byte, 1<<20)); err != nil {
					_, viewErr := f.Conn().Write([]byte("x"))
					over <- errors.Join(err, viewErr)
					_ = f.Close()
					return
				}
			}
		}}
		ctx, cancel := context.WithCancel(context.Background())
		serving := async(func() error { return e.Backend.Serve(ctx, l, h) })
		c := e.peerOf(t, l)
		write(t, c, "go")
		err := await(t, over, "a Write over the limit")
		_ = c.Close()
		cancel()
		if err := await(t, serving, "the end of Serve"); err != nil {
			t.Error(err)
		}
		both := err.(interface{ Unwrap() []error }).Unwrap()
		wantText(t, "Write", both[0], "write: "+fd.ErrWriteLimit.Error())
		if err := both[0].(*fd.Error); !err.Retryable() || !errors.Is(err, fd.ErrWriteLimit) || !isErr(err, syscall.ENOBUFS) {
			t.Errorf("%v is no Retryable fd.ErrWriteLimit", err)
		}
		if op, ok := both[1].(*net.OpError); !ok || op.Op != "write" || !errors.Is(op, fd.ErrWriteLimit) || strings.Contains(op.Error(), "write: write") {
			t.Errorf("the net view says %v", both[1])
		}
	}},
}

func wantText(t testing.TB, call string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s: the error reads\n%v, want\n%s", call, err, want)
	}
}

// wantHint listens in vain, and wants an error with this errno and cure.
func wantHint(t testing.TB, e *Env, address string, errno syscall.Errno, cure string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	l, err := e.Backend.Listen(t.Context(), e.Network, address, defaultConfig)
	if err == nil {
		_ = l.Close()
	}
	le, ok := errors.AsType[*accept.ListenError](err)
	if !ok || !errors.Is(err, errno) {
		t.Errorf("Listen on %s: %v, want %v", address, err, errno)
		return
	}
	if !strings.Contains(le.Hint, cure) || !strings.Contains(err.Error(), cure) || !strings.Contains(err.Error(), le.Address) || le.Address == "" {
		t.Errorf("Listen on %s: %v, want the words %q", address, err, cure)
	}
}
