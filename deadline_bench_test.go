package ringfd_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// BenchmarkSetDeadline moves both deadlines of a connection on: while nobody
// uses it, and while a Read waits. It fails if that enters a ring.
func BenchmarkSetDeadline(b *testing.B) {
	for _, state := range []struct {
		name  string
		reach func(*testing.B, *fd.FD)
	}{
		{"idle", func(*testing.B, *fd.FD) {}},
		{"waiting", waiting},
	} {
		b.Run("read="+state.name, func(b *testing.B) {
			eachBackend(b, func(b *testing.B, row conformance.Row) {
				e := open(b, row, "tcp4")
				client, _ := e.Pair(b)
				state.reach(b, client)
				once := func() error { return client.SetDeadline(time.Now().Add(time.Hour)) }
				if err := once(); err != nil { // makes the timers
					b.Fatal(err)
				}
				wantNoAllocs(b, once)
				b.ReportAllocs()
				before := e.Backend.Stats().Enters
				for b.Loop() {
					if err := once(); err != nil {
						b.Fatal(err)
					}
				}
				if n := e.Backend.Stats().Enters - before; n != 0 {
					b.Fatalf("%d deadlines entered the kernel %d times, want never", b.N, n)
				}
			})
		})
	}
}

// BenchmarkReadDeadline is a Read that its deadline ends: one that had passed
// before, and one that passes while the Read waits. The latter reports how late
// after the deadline the Read returned.
func BenchmarkReadDeadline(b *testing.B) {
	expire := func(b *testing.B, f *fd.FD, buf []byte) {
		if _, err := f.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			b.Fatalf("Read: %v, want os.ErrDeadlineExceeded", err)
		}
	}
	b.Run("when=before", func(b *testing.B) {
		eachBackend(b, func(b *testing.B, row conformance.Row) {
			e := open(b, row, "tcp4")
			client, _ := e.Pair(b)
			buf := make([]byte, 1)
			if err := client.SetReadDeadline(time.Unix(1, 0)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				expire(b, client, buf)
			}
		})
	})
	b.Run("when=waiting", func(b *testing.B) {
		eachBackend(b, func(b *testing.B, row conformance.Row) {
			const wait = 100 * time.Microsecond
			e := open(b, row, "tcp4")
			client, _ := e.Pair(b)
			buf := make([]byte, 1)
			var late time.Duration
			b.ReportAllocs()
			for b.Loop() {
				deadline := time.Now().Add(wait)
				if err := client.SetReadDeadline(deadline); err != nil {
					b.Fatal(err)
				}
				expire(b, client, buf)
				late += time.Since(deadline)
			}
			b.ReportMetric(float64(late.Nanoseconds())/float64(b.N), "late-ns/op")
		})
	})
}
