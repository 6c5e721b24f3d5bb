package exhaustion

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
	"github.com/ringfd/ringfd/uring"
)

// someThreads is how many the runtime may start as it likes, while the kernel starts none.
const someThreads = 16

// tasks counts the threads of the process, those of the kernel's for it too.
func tasks(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// ringRows are io_uring with all that it can do here, and with the least.
var ringRows = []struct {
	name    string
	without ringfd.Features
}{{"all features", 0}, {"no feature", uring.AllFeatures}}

// TestGoroutinesThatWriteHaveNoThreads has peers shut their half of the connection down
// and read nothing, while goroutines write more to them than their sockets take.
func TestGoroutinesThatWriteHaveNoThreads(t *testing.T) {
	n := 3000
	if raceEnabled {
		n = 500
	}
	for _, row := range ringRows {
		t.Run(row.name, func(t *testing.T) {
			b := open(t, ringfd.Options{Backend: ringfd.IOUring, Without: row.without})
			l, err := b.Listen(context.Background(), "unix", path(t), accept.Config{})
			if err != nil {
				t.Fatal(err)
			}
			message := make([]byte, 256<<10) // of all, by reference
			var wrote atomic.Int64
			var writers sync.WaitGroup
			accepting := make(chan error, 1)
			go func() {
				accepting <- accept.Loop{}.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) {
					writers.Go(func() {
						defer f.Close()
						_ = f.Conn().SetWriteBuffer(4 << 10) // the kernel's memory is not what is measured
						if _, err := f.Read(make([]byte, 1)); err != nil {
							t.Error(err)
						}
						if _, err := f.Write(message); err == nil {
							wrote.Add(1)
						}
					})
				})
			}()
			peers := startPeers(t, "half", l.Addr().String(), n)
			until(t, "every connection is accepted", func() bool { return b.Stats().Sockets == n })
			before := tasks(t)
			peers.begin()
			peers.ready()
			until(t, "every Write waits", func() bool { return conformance.AtRest("fd.(*FD).Write") == n })
			if now := tasks(t); now > before+someThreads {
				t.Errorf("%d writes that wait have %d threads, and there were %d before", n, now, before)
			} else {
				t.Logf("%d writes wait on %d threads; before there were %d", n, now, before)
			}
			if n := wrote.Load(); n != 0 {
				t.Errorf("%d writes did not wait: the test shows nothing", n)
			}
			if s := b.Stats(); s.InFlight != 0 || s.RingsLost != 0 {
				t.Errorf("requests wait in the kernel: %+v", s)
			}
			if err := b.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			writers.Wait()
			if err := <-accepting; err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("accepting ended with %v", err)
			}
			peers.stop()
		})
	}
}

// TestDialsToAFullBacklogHaveNoThreads dials a unix socket whose backlog is full, again
// and again and many at a time. On a socket that blocks, connect(2) would wait.
func TestDialsToAFullBacklogHaveNoThreads(t *testing.T) {
	const dials = 500
	for _, row := range ringRows {
		t.Run(row.name, func(t *testing.T) {
			b := open(t, ringfd.Options{Backend: ringfd.IOUring, Without: row.without})
			defer b.Close()
			address := path(t)
			l, err := b.Listen(context.Background(), "unix", address, accept.Config{Backlog: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			before := tasks(t)
			var refused atomic.Int64
			var all sync.WaitGroup
			for range dials {
				all.Go(func() {
					f, err := b.Dial(context.Background(), "unix", address)
					switch {
					case errors.Is(err, syscall.EAGAIN):
						refused.Add(1)
					case err != nil:
						t.Error(err)
					default:
						_ = f.Close()
					}
				})
			}
			all.Wait()
			if n := refused.Load(); n < dials-16 {
				t.Errorf("%d of %d dials were refused", n, dials)
			}
			if now := tasks(t); now > before+someThreads {
				t.Errorf("%d dials have %d threads, and there were %d before", dials, now, before)
			}
		})
	}
}
