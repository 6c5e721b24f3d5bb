package ringfd_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// The benchmarks name what they vary, so that benchstat puts the backends side
// by side:
//
//	go test -run='^$' -bench=. -count=10 . > new && benchstat -col /backend new
//
// Both ends of a connection are in this process and share its processors: the
// figures show what changed from one commit to the next. What a server costs is
// for `make bench` to say.

const busyPoll = "io_uring-busy-poll"

// eachBackend runs f on net, on io_uring and on those rows of the conformance
// suite that are named besides. What this machine cannot have is skipped.
func eachBackend(b *testing.B, f func(b *testing.B, row conformance.Row), besides ...string) {
	for _, row := range conformance.Rows() {
		for _, name := range append(besides, "net", "io_uring") {
			if row.Name == name {
				b.Run("backend="+name, func(b *testing.B) { f(b, row) })
			}
		}
	}
}

// benchNetworks are TCP and, where there are any, unix sockets.
func benchNetworks() (networks []string) {
	for _, n := range conformance.Networks() {
		if n != "tcp6" {
			networks = append(networks, n)
		}
	}
	return networks
}

// open opens the row's backend for the length of the benchmark.
func open(b *testing.B, row conformance.Row, network string) *conformance.Env {
	return &conformance.Env{Row: row, Network: network, Backend: row.Open(b)}
}

// echoing returns a connection whose other end sends back what it gets.
func echoing(b *testing.B, e *conformance.Env) *fd.FD {
	b.Helper()
	client, server := e.Pair(b)
	var echo sync.WaitGroup
	echo.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err == nil {
				_, err = server.Write(buf[:n])
			}
			if err != nil {
				if !fd.PeerClosed(err) {
					b.Errorf("the echo: %v", err)
				}
				return
			}
		}
	})
	b.Cleanup(func() {
		_ = client.Close()
		echo.Wait()
	})
	return client
}

// exchange sends message and waits for as many bytes to come back.
func exchange(client *fd.FD, message, buf []byte) error {
	if _, err := client.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(client, buf[:len(message)])
	return err
}

// wantNoAllocs fails the benchmark if f allocates. It also warms f up.
func wantNoAllocs(b *testing.B, f func() error) {
	b.Helper()
	if n := testing.AllocsPerRun(100, func() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}); n != 0 {
		b.Fatalf("%v allocations per operation, want none", n)
	}
}

// reportEnters reports how often an operation entered the kernel through a
// ring, when before is the counter from before the loop.
func reportEnters(b *testing.B, backend *ringfd.Backend, before uint64) {
	if backend.Kind() == ringfd.IOUring {
		b.ReportMetric(float64(backend.Stats().Enters-before)/float64(b.N), "enters/op")
	}
}

// waiting starts a Read on f that has nothing to read, and returns when it
// waits. The Read ends when f is closed.
func waiting(b *testing.B, f *fd.FD) {
	b.Helper()
	var read sync.WaitGroup
	read.Go(func() {
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			b.Errorf("Read: %v, want net.ErrClosed", err)
		}
	})
	b.Cleanup(func() {
		_ = f.Close()
		read.Wait()
	})
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			state, calls, _ := strings.Cut(g, "\n")
			atRest := strings.Contains(state, "[IO wait") || strings.Contains(state, "[chan receive")
			if atRest && strings.Contains(calls, "fd.(*FD).Read(") {
				return
			}
		}
		if time.Now().After(end) {
			b.Fatal("no Read has come to rest in ten seconds")
		}
	}
}
