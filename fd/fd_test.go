package fd_test

import (
	"errors"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/fd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSocketString(t *testing.T) {
	for _, c := range []struct {
		addr net.Addr
		want string
	}{
		{nil, ""},
		{(*net.TCPAddr)(nil), ""},
		{(*net.UnixAddr)(nil), ""},
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9732}, "192.0.2.1:9732"},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 9732}, "::1:9732"},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 1}, "192.0.2.1:1"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "eth0"}, "fe80::1%eth0:1"},
		{&net.TCPAddr{Port: 80}, ":::80"},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, "@/run/s"},
		{&net.IPAddr{IP: net.IPv6loopback}, "::1"},
	} {
		if got := fd.SocketString(c.addr); got != c.want {
			t.Errorf("SocketString(%v) = %q, want %q", c.addr, got, c.want)
		}
	}
}

// TestIDs: consecutive, and unique under concurrency.
func TestIDs(t *testing.T) {
	first := fd.New(&fakeSocket{}, nil).ID()
	if next := fd.Accepted(&fakeSocket{}, nil).ID(); next != first+1 {
		t.Errorf("id %d follows %d", next, first)
	}
	const n = 1000
	ids := make([]uint64, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { ids[i] = fd.New(&fakeSocket{}, nil).ID() })
	}
	group.Wait()
	slices.Sort(ids)
	for i, id := range ids {
		if id != first+2+uint64(i) {
			t.Fatalf("id %d at place %d, want %d", id, i, first+2+uint64(i))
		}
	}
}

// TestCountersPast32Bits: Octez's counters overflowed on real traffic.
func TestCountersPast32Bits(t *testing.T) {
	const huge = math.MaxInt32
	f, _ := connected(huge, nil)
	for range 3 {
		_, _ = f.Read(make([]byte, 1))
		_, _ = f.Write(make([]byte, 1))
	}
	want := fd.Stats{Read: 3 * huge, Written: 3 * huge}
	if got := f.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

// TestPartialWriteIsCounted: what went out before an error did go out.
func TestPartialWriteIsCounted(t *testing.T) {
	for _, err := range []error{os.ErrDeadlineExceeded, syscallErr("write", reset)} {
		f, _ := connected(5, err)
		n, got := f.Write(make([]byte, 10))
		if n != 5 || !errors.Is(got, err) || f.Stats().Written != 5 {
			t.Errorf("Write = %d, %v; the counter says %d", n, got, f.Stats().Written)
		}
	}
}

func TestReasons(t *testing.T) {
	f, _ := connected(0, nil)
	a, b := errors.New("a"), errors.New("b")
	f.AddReason(a)
	_ = f.CloseWithReason(b)
	f.AddReason(errors.New("too late"))
	got := f.Reasons()
	if !slices.Equal(got, []error{b, a}) {
		t.Errorf("Reasons = %v, want the latest first", got)
	}
	got[0] = nil // a copy
	if f.Reasons()[0] != b {
		t.Error("Reasons handed out its own slice")
	}
}

func TestTable(t *testing.T) {
	var table fd.Table[string]
	a, b := fd.New(&fakeSocket{}, nil), fd.New(&fakeSocket{}, nil)
	if _, ok := table.Load(a); ok || table.Len() != 0 {
		t.Error("the zero Table is not empty")
	}
	if _, ok := table.Delete(a); ok {
		t.Error("Delete found something in an empty Table")
	}
	table.Store(a, "a")
	table.Store(b, "b")
	table.Store(a, "A")
	if v, ok := table.Load(a); v != "A" || !ok {
		t.Errorf("Load = %q, %v", v, ok)
	}
	if v, ok := table.LoadID(b.ID()); v != "b" || !ok {
		t.Errorf("LoadID = %q, %v", v, ok)
	}
	if got, want := maps.Collect(table.All()), map[uint64]string{a.ID(): "A", b.ID(): "b"}; !maps.Equal(got, want) {
		t.Errorf("All = %v, want %v", got, want)
	}
	for range table.All() { // changed while walked
		table.Delete(a)
		table.Delete(b)
		break
	}
	if table.Len() != 0 {
		t.Errorf("Len = %d", table.Len())
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				f := fd.New(&fakeSocket{}, nil)
				table.Store(f, "x")
				for range table.All() {
				}
				if v, ok := table.Delete(f); v != "x" || !ok {
					t.Error("an entry is gone")
				}
			}
		})
	}
	group.Wait()
}

// TestConnErrors: the net view of errors that a real socket gives too seldom.
func TestConnErrors(t *testing.T) {
	f, _ := connected(0, io.EOF)
	if _, err := f.Conn().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read: %v (%T), want io.EOF itself", err, err)
	}
	f, _ = connected(0, syscallErr("write", syscall.EIO))
	_, err := f.Conn().Write([]byte("x"))
	if _, ok := err.(*net.OpError); !ok || !errors.Is(err, syscall.EIO) {
		t.Errorf("Write: %v (%T)", err, err)
	}
	if e, ok := errors.AsType[*fd.Error](err); !ok || e.Reason != fd.Unexpected {
		t.Errorf("Write: %v holds no *fd.Error", err)
	}
	if err := f.Conn().Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := f.Conn().Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v, want net.ErrClosed, whatever ended it first", err)
	}
	f, s := connected(0, nil)
	s.option = syscallErr("setsockopt", syscall.EINVAL)
	if err := f.Conn().SetNoDelay(true); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("SetNoDelay: %v", err)
	}
}

// TestDisabledEventsAllocateNothing: nor do enabled ones, of this layer.
func TestDisabledEventsAllocateNothing(t *testing.T) {
	count := 0
	for name, events := range map[string]*fd.Events{
		"none": nil, "disabled": {}, "enabled": {
			TryRead: func(uint64, int) { count++ }, Read: func(uint64, int, uint64) { count++ },
			TryWrite: func(uint64, int) { count++ }, Written: func(uint64, int, uint64) { count++ },
		},
	} {
		s := &fakeSocket{
			read:  func(p []byte) (int, error) { return len(p), nil },
			write: func(p []byte) (int, error) { return len(p), nil },
		}
		f := fd.Accepted(s, events)
		buf := make([]byte, 64)
		if n := testing.AllocsPerRun(100, func() {
			_, _ = f.Read(buf)
			_, _ = f.Write(buf)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if count == 0 {
		t.Error("the enabled events were not told")
	}
}
