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

// BenchmarkOpTable gives slots to the ops of a connection and takes them back,
// and finds ops among a thousand, as is done for each completion.
func BenchmarkOpTable(b *testing.B) {
	var table opTable
	ops := make([]op, 1000)
	requests := make([]uint64, len(ops))
	for i := range ops {
		if !table.add(&ops[i]) {
			b.Fatal("the table is full")
		}
		requests[i] = submitted(&ops[i])
	}
	b.Run("do=add-remove", func(b *testing.B) {
		var read, write op
		withoutAllocs(b, func() {
			if !table.add(&read) || !table.add(&write) {
				b.Fatal("the table is full")
			}
			table.remove(&read)
			table.remove(&write)
		})
	})
	i := 0
	b.Run("do=lookup", func(b *testing.B) {
		withoutAllocs(b, func() {
			i = (i + 1) % len(ops)
			if table.lookup(requests[i]) != &ops[i] {
				b.Fatal("a request does not lead to its op")
			}
		})
	})
	b.Run("do=lookup-stale", func(b *testing.B) {
		withoutAllocs(b, func() {
			i = (i + 1) % len(ops)
			if table.lookup(requests[i]-1) != nil {
				b.Fatal("an old request leads to an op")
			}
		})
	})
	b.Run("do=lookup-by-all", func(b *testing.B) { // at once, on every P
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if table.lookup(requests[i%len(ops)]) != &ops[i%len(ops)] {
					b.Error("a request does not lead to its op")
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
