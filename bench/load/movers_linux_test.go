package load

import (
	"testing"
	"time"
)

// Before Linux 5.11 epoll waits in milliseconds.
func TestEpollInMilliseconds(t *testing.T) {
	spec := Spec{Workload: Echo, Conns: 4, Depth: 1, Request: 64, Rate: 1000}
	serveWorkload(t, "tcp4", &spec)
	spec.Driver = Epoll
	g := mustOpen(t, spec)
	g.driver.(*thread).mover.(*epollMover).coarse = true
	r := mustRun(t, g, 30*time.Millisecond)
	if r.Messages != 30 {
		t.Errorf("%d messages at 1000 per second in 30 ms", r.Messages)
	}
	checkSums(t, Spec{Workload: Echo, Conns: 4, Depth: 1, Request: 64}, r)
}

// With more replies under way than there are buffers, receives end for want of
// them, and go on.
func TestRingWithoutBuffers(t *testing.T) {
	if nativeDrivers(t)[0] != Ring {
		t.Skip("io_uring is needed")
	}
	spec := Spec{Workload: Exchange, Conns: 40, Depth: 4, Request: 8, Reply: 256 << 10}
	serveWorkload(t, "tcp4", &spec)
	spec.Driver = Ring
	g := mustOpen(t, spec)
	m := g.driver.(*thread).mover.(*ringMover)
	if buffers := int(m.mask) + 1; buffers*m.bufferSize > spec.Conns*spec.Depth*spec.Reply/4 {
		t.Fatalf("%d buffers are enough for all", buffers)
	}
	r := mustRun(t, g, 30*time.Millisecond)
	checkSums(t, spec, r)
	if m.starved == 0 {
		t.Error("buffers were always there")
	}
}

// A queue that is full is submitted to make room.
func TestRingWithSmallQueue(t *testing.T) {
	if nativeDrivers(t)[0] != Ring {
		t.Skip("io_uring is needed")
	}
	spec := Spec{Workload: Echo, Conns: 40, Depth: 2, Request: 64}
	serveWorkload(t, "tcp4", &spec)
	s := newScript(spec, nil)
	d, err := openThread(s, func(s *script) (mover, error) {
		m, err := newRingMover(s)
		if err == nil {
			// As if it had so few entries; the others stay unused.
			m.(*ringMover).ring.limit = 4
		}
		return m, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.drive(running, 20*time.Millisecond); err != nil {
		t.Error(err)
	}
	if s.result.Messages < 80 || s.result.Sent != s.result.Received {
		t.Errorf("%+v", s.result)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
