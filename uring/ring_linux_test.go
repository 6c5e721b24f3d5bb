package uring

import (
	"syscall"
	"testing"
)

// testRing is a ring that lives as long as the test.
func testRing(t *testing.T, entries, cqEntries, flags uint32) *ring {
	t.Helper()
	needRing(t)
	r, err := newRing(entries, cqEntries, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// nop is a request that completes at once.
func nop(userData uint64) *sqe { return &sqe{opcode: opNop, userData: userData} }

// take takes all the CQEs and checks that they are those of nops from next on.
// It returns what comes after.
func take(t *testing.T, r *ring, next uint64) uint64 {
	t.Helper()
	n := r.ready()
	for i := range n {
		if c := r.peek(i); c.userData != next || c.res != 0 {
			t.Fatalf("the completion is %+v, want that of nop %d", c, next)
		}
		next++
	}
	r.advance(n)
	if left := r.ready(); left != 0 {
		t.Fatalf("%d completions are ready after all were taken", left)
	}
	return next
}

func TestRingWrapsAround(t *testing.T) {
	r := testRing(t, 8, 16, 0)
	var pushed, taken uint64
	for round := range 20 {
		batch := uint32(round%int(r.sqEntries)) + 1 // every length meets every offset
		for range batch {
			r.push(nop(pushed))
			pushed++
		}
		if errno := r.enter(batch, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		if r.head() != uint32(pushed) {
			t.Fatalf("the kernel took %d requests, want %d", r.head(), pushed)
		}
		if taken = take(t, r, taken); taken != pushed {
			t.Fatalf("%d of %d requests completed", taken, pushed)
		}
	}
}

func TestRingFull(t *testing.T) {
	r := testRing(t, 8, 16, 0)
	r.push(nop(0)) // so that the full queue begins in the middle
	if errno := r.enter(1, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	next := take(t, r, 0)
	for i := range uint64(r.sqEntries) {
		if r.full() {
			t.Fatalf("full with %d of %d requests", i, r.sqEntries)
		}
		r.push(nop(next + i))
	}
	if !r.full() {
		t.Error("not full")
	}
	want := next
	for request := range r.queued {
		if request.userData != want {
			t.Errorf("queued: %d, want %d", request.userData, want)
		}
		want++
	}
	if n := uint32(want - next); n != r.sqEntries {
		t.Errorf("%d requests are queued, want %d", n, r.sqEntries)
	}
	if errno := r.enter(r.sqEntries, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	if r.full() {
		t.Error("full after the kernel took all")
	}
	for range r.queued {
		t.Error("a request is queued after the kernel took all")
	}
	if got := take(t, r, next); got != want {
		t.Errorf("%d requests completed, want %d", got, want)
	}
}

func TestRingOverflowLosesNothing(t *testing.T) {
	r := testRing(t, 8, 8, 0)
	const most = 40 // five times what the completion queue holds
	for pushed := uint64(0); pushed < most; pushed++ {
		r.push(nop(pushed))
		if errno := r.enter(1, 0, 0); errno == syscall.EBUSY { // as kernels before 5.19 may
			t.Skipf("needs a kernel that submits while completions overflow; this one refuses after %d", pushed)
		} else if errno != 0 {
			t.Fatal(errno)
		}
	}
	if r.flags()&sqCQOverflow == 0 {
		t.Fatal("the overflow is not flagged")
	}
	next := take(t, r, 0)
	for r.flags()&sqCQOverflow != 0 {
		if errno := r.enter(0, 0, enterGetEvents); errno != 0 {
			t.Fatal(errno)
		}
		before := next
		if next = take(t, r, next); next == before {
			t.Fatal("the overflow stays, and nothing comes of it")
		}
	}
	if next != most {
		t.Errorf("%d completions came, want %d", next, most)
	}
}

// TestRingSetups makes a ring with every combination of optional flags.
func TestRingSetups(t *testing.T) {
	needRing(t)
	found := Probe().Found
	const optional = FeatureSubmitAll | FeatureCoopTaskrun | FeatureTaskrunFlag | FeatureNoSQArray
	for mask := optional & found; ; mask = (mask - 1) & optional & found { // every subset
		flags := setupFlags(mask)
		r, err := newRing(8, 16, flags)
		if err != nil {
			t.Errorf("%s: %v", mask, err)
		} else {
			if r.setup&flags != flags {
				t.Errorf("%s: made with the flags %#x, want %#x", mask, r.setup, flags)
			}
			c, err := r.do(*nop(7))
			if err != nil || c != (cqe{userData: 7}) {
				t.Errorf("%s: a nop came to %+v, %v", mask, c, err)
			}
			r.close()
		}
		if mask == 0 {
			break
		}
	}
}
