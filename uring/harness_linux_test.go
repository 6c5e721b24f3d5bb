package uring

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newEngine makes an engine that lives as long as the test.
func newEngine(t testing.TB, c Config) *Engine {
	t.Helper()
	needRing(t)
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.Close() // the test may have
		if n := e.Stats().InFlight; n != 0 {
			t.Errorf("%d requests wait in the kernel", n)
		}
	})
	return e
}

// newPair makes a connection between a Socket of e and a blocking descriptor,
// which live as long as the test.
func newPair(t testing.TB, e *Engine) (s *Socket, peer int) {
	t.Helper()
	return lane{family: unix.AF_UNIX}.pair(t, e)
}

// until waits for what nothing tells of.
func until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !happened(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("this did not happen: ", what)
		}
	}
}

// untilWaits waits until a call is parked on d.
func untilWaits(t testing.TB, d *direction) {
	t.Helper()
	until(t, "a call waits", func() bool { return d.state.Load()&dirWaiting != 0 })
}

// pollersOf returns the pollers of e, when it has all that it wants and can have.
func pollersOf(e *Engine) []*poller {
	for range 2 * e.wantedPollers() {
		e.poller()
	}
	return *e.pollers.Load()
}

// batchRings returns the rings of the pollers of e, which has nothing to do.
func batchRings(t testing.TB, e *Engine) (rings []*ring) {
	t.Helper()
	for _, p := range pollersOf(e) {
		if p.batch.ring == nil {
			t.Skip("needs a kernel whose receives say whether there is more (Linux 5.19): other pollers have no ring")
		}
		rings = append(rings, p.batch.ring)
	}
	return rings
}
