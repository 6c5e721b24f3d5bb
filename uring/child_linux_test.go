package uring

import (
	"errors"
	"os"
	"syscall"

	"github.com/ringfd/ringfd/internal/child"
)

// parts run in processes of their own: what they do cannot be taken back.
var parts = map[string]func() any{
	"sysctl 1":            func() any { return disabled("1") },
	"sysctl 2":            func() any { return disabled("2") },
	"few files for loops": fewFilesForLoops,
	"cached":              cached,
	"few files":           fewFiles,
	"some memory":         someMemory,
	"pings":               pings,
	"closed loop":         closedLoop,
}

// unavailable is what New and Probe said.
type unavailable struct {
	New, Probe, Cure string
	Sysctl, Seccomp  string
	Cached           bool
}

// disabled is a machine whose sysctl forbids io_uring. A filter refuses as the
// kernel would.
func disabled(value string) any {
	child.RefuseIOUring(syscall.EPERM)
	f, err := os.CreateTemp("", "io_uring_disabled")
	if err != nil {
		panic(err)
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(value + "\n"); err != nil {
		panic(err)
	}
	_ = f.Close()
	sysctlPath = f.Name()
	_, err = New(Config{})
	r := Probe()
	return unavailable{
		New: errorText(err), Probe: errorText(r.Err), Cure: Cure(err), Sysctl: r.Sysctl, Seccomp: r.Seccomp,
		Cached: probeCached != nil,
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// again is what two probes said, between which the machine changed.
type again struct {
	First, Second             string
	FirstFound, SecondFound   Features
	FirstCached, SecondCached bool
}

// cached probes, and again when a filter would have the answer be another.
func cached() any {
	first := Probe()
	a := again{First: errorText(first.Err), FirstFound: first.Found, FirstCached: probeCached != nil}
	child.RefuseIOUring(syscall.EPERM)
	second := Probe()
	a.Second, a.SecondFound, a.SecondCached = errorText(second.Err), second.Found, probeCached != nil
	return a
}

// starved is what a probe said with a number of descriptors left.
type starved struct {
	Left           int
	Err            string
	NoFile         bool // Err is EMFILE
	Found, Unknown Features
	Cached         bool
}

// fewFiles probes with 0, 1, 2 … descriptors left, and at last with enough.
func fewFiles() any {
	var all []starved
	first := firstFree()
	for left := range 12 {
		child.LimitFiles(uint64(first + left))
		all = append(all, probeWith(left))
	}
	child.LimitFiles(1 << 20)
	return append(all, probeWith(-1))
}

func probeWith(left int) starved {
	r := Probe()
	return starved{left, errorText(r.Err), errors.Is(r.Err, syscall.EMFILE), r.Found, r.Unknown, probeCached != nil}
}

// firstFree returns the lowest descriptor that is not open.
func firstFree() int {
	f, err := os.Open("/dev/null")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	return int(f.Fd())
}

// small is what came of a small memory limit: an error, or the lengths of
// submission queues.
type small struct {
	Err   string
	First uint32   // of a ring that has the limit to itself
	Rings []uint32 // of those of an engine
}

// manyEntries are more than the limit allows, where it counts.
const manyEntries = 1024

func someMemory() any {
	child.LimitMemlock(64 << 10)
	r, err := newRingThatFits(manyEntries, 0)
	if err != nil {
		return small{Err: err.Error()}
	}
	s := small{First: r.sqEntries}
	r.close()
	e, err := New(Config{})
	if err != nil {
		return small{Err: err.Error()}
	}
	defer e.Close()
	for _, p := range pollersOf(e) {
		if p.batch.ring != nil {
			s.Rings = append(s.Rings, p.batch.ring.sqEntries)
		}
	}
	return s
}
