package chaos

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringfd/ringfd/internal/leak"
)

// The environment that the long forms are run with.
const (
	modeVariable = "RINGFD_CHAOS"      // bytes or connections: the counting runs
	timeVariable = "RINGFD_CHAOS_TIME" // how long each test goes on
	seedVariable = "RINGFD_CHAOS_SEED" // of what is random
)

// patience bounds every wait for something that must happen, beyond the time that
// a test is given to go on.
const patience = 30 * time.Second

// seed is that of all random choices of this run.
var seed = func() uint64 {
	if s, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		return s
	}
	return uint64(time.Now().UnixNano())
}()

// chaosTime is how long each test goes on; zero for its short form.
var chaosTime = func() time.Duration {
	text := os.Getenv(timeVariable)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", timeVariable, err))
	}
	return d
}()

// rounds calls round once, or until the time is up.
func rounds(round func()) {
	for end := time.Now().Add(chaosTime); ; {
		round()
		if !time.Now().Before(end) {
			return
		}
	}
}

// guard ends the process with a dump of all goroutines if the test does not end,
// and fails it if it leaves anything behind: descriptors, goroutines, or memory
// that the kernel can see. Call it first.
func guard(t testing.TB) {
	t.Helper()
	t.Logf("%s=%d repeats the random choices", seedVariable, seed)
	limit := patience + time.Duration(2*len(styles))*chaosTime // some tests hold others
	timer := time.AfterFunc(limit, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("%s has not ended in %v", t.Name(), limit))
	})
	t.Cleanup(func() { timer.Stop() })
	leak.Check(t)
	goroutines := goleak.IgnoreCurrent()
	memory := kernelMemory(t)
	t.Cleanup(func() {
		err := goleak.Find(goroutines)
		for end := time.Now().Add(leakPatience); err != nil && time.Now().Before(end); {
			err = goleak.Find(goroutines) // waits a little by itself
		}
		if err != nil {
			t.Errorf("leak: %v", err)
		}
		if left := kernelMemory(t); left != memory {
			t.Errorf("leak: the kernel sees %v of this process, and saw %v before", left, memory)
		}
	})
}

const leakPatience = 5 * time.Second
