package uring

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// bareEngine lends wakers, and has no poller.
func bareEngine(t testing.TB) *Engine {
	t.Helper()
	e := new(Engine)
	e.wakers.start()
	t.Cleanup(e.wakers.stop)
	return e
}

// TestDirectionLosesNothing has several goroutines play the poller and say that
// something has come, with and without claiming the parked call, while others abort and
// allow. The reader gets all that came, and never sleeps on: every sleep gets one wake.
func TestDirectionLosesNothing(t *testing.T) {
	const producers, each = 4, 5000
	e := bareEngine(t)
	var d direction
	var there, busy atomic.Int64 // what lies in the socket; producers that go on
	busy.Store(producers)
	receive := func() int32 { return int32(there.Swap(0)) }
	var others sync.WaitGroup
	for i := range producers {
		others.Go(func() {
			defer busy.Add(-1)
			dice := rand.New(rand.NewPCG(1, uint64(i)))
			for range each {
				there.Add(1)
				if d.event(dirReady, dice.IntN(3) > 0) {
					switch dice.IntN(3) {
					case 0:
						d.release()
					case 1:
						runtime.Gosched()
						fallthrough
					default:
						if n := receive(); n > 0 {
							d.finish(n, dice.IntN(2) == 0)
						} else {
							d.finish(-int32(syscall.EAGAIN), true)
						}
					}
				}
				if dice.IntN(8) == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	others.Go(func() {
		for busy.Load() > 0 {
			d.abort(abortDeadline)
			runtime.Gosched()
			d.allow(abortDeadline)
			runtime.Gosched()
		}
	})
	got, parks := 0, 0
	buf := make([]byte, 1)
	for got < producers*each {
		state := d.state.Load()
		switch {
		case state&(dirWaiting|dirTaken) != 0:
			t.Fatalf("the call was woken, and the state is %#x", state)
		case state&dirAborted != 0:
			runtime.Gosched()
		case state&dirOpen != 0:
			had := d.attempt(state)
			if n := receive(); n > 0 {
				d.found(had)
				got += int(n)
			}
		default:
			parks++
			if err := d.park(e, buf); err != nil {
				t.Fatal(err)
			}
			if d.done {
				d.done = false
				got += int(d.res)
			}
		}
	}
	others.Wait()
	if got != producers*each || there.Load() != 0 {
		t.Errorf("%d came of %d, and %d are left", got, producers*each, there.Load())
	}
	if len(d.waker) != 0 {
		t.Error("a call was woken twice")
	}
	t.Logf("the reader parked %d times", parks)
	if parks == 0 {
		t.Error("the reader never parked: the test shows nothing")
	}
}

// parkOn parks a call on d, and returns its end.
func parkOn(t *testing.T, e *Engine, d *direction) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- d.park(e, make([]byte, 1)) }()
	untilWaits(t, d)
	return ended
}

// TestDirectionTaken: nothing wakes a call that the poller has taken but its result,
// and what came meanwhile is known afterwards.
func TestDirectionTaken(t *testing.T) {
	e := bareEngine(t)
	for name, c := range map[string]struct {
		meanwhile func(d *direction)
		finish    func(d *direction)
		wakes     bool
		want      uint32
	}{
		"a result":                 {nil, func(d *direction) { d.finish(1, false) }, true, 0},
		"a result, and more":       {nil, func(d *direction) { d.finish(1, true) }, true, dirReady},
		"the end":                  {nil, func(d *direction) { d.finish(0, true) }, true, dirReady},
		"not made":                 {nil, (*direction).release, true, dirReady},
		"nothing there":            {nil, func(d *direction) { d.finish(-int32(syscall.EAGAIN), true) }, false, dirWaiting},
		"an event meanwhile":       {func(d *direction) { d.event(dirReady, true) }, func(d *direction) { d.finish(1, false) }, true, dirReady},
		"nothing there, and event": {func(d *direction) { d.event(dirReady, true) }, func(d *direction) { d.finish(-int32(syscall.EAGAIN), true) }, true, dirReady},
		"hung up meanwhile":        {func(d *direction) { d.event(dirHungUp|dirReady, true) }, func(d *direction) { d.finish(1, false) }, true, dirHungUp | dirReady},
		"an abort meanwhile":       {func(d *direction) { d.abort(abortClosed) }, func(d *direction) { d.finish(-int32(syscall.EAGAIN), true) }, true, abortClosed},
		"an abort, and a result":   {func(d *direction) { d.abort(abortDeadline) }, func(d *direction) { d.finish(1, false) }, true, abortDeadline},
	} {
		t.Run(name, func(t *testing.T) {
			var d direction
			ended := parkOn(t, e, &d)
			if !d.event(dirReady, true) {
				t.Fatal("the event did not get the parked call")
			}
			if d.event(dirReady, true) {
				t.Fatal("a call was taken twice")
			}
			d.state.And(^dirReady) // of that one
			if c.meanwhile != nil {
				c.meanwhile(&d)
			}
			if len(ended) != 0 || len(d.waker) != 0 {
				t.Fatal("the call was woken before the poller was through with it")
			}
			c.finish(&d)
			if got := d.state.Load(); got != c.want {
				t.Errorf("the state is %#x, want %#x", got, c.want)
			}
			if !c.wakes {
				if len(ended) != 0 || len(d.waker) != 0 {
					t.Error("the call was woken for nothing")
				}
				d.abort(abortClosed)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if len(d.waker) != 0 {
				t.Error("the call was woken twice")
			}
		})
	}
}

// TestDirectionKnowsTheEnd: a direction that has hung up stays open through calls that
// find something, and until one finds nothing.
func TestDirectionKnowsTheEnd(t *testing.T) {
	var d direction
	d.event(dirReady|dirHungUp, true)
	d.found(d.attempt(d.state.Load()))
	if got := d.state.Load(); got != dirReady|dirHungUp {
		t.Errorf("after a call that found something: %#x", got)
	}
	d.attempt(d.state.Load())
	if got := d.state.Load(); got != 0 {
		t.Errorf("after a call that found nothing: %#x", got)
	}
}

// TestRefusal: a closed direction says that it is closed, whatever else ends its calls.
func TestRefusal(t *testing.T) {
	e := bareEngine(t)
	var d direction
	want := func(err error) {
		t.Helper()
		if got := d.refusal(d.state.Load()); got != err {
			t.Errorf("the call is refused with %v, want %v", got, err)
		}
	}
	want(nil)
	d.abort(abortDeadline)
	want(os.ErrDeadlineExceeded)
	ctx, cancel := context.WithCancel(context.Background())
	stop := d.abortOn(ctx)
	cancel()
	until(t, "the context aborts", func() bool { return d.state.Load()&abortContext != 0 })
	want(context.Canceled)
	d.abort(abortClosed)
	want(net.ErrClosed)
	stop()
	d.allow(abortClosed)
	want(os.ErrDeadlineExceeded)
	if err := d.park(e, nil); err != nil || d.state.Load()&dirWaiting != 0 {
		t.Errorf("a call that is refused parks: %v, state %#x", err, d.state.Load())
	}
	if !errors.Is(d.refusal(d.state.Load()), os.ErrDeadlineExceeded) {
		t.Error("a parked call forgot why it is refused")
	}
}
