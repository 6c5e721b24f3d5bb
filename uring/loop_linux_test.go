package uring

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// newLoops makes an engine with so many loops.
func newLoops(t testing.TB, count int, without Features) (*Engine, *loops) {
	t.Helper()
	e := newEngine(t, Config{Without: without, Loops: LoopConfig{Count: count, WriteLimit: 1 << 20, Drain: time.Second}})
	set, err := e.startLoops()
	if err != nil {
		t.Fatal(err)
	}
	return e, set
}

// onLoop runs f on the thread of l, and waits for it.
func onLoop(t testing.TB, l *loop, f func(l *loop)) {
	t.Helper()
	done := make(chan struct{})
	if !l.post(&request{kind: requestRun, run: func(l *loop) { f(l); close(done) }}) {
		t.Fatal("the loop has ended")
	}
	<-done
}

// echoData is a data handler that echoes.
func echoData() fd.Handler {
	return fd.Handler{Data: func(f *fd.FD, data []byte) { _, _ = f.Write(data) }}
}

// serveOn serves connections to a new listener of e until the end of the test.
func serveOn(t testing.TB, e *Engine, h fd.Handler) (l *Listener, ended <-chan error) {
	t.Helper()
	l, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := make(chan error, 1)
	go func() { c <- e.Serve(context.Background(), l, h) }()
	return l, c
}

// TestWakeAfterEnd posts to a loop that ends: the eventfd is not written to when
// its number may be of something else.
func TestWakeAfterEnd(t *testing.T) {
	e, set := newLoops(t, 1, 0)
	l := set.all[0]
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	if pipe[1] != l.wakeFD {
		if err := unix.Dup3(pipe[1], l.wakeFD, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(pipe[1])
	}
	defer unix.Close(l.wakeFD)
	l.mail.sleeping.Store(true) // as who posted saw it before
	l.wake()
	if n, err := unix.Read(pipe[0], make([]byte, 8)); err != unix.EAGAIN {
		t.Errorf("the loop's wake-up went elsewhere: %d bytes, %v", n, err)
	}
}

// TestEndedLoopIsNowhere: a goroutine may have the record that the loop's had.
func TestEndedLoopIsNowhere(t *testing.T) {
	e, set := newLoops(t, 2, 0)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, l := range set.all {
		if r := l.running.Load(); r != nil {
			t.Errorf("a loop that has ended is known to run on %#x", r.g.Load())
		}
	}
}

// TestAlarmInTime has the alarm of a loop ring just before the loop waits, where
// the kernel's wait has no timeout.
func TestAlarmInTime(t *testing.T) {
	_, set := newLoops(t, 1, FeatureExtArg)
	l := set.all[0]
	onLoop(t, l, func(l *loop) {
		at := clock() + int64(time.Millisecond)
		l.timers.wakeAt(l, at) // as in an earlier turn
		for clock() < at+int64(5*time.Millisecond) {
			time.Sleep(time.Millisecond) // the alarm rings now, and the loop does not sleep
		}
		l.mail.sleeping.Store(true)
		l.timers.wakeAt(l, at) // as the loop does before it waits
		for end := time.Now().Add(5 * time.Second); l.mail.sleeping.Load(); time.Sleep(50 * time.Microsecond) {
			if time.Now().After(end) {
				t.Error("no alarm ends the wait")
				l.mail.sleeping.Store(false)
			}
		}
	})
}

// TestCloseBeforeStart closes a dialled connection in the moment that it is given
// to a loop that ends meanwhile.
func TestCloseBeforeStart(t *testing.T) {
	e, set := newLoops(t, 1, 0)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := e.Served(&fd.DialConfig{}, echoData())
	f := fd.New(s, nil)
	if err := f.Connect(context.Background(), listener.Addr()); err != nil {
		t.Fatal(err)
	}
	c := s.(*conn)
	if !c.start(f) {
		t.Fatal("it is closed")
	}
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	until(t, "the loop knows of Close", func() (knows bool) {
		onLoop(t, set.all[0], func(*loop) { knows = c.closers != nil })
		return knows
	})
	var ended atomic.Bool
	go func() { _ = e.Close(); ended.Store(true) }()
	<-set.all[0].ended
	c.handOver()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not end")
	}
	until(t, "the engine closes", ended.Load)
	if c.state.Load()&descriptorClosed == 0 {
		t.Error("the descriptor is left open")
	}
}

// TestWritersShare has a handler write to a peer that reads as fast as it can: it
// lets the other connections of its loop have their turns.
func TestWritersShare(t *testing.T) {
	e, _ := newLoops(t, 1, 0)
	const size, times = 64 << 10, 1000
	most := make(chan int, 1)
	l, _ := serveOn(t, e, fd.Handler{Blocking: func(f *fd.FD) {
		c := f.Socket().(*conn)
		block := make([]byte, size)
		var turn uint64
		inTurn, largest := 0, 0
		for range times {
			if c.loop.count.Turns != turn {
				turn, inTurn = c.loop.count.Turns, 0
			}
			if _, err := f.Write(block); err != nil {
				break
			}
			if c.loop.count.Turns == turn {
				inTurn += size
			}
			largest = max(largest, inTurn)
		}
		most <- largest
	}})
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := io.Copy(io.Discard, c); n != size*times || err != nil {
		t.Errorf("%d bytes arrived, %v", n, err)
	}
	if n := <-most; n > sendShare+size {
		t.Errorf("a handler wrote %d bytes in one turn", n)
	}
}
