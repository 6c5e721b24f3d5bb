package ringfd_test

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// BenchmarkPingPong is one message to an echo and back, on one connection.
// MB/s counts the message once.
func BenchmarkPingPong(b *testing.B) {
	for _, network := range benchNetworks() {
		for _, size := range []struct {
			name  string
			bytes int
		}{{"64B", 64}, {"1KiB", 1 << 10}, {"16KiB", 16 << 10}, {"64KiB", 64 << 10}} {
			b.Run("network="+network+"/size="+size.name, func(b *testing.B) {
				eachBackend(b, func(b *testing.B, row conformance.Row) {
					e := open(b, row, network)
					client := echoing(b, e)
					message, buf := make([]byte, size.bytes), make([]byte, size.bytes)
					once := func() error { return exchange(client, message, buf) }
					wantNoAllocs(b, once)
					b.ReportAllocs()
					b.SetBytes(int64(size.bytes))
					before := e.Backend.Stats().Enters
					for b.Loop() {
						if err := once(); err != nil {
							b.Fatal(err)
						}
					}
					reportEnters(b, e.Backend, before)
				}, busyPoll)
			})
		}
	}
}

// BenchmarkConnections is BenchmarkPingPong on 64 connections at once, each
// with a goroutine at either end. An operation is one message there and back.
func BenchmarkConnections(b *testing.B) {
	const connections = 64
	for _, size := range []struct {
		name  string
		bytes int
	}{{"64B", 64}, {"16KiB", 16 << 10}} {
		b.Run(fmt.Sprintf("connections=%d/size=%s", connections, size.name), func(b *testing.B) {
			eachBackend(b, func(b *testing.B, row conformance.Row) {
				e := open(b, row, "tcp4")
				clients := make([]*fd.FD, connections)
				bufs := make([][]byte, connections)
				message := make([]byte, size.bytes)
				for i := range clients {
					clients[i], bufs[i] = echoing(b, e), make([]byte, size.bytes)
					if err := exchange(clients[i], message, bufs[i]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				b.SetBytes(int64(size.bytes))
				var left atomic.Int64 // messages to send
				left.Store(int64(b.N))
				var senders sync.WaitGroup
				enters, mallocs := e.Backend.Stats().Enters, mallocs()
				b.ResetTimer()
				for i := range clients {
					senders.Go(func() {
						for left.Add(-1) >= 0 {
							if err := exchange(clients[i], message, bufs[i]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				senders.Wait()
				b.StopTimer()
				wantFew(b, mallocs)
				reportEnters(b, e.Backend, enters)
			})
		})
	}
}

// mallocs returns how many allocations this process has made.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// wantFew fails the benchmark if it allocated as often as once per operation
// since before. It has no say on a run so short that its goroutines count.
func wantFew(b *testing.B, before uint64) {
	b.Helper()
	const enough = 1000
	if n := (mallocs() - before) / uint64(b.N); b.N >= enough && n != 0 {
		b.Fatalf("%d allocations per operation, want none", n)
	}
}

// BenchmarkWritev writes many buffers with one call and reads them at the
// other end, on one goroutine.
func BenchmarkWritev(b *testing.B) {
	for _, c := range []struct{ buffers, size int }{{2, 64}, {16, 64}, {1024, 16}} { // 1024 is IOV_MAX
		b.Run(fmt.Sprintf("buffers=%d/size=%dB", c.buffers, c.size), func(b *testing.B) {
			eachBackend(b, func(b *testing.B, row conformance.Row) {
				e := open(b, row, "tcp4")
				from, to := e.Pair(b)
				buffers := make([][]byte, c.buffers)
				for i := range buffers {
					buffers[i] = make([]byte, c.size)
				}
				buf := make([]byte, c.buffers*c.size)
				once := func() error {
					if _, err := from.Writev(buffers); err != nil {
						return err
					}
					_, err := io.ReadFull(to, buf)
					return err
				}
				wantNoAllocs(b, once)
				b.ReportAllocs()
				b.SetBytes(int64(len(buf)))
				before := e.Backend.Stats().Enters
				for b.Loop() {
					if err := once(); err != nil {
						b.Fatal(err)
					}
				}
				reportEnters(b, e.Backend, before)
			})
		})
	}
}

// BenchmarkReadReady reads 64 bytes that are there already. Filling the socket
// up is not measured.
func BenchmarkReadReady(b *testing.B) {
	const size, stock = 64, 256
	for _, network := range benchNetworks() {
		b.Run("network="+network, func(b *testing.B) {
			eachBackend(b, func(b *testing.B, row conformance.Row) {
				e := open(b, row, network)
				from, to := e.Pair(b)
				fill, buf := make([]byte, stock*size), make([]byte, size)
				left := 0 // messages in the socket
				once := func() error {
					if left == 0 {
						b.StopTimer()
						if _, err := from.Write(fill); err != nil {
							return err
						}
						left = stock
						b.StartTimer()
					}
					left--
					_, err := io.ReadFull(to, buf)
					return err
				}
				wantNoAllocs(b, once)
				b.ReportAllocs()
				b.SetBytes(size)
				for b.Loop() {
					if err := once(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
