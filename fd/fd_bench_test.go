package fd_test

import (
	"net"
	"testing"

	"github.com/ringfd/ringfd/fd"
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

// BenchmarkNew makes an FD with its id, on one P and on all.
func BenchmarkNew(b *testing.B) {
	s := &fakeSocket{}
	b.Run("by=one", func(b *testing.B) {
		b.ReportAllocs()
		for last := uint64(0); b.Loop(); {
			id := fd.New(s, nil).ID()
			if id <= last {
				b.Fatalf("the id %d follows %d", id, last)
			}
			last = id
		}
	})
	b.Run("by=all", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for last := uint64(0); pb.Next(); {
				id := fd.New(s, nil).ID()
				if id <= last {
					b.Errorf("the id %d follows %d", id, last)
				}
				last = id
			}
		})
	})
}

// BenchmarkEvents shows what this layer adds to the Read and the Write of a
// socket, which do nothing here: with no events, with none that is set, and with
// ones that count.
func BenchmarkEvents(b *testing.B) {
	s := &fakeSocket{
		read:  func(p []byte) (int, error) { return len(p), nil },
		write: func(p []byte) (int, error) { return len(p), nil },
	}
	count := 0
	buf := make([]byte, 64)
	b.Run("call=read/events=no-fd", func(b *testing.B) { withoutAllocs(b, func() { _, _ = s.Read(buf) }) })
	for _, c := range []struct {
		name   string
		events *fd.Events
	}{
		{"none", nil},
		{"disabled", &fd.Events{}},
		{"enabled", &fd.Events{
			TryRead:  func(uint64, int) { count++ },
			Read:     func(uint64, int, uint64) { count++ },
			TryWrite: func(uint64, int) { count++ },
			Written:  func(uint64, int, uint64) { count++ },
		}},
	} {
		f := fd.Accepted(s, c.events)
		b.Run("call=read/events="+c.name, func(b *testing.B) { withoutAllocs(b, func() { _, _ = f.Read(buf) }) })
		b.Run("call=write/events="+c.name, func(b *testing.B) { withoutAllocs(b, func() { _, _ = f.Write(buf) }) })
	}
}

// BenchmarkConn is the same for the net view.
func BenchmarkConn(b *testing.B) {
	f, _ := connected(64, nil)
	c := f.Conn()
	buf := make([]byte, 64)
	b.Run("call=read", func(b *testing.B) { withoutAllocs(b, func() { _, _ = c.Read(buf) }) })
	b.Run("call=write", func(b *testing.B) { withoutAllocs(b, func() { _, _ = c.Write(buf) }) })
}

// BenchmarkStats reads the counters of an FD.
func BenchmarkStats(b *testing.B) {
	f, _ := connected(64, nil)
	if _, err := f.Read(make([]byte, 64)); err != nil {
		b.Fatal(err)
	}
	withoutAllocs(b, func() {
		if f.Stats().Read == 0 {
			b.Fatal("what was read is not counted")
		}
	})
}

// BenchmarkSocketString prints addresses as the events have them.
func BenchmarkSocketString(b *testing.B) {
	for _, c := range []struct {
		name string
		addr net.Addr
	}{
		{"IPv4", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9732}},
		{"IPv6", &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 9732}},
		{"unix", &net.UnixAddr{Name: "/run/s", Net: "unix"}},
	} {
		b.Run("of="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if fd.SocketString(c.addr) == "" {
					b.Fatal("the address is empty")
				}
			}
		})
	}
}
