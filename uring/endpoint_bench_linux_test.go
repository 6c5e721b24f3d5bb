package uring

import (
	"slices"
	"testing"
)

// withoutAllocs measures call and fails if it allocates.
func withoutAllocs(b *testing.B, call func()) {
	b.Helper()
	if n := testing.AllocsPerRun(100, call); n != 0 {
		b.Fatalf("%v allocations per operation, want none", n)
	}
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}

// BenchmarkEndpointTable gives slots to endpoints and takes them back, and finds
// endpoints among a thousand, as is done for each event.
func BenchmarkEndpointTable(b *testing.B) {
	var table endpointTable
	endpoints := make([]endpoint, 1000)
	tokens := make([]uint64, len(endpoints))
	for i := range endpoints {
		tokens[i], _ = table.add(&endpoints[i])
	}
	b.Run("do=add-remove", func(b *testing.B) {
		var one endpoint
		withoutAllocs(b, func() {
			token, ok := table.add(&one)
			if !ok {
				b.Fatal("the table is full")
			}
			table.remove(token)
		})
	})
	i := 0
	b.Run("do=find", func(b *testing.B) {
		withoutAllocs(b, func() {
			i = (i + 1) % len(endpoints)
			if table.find(tokens[i]) != &endpoints[i] {
				b.Fatal("a token does not lead to its endpoint")
			}
		})
	})
	b.Run("do=find-stale", func(b *testing.B) {
		withoutAllocs(b, func() {
			i = (i + 1) % len(endpoints)
			if table.find(tokens[i]-1<<32) != nil {
				b.Fatal("an old token leads to an endpoint")
			}
		})
	})
	b.Run("do=find-by-all", func(b *testing.B) { // at once, on every P
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if table.find(tokens[i%len(tokens)]) != &endpoints[i%len(tokens)] {
					b.Error("a token does not lead to its endpoint")
				}
			}
		})
	})
}

// BenchmarkVector describes many buffers to the kernel, for one Writev.
func BenchmarkVector(b *testing.B) {
	buffers := slices.Repeat([][]byte{make([]byte, 16)}, maxVectors)
	var v vector
	withoutAllocs(b, func() {
		if n := v.fill(buffers, 0); n != 16*maxVectors {
			b.Fatalf("%d bytes are described, want %d", n, 16*maxVectors)
		}
		v.clear()
	})
}
