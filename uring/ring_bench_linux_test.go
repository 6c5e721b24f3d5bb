package uring

import (
	"fmt"
	"testing"
)

// BenchmarkRing submits requests that do nothing and takes their completions:
// what a ring costs without sockets, goroutines and locks. An operation is one
// batch, with one system call; setup=plain has none of the flags that the engine
// uses.
func BenchmarkRing(b *testing.B) {
	needRing(b)
	for _, setup := range []struct {
		name  string
		flags uint32
	}{{"used", setupFlags(Probe().Found & usedFeatures)}, {"plain", 0}} {
		for _, batch := range []uint32{1, 8, 64} {
			b.Run(fmt.Sprintf("setup=%s/batch=%d", setup.name, batch), func(b *testing.B) {
				r, err := newRing(64, 128, setup.flags)
				if err != nil {
					b.Fatal(err)
				}
				defer r.close()
				request := nop(1)
				b.ReportAllocs()
				for b.Loop() {
					for range batch {
						r.push(request)
					}
					if errno := r.enter(batch, 0, 0); errno != 0 {
						b.Fatal(errno)
					}
					if n := r.ready(); n != batch {
						b.Fatalf("%d completions of %d requests", n, batch)
					}
					r.advance(batch)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch), "ns/request")
			})
		}
	}
}
