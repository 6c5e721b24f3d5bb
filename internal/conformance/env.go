package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// patience bounds every wait for something that must happen; no test waits
// this long unless it fails.
const patience = 20 * time.Second

// Env is what a case works with: a fresh backend, and a network.
type Env struct {
	Row     Row
	Network string
	Backend *ringfd.Backend

	serves holder // of a row whose connections come through Serve
}

// With returns an Env on another backend of the same row.
func (e *Env) With(t testing.TB, change ...func(*ringfd.Options)) *Env {
	return &Env{Row: e.Row, Network: e.Network, Backend: e.Row.Open(t, change...)}
}

// own opens another backend of the same row that the case closes itself.
func (e *Env) own(t testing.TB) *ringfd.Backend {
	t.Helper()
	b, err := ringfd.Open(e.Row.Options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tcp reports whether the network is one of TCP.
func (e *Env) tcp() bool { return e.Network != "unix" }

// Address returns an address to listen on: a free port of the loopback, or a
// new path.
func (e *Env) Address(t testing.TB) string {
	switch e.Network {
	case "tcp4":
		return "127.0.0.1:0"
	case "tcp6":
		return "[::1]:0"
	}
	dir, err := os.MkdirTemp("", "ringfd") // t.TempDir is too long for sun_path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// Listen listens until the end of the test.
func (e *Env) Listen(t testing.TB, config accept.Config) *accept.Listener {
	t.Helper()
	l, err := e.Backend.Listen(t.Context(), e.Network, e.Address(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Accept accepts one connection; it is closed at the end of the test. On a row
// that serves it comes through Serve.
func (e *Env) Accept(t testing.TB, l *accept.Listener) *fd.FD {
	t.Helper()
	if e.Row.Served {
		f := await(t, e.serves.accepted(t, e.Backend, l), "a connection")
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, addr, err := l.Accept(ctx)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if got, want := addr.String(), f.RemoteAddr().String(); got != want {
		t.Errorf("Accept returned the address %s, and RemoteAddr is %s", got, want)
	}
	return f
}

// Dial connects through the backend; it is closed at the end of the test. On a
// row that serves it is DialServe.
func (e *Env) Dial(t testing.TB, addr net.Addr) *fd.FD {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if e.Row.Served {
		return e.serves.dial(t, ctx, e.Backend, addr)
	}
	f := e.Backend.Socket()
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Connect(ctx, addr); err != nil {
		t.Fatalf("Connect: %v", err)
	}
	return f
}

// Pair returns the two ends of a connection, both of the backend.
func (e *Env) Pair(t testing.TB) (client, server *fd.FD) {
	t.Helper()
	l := e.Listen(t, accept.Config{})
	client = e.Dial(t, l.Addr())
	server = e.Accept(t, l)
	return client, server
}

// Ends returns an accepted and a dialled connection in turn, each with a peer
// of package net, so that a case sees both kinds and a peer that is not ours.
func (e *Env) Ends(t *testing.T, f func(t *testing.T, ours *fd.FD, peer net.Conn)) {
	t.Run("accepted", func(t *testing.T) {
		l := e.Listen(t, accept.Config{})
		peer, err := net.Dial(e.Network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		ours := e.Accept(t, l)
		f(t, ours, peer)
		_ = ours.Close()
		_ = l.Close()
	})
	t.Run("dialled", func(t *testing.T) {
		l, err := net.Listen(e.Network, e.Address(t))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ours := e.Dial(t, l.Addr())
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		f(t, ours, peer)
		_ = ours.Close()
	})
}

// reset closes a TCP connection so that its peer gets a reset.
func reset(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// write writes all of s with nobody having to read it.
func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write(%d bytes) = %d, %v", len(s), n, err)
	}
}

// read reads exactly want.
func read(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// readErr reads and wants an error of this reason.
func readErr(t testing.TB, f *fd.FD, reason fd.Reason, is ...error) error {
	t.Helper()
	n, err := f.Read(make([]byte, 16))
	if n != 0 {
		t.Fatalf("Read = %d bytes, %v; want no bytes", n, err)
	}
	wantErr(t, "Read", err, "read", reason, is...)
	return err
}

// writeErr writes and wants an error of this reason.
func writeErr(t testing.TB, f *fd.FD, reason fd.Reason, is ...error) error {
	t.Helper()
	_, err := f.Write([]byte("x"))
	wantErr(t, "Write", err, "write", reason, is...)
	return err
}

// wantErr checks that err is an *fd.Error of this op and reason in which
// errors.Is finds each of is, and that the reason is the FD's own text.
func wantErr(t testing.TB, call string, err error, op string, reason fd.Reason, is ...error) {
	t.Helper()
	e, ok := errors.AsType[*fd.Error](err)
	if !ok {
		t.Fatalf("%s: %v (%T); want an *fd.Error", call, err, err)
	}
	if e.Op != op || e.Reason != reason {
		t.Fatalf("%s: op %q, reason %q (%v); want op %q, reason %q", call, e.Op, e.Reason, err, op, reason)
	}
	for _, target := range is {
		if !isErr(err, target) {
			t.Fatalf("%s: errors.Is(%v, %v) is false", call, err, target)
		}
	}
}

// isErr is errors.Is, except that it knows nothing against errnos on Windows:
// no Windows call returns the ones of package syscall.
func isErr(err, target error) bool {
	if _, ok := target.(syscall.Errno); ok && runtime.GOOS == "windows" {
		return true
	}
	return errors.Is(err, target)
}

// wantReason checks the sticky reason.
func wantReason(t testing.TB, f *fd.FD, want fd.Reason) {
	t.Helper()
	if got, err := f.Reason(); got != want {
		t.Fatalf("Reason = %q (%v), want %q", got, err, want)
	}
}

// async runs f on a goroutine and returns its outcome's channel.
func async[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

// await receives what must come.
func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen in %v\n%s", what, patience, Stacks())
		panic("unreachable")
	}
}

// transfer is the outcome of a call that moves bytes.
type transfer struct {
	n   int
	err error
}

// goRead and goWrite call Read and Write on goroutines.
func goRead(f io.Reader, p []byte) <-chan transfer {
	return async(func() transfer {
		n, err := f.Read(p)
		return transfer{n, err}
	})
}

func goWrite(f io.Writer, p []byte) <-chan transfer {
	return async(func() transfer {
		n, err := f.Write(p)
		return transfer{n, err}
	})
}

// parked waits until n goroutines wait inside a function, e.g.
// "fd.(*FD).Read": no event says that a call has come to rest.
func parked(t testing.TB, function string, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Microsecond) {
		found := AtRest(function)
		if found >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d goroutines came to rest in %s\n%s", found, n, function, Stacks())
		}
	}
}

// AtRest returns how many goroutines wait inside a function.
func AtRest(function string) (found int) {
	for g := range strings.SplitSeq(Stacks(), "\n\n") {
		if strings.Contains(g, function+"(") && atRest.MatchString(g) {
			found++
		}
	}
	return found
}

// atRest matches goroutines that neither run, nor could, nor are in the kernel.
var atRest = regexp.MustCompile(`^goroutine \d+ [^\[]*\[(IO wait|select|chan receive|semacquire|sync\.|sleep)`)

// Stacks returns the stacks of all goroutines.
func Stacks() string {
	for size := 1 << 16; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size {
			return string(buf[:n])
		}
	}
}

// fill writes until the kernel takes no more, and leaves a Write waiting. It
// returns that Write.
func fill(t testing.TB, f *fd.FD) <-chan transfer {
	t.Helper()
	w := goWrite(f, make([]byte, 64<<20)) // more than any socket's buffers
	parked(t, "fd.(*FD).Write", 1)
	return w
}
