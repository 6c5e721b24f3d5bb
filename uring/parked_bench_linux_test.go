package uring

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkRequest runs requests that do nothing through one parked ring: the
// locks, the flusher that yields, the completion. Many goroutines share their
// entries into the kernel.
func BenchmarkRequest(b *testing.B) {
	for _, goroutines := range []int{1, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			e := newEngine(b, Config{Without: FeatureRestrictions}) // a nop is not on the list
			p := e.rings[0]
			ops := make([]op, goroutines)
			for i := range ops {
				o := &ops[i]
				if !p.addOp(o) {
					b.Fatal("the table of ops is full")
				}
				b.Cleanup(func() { p.ops.remove(o) })
				o.sqe = sqe{opcode: opNop}
			}
			once := func(o *op) {
				if _, err := p.run(o, false); err != nil {
					b.Error(err)
				}
			}
			if n := testing.AllocsPerRun(100, func() { once(&ops[0]) }); n != 0 {
				b.Fatalf("%v allocations per request, want none", n)
			}
			before := e.Stats().Enters
			b.ReportAllocs()
			if goroutines == 1 {
				for b.Loop() {
					once(&ops[0])
				}
			} else {
				var left atomic.Int64 // requests to run
				left.Store(int64(b.N))
				var runners sync.WaitGroup
				b.ResetTimer()
				for i := range ops {
					runners.Go(func() {
						for left.Add(-1) >= 0 {
							once(&ops[i])
						}
					})
				}
				runners.Wait()
			}
			b.ReportMetric(float64(e.Stats().Enters-before)/float64(b.N), "enters/op")
		})
	}
}

// BenchmarkCancel submits a receive that has nothing to receive, and aborts
// it, as a deadline, a context and Close do.
func BenchmarkCancel(b *testing.B) {
	e := newEngine(b, Config{})
	s, _ := newPair(b, e)
	p, o := s.ring, &s.read.op
	buf := make([]byte, 64)
	before, calls := e.Stats().Enters, 0
	withoutAllocs(b, func() {
		calls++
		o.buf = buf
		o.sqe = sqe{opcode: opRecv, fd: s.sysfd, addr: address(buf), len: length(buf)}
		if err := p.submit(o); err != nil {
			b.Fatal(err)
		}
		p.abort(o, abortDeadline, os.ErrDeadlineExceeded)
		p.wait(o, false)
		if o.res != -int32(syscall.ECANCELED) {
			b.Fatalf("the receive ended with %d, want ECANCELED", o.res)
		}
		p.allow(o, abortDeadline)
		o.buf = nil
	})
	b.ReportMetric(float64(e.Stats().Enters-before)/float64(calls), "enters/op")
}

// BenchmarkReceive receives what is there already: the least that a Read costs
// on a ring, and beside it the system call alone.
func BenchmarkReceive(b *testing.B) {
	e := newEngine(b, Config{})
	s, peer := newPair(b, e)
	const size, stock = 64, 256
	fill, buf := make([]byte, size*stock), make([]byte, size)
	for _, c := range []struct {
		name    string
		receive func() (int, error)
	}{
		{"ring", func() (int, error) { return s.Read(buf) }},
		{"syscall", func() (int, error) { return unix.Read(int(s.sysfd), buf) }},
	} {
		b.Run("by="+c.name, func(b *testing.B) {
			left := 0 // messages in the socket
			withoutAllocs(b, func() {
				if left == 0 {
					b.StopTimer()
					if _, err := unix.Write(peer, fill); err != nil {
						b.Fatal(err)
					}
					left = stock
					b.StartTimer()
				}
				left--
				if n, err := c.receive(); n != size || err != nil {
					b.Fatalf("received %d bytes, %v", n, err)
				}
			})
			b.StopTimer()
			for ; left > 0; left-- { // for the next one to find none
				if _, err := unix.Read(int(s.sysfd), buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
