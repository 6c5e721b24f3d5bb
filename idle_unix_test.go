//go:build unix

package ringfd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// TestIdleConnectionsUseNoCPU holds a thousand FDs with a Read pending on each
// and looks at the processor time of the process: in the quietest of a few
// windows it is less than one part in two hundred.
func TestIdleConnectionsUseNoCPU(t *testing.T) {
	const pairs, windows, window = 500, 10, 100 * time.Millisecond
	for _, row := range conformance.Rows() {
		if row.Core {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			b := row.Open(t)
			l, err := b.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var readers sync.WaitGroup
			defer readers.Wait()
			for range pairs {
				client, err := b.Dial(context.Background(), "tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				server, _, err := l.Accept(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range []*fd.FD{client, server} {
					defer f.Close()
					readers.Go(func() {
						// Whichever end is closed first, nothing was sent.
						if _, err := f.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
							t.Errorf("Read: %v, want net.ErrClosed or io.EOF", err)
						}
					})
				}
			}
			runtime.GC()
			least := window
			for range windows {
				before := processorTime(t)
				time.Sleep(window) // what is measured is that nothing happens
				least = min(least, processorTime(t)-before)
			}
			if limit := window / 200; least > limit {
				t.Errorf("%d idle connections took %v of processor time in %v, want at most %v", 2*pairs, least, window, limit)
			}
		})
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
