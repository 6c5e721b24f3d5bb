// Package leak finds what tests left behind: goroutines, descriptors, and
// sockets, listeners and requests of a backend.
package leak

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"go.uber.org/goleak"
)

// exitCode tells a leak from a failed test.
const exitCode = 99

// patience is how long something that is on its way out may take: a goroutine
// that has sent its last value but not returned yet, say.
const patience = 5 * time.Second

// Main runs the tests of a package and then fails if goroutines or descriptors
// are left. It is called from TestMain and does not return.
func Main(m *testing.M) {
	before := Descriptors()
	code := m.Run()
	if code == 0 {
		err := goleak.Find()
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			err = goleak.Find() // waits a little by itself
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "leak:", err)
			code = exitCode
		}
		if left := waitNew(before); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "leak: descriptors are left open:", left)
			code = exitCode
		}
	}
	os.Exit(code)
}

// Backend fails the test unless every socket, listener and request of b is
// gone. Call it when all of them are closed and before b is. It has patience:
// net/http closes connections after it says so.
func Backend(t testing.TB, b *ringfd.Backend) {
	t.Helper()
	const own = 2 // of each loop, for its wake-up and for room
	left := func() bool {
		s := b.Stats()
		for _, loop := range s.Loops {
			if loop.InFlight != own {
				return true
			}
		}
		return s.Sockets != 0 || s.Listeners != 0 || s.InFlight != 0
	}
	for end := time.Now().Add(patience); left() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if left() {
		s := b.Stats()
		t.Errorf("leak: %d sockets, %d listeners and %d requests in flight are left", s.Sockets, s.Listeners, s.InFlight)
		for i, loop := range s.Loops {
			t.Errorf("leak: loop %d has %d connections and %d requests in flight, of which %d are its own", i, loop.Connections, loop.InFlight, own)
		}
	}
}

// Check fails the test if descriptors are open at its end that are not now.
// Tests that run in parallel disturb it.
func Check(t testing.TB) {
	t.Helper()
	before := Descriptors()
	t.Cleanup(func() {
		if left := waitNew(before); len(left) > 0 {
			t.Errorf("leak: descriptors are left open: %v", left)
		}
	})
}

// waitNew returns the descriptors that are open now and were not before,
// giving what is being closed the time to be so.
func waitNew(before map[string]string) []string {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var left []string
		for fd, what := range Descriptors() {
			if before[fd] != what {
				left = append(left, fd+" "+what)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return slices.Sorted(slices.Values(left))
		}
	}
}

// Descriptors returns the open descriptors of the process and what they are.
// Where the system cannot say (all but Linux) it is empty.
func Descriptors() map[string]string {
	startPoller()
	found := make(map[string]string)
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return found
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return found
	}
	for _, name := range names {
		what, err := os.Readlink("/proc/self/fd/" + name)
		if err == nil && name != fmt.Sprint(dir.Fd()) {
			found[name] = what
		}
	}
	return found
}

// startPoller makes Go's runtime open the descriptors of its poller, which stay
// open for the life of the process.
func startPoller() {
	if r, w, err := os.Pipe(); err == nil {
		_ = r.Close()
		_ = w.Close()
	}
}
