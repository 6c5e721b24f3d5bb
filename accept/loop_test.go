package accept_test

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAcceptor gives the results of a script, and then waits for its Close.
type fakeAcceptor struct {
	script []error // nil is a connection
	calls  atomic.Int32
	once   sync.Once
	closed chan struct{}
}

var _ accept.Acceptor = (*fakeAcceptor)(nil)

func newFake(script ...error) *fakeAcceptor {
	return &fakeAcceptor{script: script, closed: make(chan struct{})}
}

func (a *fakeAcceptor) Accept(ctx context.Context) (fd.Socket, error) {
	select {
	case <-a.closed:
		return nil, net.ErrClosed
	default:
	}
	if call := int(a.calls.Load()); call < len(a.script) {
		a.calls.Add(1)
		if err := a.script[call]; err != nil {
			return nil, err
		}
		return fakeSocket{}, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a *fakeAcceptor) Close() error {
	err := net.ErrClosed
	a.once.Do(func() {
		close(a.closed)
		err = nil
	})
	return err
}

func (a *fakeAcceptor) Addr() net.Addr                        { return &net.TCPAddr{IP: net.IPv6loopback, Port: 9732} }
func (a *fakeAcceptor) SetDeadline(time.Time) error           { return nil }
func (a *fakeAcceptor) SyscallConn() (syscall.RawConn, error) { return nil, syscall.ENOSYS }
func (a *fakeAcceptor) File() (*os.File, error)               { return nil, syscall.ENOSYS }
func (a *fakeAcceptor) SetUnlinkOnClose(bool)                 {}

// fakeSocket is a connection that is only accepted.
type fakeSocket struct{ fd.Socket }

func (fakeSocket) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv6loopback, Port: 1} }
func (fakeSocket) Close() error         { return nil }

// run runs a loop over a script in a bubble of fake time, and closes the
// listener when the script is over. It returns what OnError was told, how many
// connections came, and how it ended.
func run(t *testing.T, loop accept.Loop, script ...error) (waits []time.Duration, handled int, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newFake(script...)
		l := accept.New(a, nil)
		loop.OnError = func(_ *accept.Error, wait time.Duration) { waits = append(waits, wait) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			err = loop.Run(context.Background(), l, func(*fd.FD, net.Addr) { handled++ })
		}()
		for {
			synctest.Wait()
			if int(a.calls.Load()) == len(script) {
				break
			}
			select {
			case <-done:
				return
			case <-time.After(time.Hour): // lets the fake clock run on
			}
		}
		_ = l.Close()
		<-done
	})
	return waits, handled, err
}

// repeat returns n times err.
func repeat(n int, err error) []error { return slices.Repeat([]error{err}, n) }

// TestSystemBacksOff: the wait doubles, is bounded, and starts anew after a
// success.
func TestSystemBacksOff(t *testing.T) {
	const ms = time.Millisecond
	loop := accept.Loop{MinDelay: 10 * ms, MaxDelay: 50 * ms}
	script := append(repeat(5, tooManyFiles), nil, tooManyFiles, tooManyFiles, nil)
	waits, handled, err := run(t, loop, script...)
	want := []time.Duration{10 * ms, 20 * ms, 40 * ms, 50 * ms, 50 * ms, 10 * ms, 20 * ms}
	if !slices.Equal(waits, want) || handled != 2 || err != nil {
		t.Errorf("waits %v, %d connections, %v; want %v", waits, handled, err, want)
	}
}

// TestDefaults: 5 ms doubling to 5 s.
func TestDefaults(t *testing.T) {
	waits, _, err := run(t, accept.Loop{}, repeat(14, tooManyFiles)...)
	if err != nil {
		t.Fatal(err)
	}
	want := 5 * time.Millisecond
	for i, got := range waits {
		if got != want {
			t.Errorf("wait %d is %v, want %v", i, got, want)
		}
		want = min(2*want, 5*time.Second)
	}
	if waits[len(waits)-1] != 5*time.Second {
		t.Errorf("the last wait is %v", waits[len(waits)-1])
	}
}

// TestMaxBelowMin: the larger one counts.
func TestMaxBelowMin(t *testing.T) {
	waits, _, _ := run(t, accept.Loop{MinDelay: time.Second, MaxDelay: time.Millisecond}, repeat(3, tooManyFiles)...)
	if !slices.Equal(waits, []time.Duration{time.Second, time.Second, time.Second}) {
		t.Errorf("waits %v", waits)
	}
}

// TestWaitIsReal: the loop does wait as long as it says.
func TestWaitIsReal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := accept.New(newFake(tooManyFiles, tooManyFiles, nil), nil)
		start := time.Now()
		err := accept.Loop{MinDelay: time.Second, MaxDelay: time.Minute}.Run(t.Context(), l, func(*fd.FD, net.Addr) {
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("the connection came after %v, want 1 s and 2 s", took)
			}
			_ = l.Close()
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestSocketRetriesAtOnce, but not for ever.
func TestSocketRetriesAtOnce(t *testing.T) {
	waits, handled, err := run(t, accept.Loop{SocketBurst: 3}, append(repeat(3, thatOneIsGone), nil)...)
	if !slices.Equal(waits, []time.Duration{0, 0, 0}) || handled != 1 || err != nil {
		t.Errorf("waits %v, %d connections, %v; want no waits", waits, handled, err)
	}
	waits, _, err = run(t, accept.Loop{SocketBurst: 3, MinDelay: time.Second}, repeat(6, thatOneIsGone)...)
	if !slices.Equal(waits, []time.Duration{0, 0, 0, time.Second, 2 * time.Second, 4 * time.Second}) || err != nil {
		t.Errorf("waits %v, %v", waits, err)
	}
	// A success starts the count anew.
	script := slices.Concat(repeat(3, thatOneIsGone), []error{nil}, repeat(3, thatOneIsGone))
	if waits, _, _ = run(t, accept.Loop{SocketBurst: 3}, script...); slices.Max(waits) != 0 {
		t.Errorf("waits %v", waits)
	}
	if waits, _, _ = run(t, accept.Loop{}, repeat(17, thatOneIsGone)...); waits[15] != 0 || waits[16] == 0 {
		t.Errorf("by default the waits are %v, want 16 at once", waits)
	}
}

// TestNotSupportedGivesUp: EOPNOTSUPP many times in a row says that this is no
// stream listener.
func TestNotSupportedGivesUp(t *testing.T) {
	waits, _, err := run(t, accept.Loop{SocketBurst: 4}, repeat(100, notSupported)...)
	e, ok := errors.AsType[*accept.Error](err)
	if !ok || e.Class != accept.Unexpected || !errors.Is(err, notSupported) || len(waits) != 4 {
		t.Errorf("after %d errors: %v, want Unexpected after 4", len(waits), err)
	}
}

func TestUnexpectedEnds(t *testing.T) {
	for _, cause := range []error{strange, errors.New("no errno")} {
		waits, handled, err := run(t, accept.Loop{}, nil, cause, nil)
		e, ok := errors.AsType[*accept.Error](err)
		if !ok || e.Class != accept.Unexpected || !errors.Is(err, cause) || handled != 1 || len(waits) != 0 {
			t.Errorf("%v: after %d connections and %d waits: %v", cause, handled, len(waits), err)
		}
	}
}

// TestDeadlineEnds: a deadline of the listener is the embedder's own, and told.
func TestDeadlineEnds(t *testing.T) {
	_, _, err := run(t, accept.Loop{}, os.ErrDeadlineExceeded)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want os.ErrDeadlineExceeded", err)
	}
}

// TestQuietEnds: Close and the context end it without an error, at any point.
func TestQuietEnds(t *testing.T) {
	for name, script := range map[string][]error{
		"while it accepts": nil,
		"while it waits":   {tooManyFiles}, // for an hour
	} {
		for _, byClose := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				l := accept.New(newFake(script...), nil)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				start := time.Now()
				ended := make(chan error, 1)
				go func() {
					ended <- accept.Loop{MinDelay: time.Hour, MaxDelay: time.Hour}.Run(ctx, l, func(*fd.FD, net.Addr) {})
				}()
				synctest.Wait()
				if byClose {
					_ = l.Close()
				} else {
					cancel()
				}
				if err := <-ended; err != nil {
					t.Errorf("%s: %v, want a quiet end", name, err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("%s: it took %v", name, took)
				}
				_ = l.Close()
			})
		}
	}
}

// TestFarAway: a wait cannot grow beyond the longest there is.
func TestFarAway(t *testing.T) {
	for _, loop := range []accept.Loop{
		{MinDelay: math.MaxInt64/2 + 1, MaxDelay: math.MaxInt64},
		{MinDelay: math.MaxInt64, MaxDelay: 1},
	} {
		retry := loop.Retry()
		for last := time.Duration(0); last < math.MaxInt64; {
			wait, err := retry.Failed(&accept.Error{Class: accept.System, Err: tooManyFiles})
			if err != nil || wait <= last {
				t.Fatalf("after %v the wait is %v, %v", last, wait, err)
			}
			last = wait
		}
		if wait, err := retry.Failed(&accept.Error{Class: accept.System, Err: tooManyFiles}); wait != math.MaxInt64 || err != nil {
			t.Errorf("after the longest wait comes %v, %v", wait, err)
		}
	}
}
