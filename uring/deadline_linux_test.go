package uring

import (
	"math"
	"net"
	"testing"
	"time"
)

// set sets a deadline, and checks whether calls are refused then.
func set(t *testing.T, d *direction, at time.Time, refused bool) {
	t.Helper()
	if err := d.setDeadline(new(Engine), at); err != nil {
		t.Fatal(err)
	}
	if got := d.state.Load()&abortDeadline != 0; got != refused {
		t.Errorf("with a deadline at %v calls are refused: %v, want %v", at, got, refused)
	}
}

func TestDeadlineAt(t *testing.T) {
	var d direction
	defer d.stopDeadline()
	set(t, &d, time.Unix(1, 0), true)
	set(t, &d, time.Time{}, false)
	set(t, &d, time.Now(), true)
	set(t, &d, time.Now().Add(time.Hour), false)
	for _, far := range []time.Time{
		time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(1<<62, 0), time.Now().Add(math.MaxInt64),
	} {
		set(t, &d, time.Unix(1, 0), true)
		set(t, &d, far, false)
		if d.deadline.at <= clock() {
			t.Errorf("%v is at %d by the clock, which has passed", far, d.deadline.at)
		}
	}
	set(t, &d, time.Unix(-1<<62, 0), true)
	set(t, &d, time.Now().Add(time.Hour).Round(0), false) // without a monotonic reading
	if left := time.Duration(d.deadline.at - clock()); left < 59*time.Minute || left > 61*time.Minute {
		t.Errorf("an hour from now is %v from now", left)
	}
	set(t, &d, time.Now().Add(-time.Hour).Round(0), true)
}

// TestDeadlineTimer: a deadline that moves on does not touch the timer, and one that
// comes earlier does; the timer then goes on to where the deadline is.
func TestDeadlineTimer(t *testing.T) {
	var d direction
	defer d.stopDeadline()
	fires := func() (at, fires int64) {
		d.deadline.mu.Lock()
		defer d.deadline.mu.Unlock()
		return d.deadline.at, d.deadline.fires
	}
	set(t, &d, time.Now().Add(time.Hour), false)
	_, armed := fires()
	set(t, &d, time.Now().Add(2*time.Hour), false)
	if at, still := fires(); still != armed || at <= armed {
		t.Errorf("a later deadline moved the timer from %d to %d, for %d", armed, still, at)
	}
	set(t, &d, time.Now().Add(time.Minute), false)
	if at, now := fires(); now != at || now >= armed {
		t.Errorf("an earlier deadline, at %d, left the timer at %d, which was at %d", at, now, armed)
	}
	set(t, &d, time.Now().Add(time.Millisecond), false)
	set(t, &d, time.Now().Add(time.Hour), false)
	until(t, "the timer goes on to where the deadline is", func() bool { at, now := fires(); return now == at })
	if d.state.Load() != 0 {
		t.Errorf("the timer of a deadline that was moved on refuses calls: %#x", d.state.Load())
	}
	set(t, &d, time.Now().Add(time.Millisecond), false)
	until(t, "the deadline passes", func() bool { return d.state.Load()&abortDeadline != 0 })
	set(t, &d, time.Time{}, false)
}

// TestDeadlineSuspended: what suspends it is not ended by it, and it is there again
// afterwards.
func TestDeadlineSuspended(t *testing.T) {
	var d direction
	defer d.stopDeadline()
	set(t, &d, time.Unix(1, 0), true)
	d.suspendDeadline(new(Engine), true)
	if d.state.Load() != 0 {
		t.Error("a suspended deadline refuses calls")
	}
	set(t, &d, time.Unix(2, 0), false)
	d.suspendDeadline(new(Engine), false)
	if d.state.Load()&abortDeadline == 0 {
		t.Error("the deadline is gone")
	}
}

// TestDeadlineStopped: a socket that is closed has none any more.
func TestDeadlineStopped(t *testing.T) {
	var d direction
	set(t, &d, time.Now().Add(time.Millisecond), false)
	d.stopDeadline()
	d.timerFired(new(Engine)) // as one does that was under way
	if err := d.setDeadline(new(Engine), time.Unix(1, 0)); err != net.ErrClosed {
		t.Errorf("setDeadline: %v", err)
	}
	if d.state.Load() != 0 {
		t.Errorf("the state is %#x", d.state.Load())
	}
}
