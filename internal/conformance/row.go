package conformance

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/internal/leak"
	"github.com/ringfd/ringfd/uring"
)

// Row is one way to open a backend.
type Row struct {
	Name    string
	Options ringfd.Options
	// Core rows differ so little from another that the core cases suffice.
	Core bool
	// Served rows have a handler for every connection.
	Served bool
}

// Rows returns every row: net, io_uring with all features, with none, with
// BusyPoll, without each single feature, and as older kernels have it.
func Rows() []Row {
	ring := func(name string, core bool, without uring.Features) Row {
		return Row{Name: name, Core: core, Options: ringfd.Options{Backend: ringfd.IOUring, Without: without}}
	}
	busy := ring("io_uring-busy-poll", false, 0)
	busy.Options.BusyPoll = 50 * time.Microsecond
	rows := []Row{
		{Name: "net", Options: ringfd.Options{Backend: ringfd.Net}},
		ring("io_uring", false, 0),
		ring("io_uring-bare", false, uring.AllFeatures),
		busy,
	}
	for _, kernel := range []string{"5.10", "5.15", "6.1"} {
		rows = append(rows, ring("io_uring-as-"+kernel, true, newerThan(kernel)))
	}
	for _, f := range uring.FeatureTable {
		if f.Used && f.Bit != uring.FeatureSyncCancel { // which is for rings that fail
			rows = append(rows, ring("io_uring-without-"+f.Name, true, f.Bit))
		}
	}
	return rows
}

// ServeRows returns the rows whose connections come through Serve and DialServe:
// net, io_uring with all features, with none, and without each one that matters
// to loops.
func ServeRows() []Row {
	ring := func(name string, core bool, without uring.Features) Row {
		return Row{Name: name, Core: core, Served: true, Options: ringfd.Options{Backend: ringfd.IOUring, Without: without}}
	}
	rows := []Row{
		{Name: "serve-net", Served: true, Options: ringfd.Options{Backend: ringfd.Net}},
		ring("serve-io_uring", false, 0),
		ring("serve-io_uring-bare", false, uring.AllFeatures),
	}
	const ofLoops = uring.FeatureMultishotRecv | uring.FeatureBufferRing | uring.FeatureBufferRingInc |
		uring.FeatureDeferTaskrun | uring.FeatureSingleIssuer | uring.FeatureSkipSuccess |
		uring.FeatureExtArg | uring.FeatureMultishotAccept | uring.FeatureSendWaitAll | uring.FeatureRestrictions
	for _, f := range uring.FeatureTable {
		if ofLoops.Has(f.Bit) {
			rows = append(rows, ring("serve-io_uring-without-"+f.Name, true, f.Bit))
		}
	}
	return rows
}

// newerThan returns the features that kernels after this one brought.
func newerThan(kernel string) uring.Features {
	var newer uring.Features
	for _, f := range uring.FeatureTable {
		if version(f.Since) > version(kernel) {
			newer |= f.Bit
		}
	}
	return newer
}

// version orders "5.10" after "5.9".
func version(s string) int {
	major, minor, _ := strings.Cut(s, ".")
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor)
	return 1000*x + y
}

// Networks returns the networks that the suite runs over on this system.
func Networks() []string {
	if runtime.GOOS == "windows" {
		return []string{"tcp4", "tcp6"}
	}
	return []string{"tcp4", "tcp6", "unix"}
}

// Open opens the row's backend, and at the end of the test closes it and looks
// for leaks. A row that this machine cannot have skips the test.
func (r Row) Open(t testing.TB, change ...func(*ringfd.Options)) *ringfd.Backend {
	t.Helper()
	o := r.Options
	for _, c := range change {
		c(&o)
	}
	b, err := ringfd.Open(o)
	if unavailable, ok := errors.AsType[*ringfd.UnavailableError](err); ok {
		t.Skipf("%v (a kernel that allows io_uring would make this run)", unavailable)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leak.Backend(t, b)
		wantNoneWaited(t, b)
		if err := b.Close(); err != nil {
			t.Errorf("Backend.Close: %v", err)
		}
	})
	return b
}

// wantNoneWaited fails the test if a request of a goroutine waits in the kernel, or ever
// did: a poller gives up a ring in which one does.
func wantNoneWaited(t testing.TB, b *ringfd.Backend) {
	t.Helper()
	if s := b.Stats(); s.InFlight != 0 || s.RingsLost != 0 {
		t.Errorf("%d requests of goroutines wait in the kernel, and %d rings were lost", s.InFlight, s.RingsLost)
	}
}
