package uring

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// TestListenRefuses: a listener that cannot be made says why, and is not there.
func TestListenRefuses(t *testing.T) {
	e := newEngine(t, Config{})
	taken, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ours := errors.New("ours")
	for name, c := range map[string]struct {
		addr    net.Addr
		network string
		config  accept.Config
		want    func(error) bool
	}{
		"another kind of address": {&net.UDPAddr{}, "udp", accept.Config{}, func(err error) bool {
			a, ok := errors.AsType[*net.AddrError](err)
			return ok && a.Err != ""
		}},
		"an address that is taken": {taken.Addr(), "tcp4", accept.Config{}, func(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }},
		"an address of another host": {&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, "tcp4", accept.Config{},
			func(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }},
		"a hook that refuses": {localhost, "tcp4", accept.Config{Control: func(string, string, syscall.RawConn) error { return ours }},
			func(err error) bool { return err == ours }},
	} {
		t.Run(name, func(t *testing.T) {
			before := e.Stats().Listeners
			l, err := e.Listen(c.addr, c.network, c.config)
			if l != nil || err == nil || !c.want(err) {
				t.Errorf("Listen: %v, %v", l, err)
			}
			if after := e.Stats().Listeners; after != before {
				t.Errorf("%d listeners, and before there were %d", after, before)
			}
		})
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err := e.Listen(localhost, "tcp4", accept.Config{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen on a closed engine: %v, %v", l, err)
	}
}

// TestListenerDescriptor: Control reaches it until Close; to wait for it is Accept's
// alone, as with net.
func TestListenerDescriptor(t *testing.T) {
	e := newEngine(t, Config{})
	l, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	port := 0
	if err := rc.Control(func(sysfd uintptr) { port = localAddrOf(int(sysfd)).(*net.TCPAddr).Port }); err != nil {
		t.Fatal(err)
	}
	if want := l.Addr().(*net.TCPAddr).Port; port != want {
		t.Errorf("the descriptor listens on port %d, want %d", port, want)
	}
	unused := func(uintptr) bool { t.Error("it was called"); return true }
	for _, wait := range []func(func(uintptr) bool) error{rc.Read, rc.Write} {
		if err := wait(unused); !errors.Is(err, syscall.EOPNOTSUPP) {
			t.Errorf("to wait for a listener: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SyscallConn(); err != net.ErrClosed {
		t.Errorf("SyscallConn after Close: %v", err)
	}
	if _, err := l.File(); err != net.ErrClosed {
		t.Errorf("File after Close: %v", err)
	}
	if err := rc.Control(func(uintptr) { t.Error("Control after Close") }); err != net.ErrClosed {
		t.Errorf("Control after Close: %v", err)
	}
}

// TestControlBeforeConnect: a hook has the descriptor before it is connected, and
// nothing to wait for; what it says is what Connect says.
func TestControlBeforeConnect(t *testing.T) {
	e := newEngine(t, Config{})
	ours := errors.New("ours")
	for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
		want := "tcp4"
		if ip.To4() == nil {
			want = "tcp6"
		}
		called := false
		s := e.NewSocket(&fd.DialConfig{Control: func(network, address string, rc syscall.RawConn) error {
			called = true
			if network != want || address != (&net.TCPAddr{IP: ip, Port: 1}).String() {
				t.Errorf("Control of %s, %s", network, address)
			}
			kind := 0
			_ = rc.Control(func(sysfd uintptr) { kind, _ = unix.GetsockoptInt(int(sysfd), unix.SOL_SOCKET, unix.SO_TYPE) })
			if kind != unix.SOCK_STREAM {
				t.Errorf("the descriptor is of type %d", kind)
			}
			for _, wait := range []func(func(uintptr) bool) error{rc.Read, rc.Write} {
				if err := wait(func(uintptr) bool { return true }); err != syscall.EINVAL {
					t.Errorf("to wait in the hook: %v", err)
				}
			}
			return ours
		}})
		if err := s.Connect(context.Background(), &net.TCPAddr{IP: ip, Port: 1}); !errors.Is(err, ours) || !called {
			t.Errorf("Connect: %v, and the hook was called: %v", err, called)
		}
		_ = s.Close()
	}
}

// TestBlockingSocket: a socket that the application has made blocking, by (*os.File).Fd
// of a duplicate say, holds no thread: its calls wait as those of others do.
func TestBlockingSocket(t *testing.T) {
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	rc, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(sysfd uintptr) { err = unix.SetNonblock(int(sysfd), false) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	got, buf := make(chan result, 1), make([]byte, 16)
	go func() { n, err := s.Read(buf); got <- result{n, err} }()
	untilWaits(t, &s.read)
	if _, err := unix.Write(peer, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.err != nil || string(buf[:r.n]) != "hello" {
		t.Errorf("Read %q, %v", buf[:r.n], r.err)
	}

	message := bytes.Repeat([]byte("0123456789"), 1<<19) // more than the buffers hold
	go func() { n, err := s.Write(message); got <- result{n, err} }()
	untilWaits(t, &s.write)
	var all []byte
	for part := make([]byte, 1<<16); len(all) < len(message); {
		n, err := unix.Read(peer, part)
		if n <= 0 {
			t.Fatalf("read %d, %v after %d bytes", n, err, len(all))
		}
		all = append(all, part[:n]...)
	}
	if r := <-got; r.n != len(message) || r.err != nil {
		t.Errorf("Write = %d, %v", r.n, r.err)
	}
	if !bytes.Equal(all, message) {
		t.Error("other bytes arrived")
	}

	go func() { n, err := s.Read(buf); got <- result{n, err} }()
	untilWaits(t, &s.read)
	if err := s.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.n != 0 || !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Errorf("Read past its deadline = %d, %v", r.n, r.err)
	}
}

// TestRawConnWaits: its Read and Write call again when the socket is ready, and end
// at the deadline.
func TestRawConnWaits(t *testing.T) {
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	rc, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	done, calls, got := make(chan error, 1), 0, make([]byte, 16)
	read := func(sysfd uintptr) bool {
		calls++
		n, err := unix.Read(int(sysfd), got)
		if err == nil {
			got = got[:n]
		}
		return err != unix.EAGAIN
	}
	go func() { done <- rc.Read(read) }()
	untilWaits(t, &s.read)
	if _, err := unix.Write(peer, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || string(got) != "x" || calls != 2 {
		t.Errorf("read %q, %v, after %d calls", got, err, calls)
	}
	calls = 0
	if err := rc.Write(func(uintptr) bool { calls++; return calls == 2 }); err != nil || calls != 2 {
		t.Errorf("Write: %v after %d calls, want it to be called again when there is room", err, calls)
	}
	if err := s.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := rc.Read(func(uintptr) bool { return false }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read past the deadline: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rc.Read(func(uintptr) bool { t.Error("called after Close"); return true }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

// TestLoopSetups: each set of flags has less than the one before, the restrictions
// stay, and none asks for what the kernel refuses for its own sake: task work that
// is deferred without a single issuer, or a flag for task work of the ordinary kind
// (io_uring_setup(2)).
func TestLoopSetups(t *testing.T) {
	bits := []Features{FeatureSubmitAll, FeatureNoSQArray, FeatureSingleIssuer, FeatureDeferTaskrun, FeatureCoopTaskrun, FeatureTaskrunFlag, FeatureRestrictions}
	for chosen := range 1 << len(bits) {
		var f Features
		for i, bit := range bits {
			if chosen&(1<<i) != 0 {
				f |= bit
			}
		}
		all := loopSetups(f)
		for i, flags := range all {
			if i > 0 && (flags&^all[i-1] != 0 || flags == all[i-1]) {
				t.Errorf("%v: %#x comes after %#x", f, flags, all[i-1])
			}
			if flags&setupDeferTaskrun != 0 && flags&setupSingleIssuer == 0 {
				t.Errorf("%v: %#x defers without a single issuer", f, flags)
			}
			if flags&setupTaskrunFlag != 0 && flags&(setupDeferTaskrun|setupCoopTaskrun) == 0 {
				t.Errorf("%v: %#x has a flag for what it does not ask for", f, flags)
			}
			if flags&setupRDisabled != setupRestricted(f)&setupRDisabled {
				t.Errorf("%v: %#x changed whether the ring is restricted", f, flags)
			}
		}
		if last := all[len(all)-1]; last != setupRestricted(f) {
			t.Errorf("%v: the last try still asks for %#x", f, last)
		}
	}
}

// TestNoBufferPool: where the kernel takes no pool of buffers the loop gets none.
func TestNoBufferPool(t *testing.T) {
	r := &ring{fd: -1}
	for _, f := range []Features{0, FeatureBufferRingInc, FeatureBufferRing, FeatureBufferRing | FeatureBufferRingInc} {
		if p := newBufferPool(r, f); p != nil {
			t.Errorf("with %v a pool of buffers was made on no ring", f)
		}
	}
}
