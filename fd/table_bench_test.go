package fd_test

import (
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// BenchmarkTable works on a table of a thousand FDs. Nothing but the walk,
// which takes a snapshot, may allocate.
func BenchmarkTable(b *testing.B) {
	const size = 1000
	var table fd.Table[int]
	fds := make([]*fd.FD, size)
	for i := range fds {
		fds[i] = fd.New(&fakeSocket{}, nil)
		table.Store(fds[i], i)
	}
	stranger := fd.New(&fakeSocket{}, nil)
	i := 0
	next := func() *fd.FD {
		i = (i + 1) % size
		return fds[i]
	}
	for _, c := range []struct {
		name string
		call func()
	}{
		{"load=hit", func() {
			if _, ok := table.Load(next()); !ok {
				b.Fatal("an FD of the table is not found")
			}
		}},
		{"load=miss", func() {
			if _, ok := table.Load(stranger); ok {
				b.Fatal("an FD that is not in the table is found")
			}
		}},
		{"store=anew", func() { table.Store(next(), 1) }},
		{"delete=and-store", func() { // a connection goes, another comes
			f := next()
			if _, ok := table.Delete(f); !ok {
				b.Fatal("an FD of the table is not found")
			}
			table.Store(f, 1)
		}},
	} {
		b.Run(c.name, func(b *testing.B) { withoutAllocs(b, c.call) })
	}
	b.Run("load=by-all", func(b *testing.B) { // at once, on every P
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, ok := table.LoadID(fds[i%size].ID()); !ok {
					b.Error("an FD of the table is not found")
				}
			}
		})
	})
	b.Run("walk=1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for range table.All() {
				n++
			}
			if n != size {
				b.Fatalf("the walk met %d entries, want %d", n, size)
			}
		}
	})
}
