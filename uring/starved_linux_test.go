package uring

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/internal/child"
	"github.com/ringfd/ringfd/internal/testsize"
)

// setUp is what came of an engine and its loops with so many descriptors left, and
// how many descriptors they left behind.
type setUp struct {
	Left, Pollers, Loops int
	Err                  string
	NoFile               bool // Err is EMFILE
	Leaked               int
}

// fewFilesForLoops makes an engine and its loops with enough descriptors, and then
// with 0, 1, 2 … left.
func fewFilesForLoops() any {
	testsize.Now.Poll = 2
	all := []setUp{setUpWith(1 << 10)} // what a process opens once is open now
	before, first := openFiles(), firstFree()
	for left := range 20 {
		child.LimitFiles(uint64(first + left))
		s := setUpWith(left)
		child.LimitFiles(1 << 20)
		s.Leaked = openFiles() - before
		all = append(all, s)
	}
	return all
}

func setUpWith(left int) setUp {
	s := setUp{Left: left}
	e, err := New(Config{Loops: LoopConfig{Count: 2}})
	if err == nil {
		s.Pollers = len(pollersOf(e))
		var set *loops
		if set, err = e.startLoops(); err == nil {
			s.Loops = len(set.all)
		}
		if err := e.Close(); err != nil {
			panic(err)
		}
	}
	s.Err, s.NoFile = errorText(err), errors.Is(err, syscall.EMFILE)
	return s
}

// openFiles returns how many descriptors are open.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries) - 1 // that of the directory
}

// TestSetUpWithFewDescriptors: what cannot be made says so or makes do with less,
// and gives back what it had.
func TestSetUpWithFewDescriptors(t *testing.T) {
	needRing(t)
	var all []setUp
	child.Run(t, "few files for loops", &all)
	plenty := all[0]
	if plenty.Err != "" || plenty.Loops != 2 || plenty.Pollers < 2 {
		t.Fatalf("with enough descriptors: %+v", plenty)
	}
	fewer, none := 0, 0
	for _, s := range all[1:] {
		if s.Leaked != 0 {
			t.Errorf("with %d descriptors left: %d more are open at the end: %+v", s.Left, s.Leaked, s)
		}
		if s.Err != "" {
			none++
			if !s.NoFile || !strings.Contains(s.Err, "no file descriptor is left") {
				t.Errorf("with %d descriptors left the reason is %q", s.Left, s.Err)
			}
			continue
		}
		if s.Pollers < 1 || s.Loops < 1 {
			t.Errorf("with %d descriptors left nothing works, and there is no error: %+v", s.Left, s)
		}
		if s.Pollers < plenty.Pollers || s.Loops < plenty.Loops {
			fewer++
		}
	}
	if none == 0 || fewer == 0 {
		t.Errorf("no number of descriptors was too few, or was enough for a part: %+v", all)
	}
}
