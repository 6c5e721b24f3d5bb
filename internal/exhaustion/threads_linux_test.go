package exhaustion

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/uring"
)

const (
	// moreThreads is how many threads the process may get while its writes are stuck:
	// the runtime starts some as it likes, the kernel none.
	moreThreads = 16
	// fewTurns is how often all loops may go round in a second in which nothing happens.
	fewTurns = 20
	// tooMuch is what is written to each peer, whose socket takes smallBuffer or so.
	tooMuch, smallBuffer = 256 << 10, 4 << 10
)

// stuckStyle is a way to write to peers that half-close and never read.
type stuckStyle struct {
	name string
	// serve serves l until that is closed. It calls s.write or s.begun for each
	// connection, once its peer has asked.
	serve func(s *stuckServer, l *accept.Listener) error
}

var stuckStyles = []stuckStyle{
	{"goroutines", func(s *stuckServer, l *accept.Listener) error {
		var handlers sync.WaitGroup
		defer handlers.Wait()
		return accept.Loop{}.Run(context.Background(), l, func(f *fd.FD, _ net.Addr) {
			handlers.Go(func() {
				if s.ask(f) {
					s.write(f, false)
				}
			})
		})
	}},
	{"blocking", func(s *stuckServer, l *accept.Listener) error {
		return s.b.Serve(context.Background(), l, ringfd.Handler{Blocking: func(f *fd.FD) {
			if s.ask(f) {
				s.write(f, false)
			}
		}})
	}},
	{"data", func(s *stuckServer, l *accept.Listener) error {
		return s.b.Serve(context.Background(), l, ringfd.Handler{
			Open: s.shrink,
			Data: func(f *fd.FD, _ []byte) { s.write(f, true) },
		})
	}},
	{"broadcast", func(s *stuckServer, l *accept.Listener) error {
		return s.b.Serve(context.Background(), l, ringfd.Handler{Blocking: func(f *fd.FD) {
			if s.ask(f) {
				s.asked <- f
				f.Offload(func() { <-s.ended })
			}
		}})
	}},
}

// stuckServer writes more to each connection than its socket takes.
type stuckServer struct {
	t       *testing.T
	b       *ringfd.Backend
	message []byte // of all, by reference
	begun   atomic.Int64
	asked   chan *fd.FD // who is to get a broadcast
	ending  atomic.Bool
	ended   chan struct{}
}

// shrink makes the socket take little: the kernel's memory is not what is measured.
func (s *stuckServer) shrink(f *fd.FD) {
	if err := f.Conn().SetWriteBuffer(smallBuffer); err != nil {
		s.t.Error(err)
	}
}

// ask waits for the peer to ask.
func (s *stuckServer) ask(f *fd.FD) bool {
	s.shrink(f)
	_, err := f.Read(make([]byte, 1))
	return err == nil
}

// write begins a Write that gets stuck, but in a data handler, which leaves it to its loop.
func (s *stuckServer) write(f *fd.FD, leaves bool) {
	s.begun.Add(1)
	n, err := f.Write(s.message)
	if !s.ending.Load() && !(err == nil && leaves) {
		s.t.Errorf("a Write ended with %d, %v", n, err)
	}
}

// broadcast gets stuck in one Broadcast to n connections.
func (s *stuckServer) broadcast(ctx context.Context, n int) {
	fds := make([]*fd.FD, n)
	for i := range fds {
		fds[i] = <-s.asked
	}
	s.begun.Add(int64(n))
	_ = s.b.Broadcast(ctx, fds, s.message)
}

// turns is how often all loops went round.
func (s *stuckServer) turns() (n uint64) {
	for _, l := range s.b.Stats().Loops {
		n += l.Turns
	}
	return n
}

// awaitStuck waits until the writes of n connections have begun, and nothing goes on: no
// loop takes a turn for a while.
func (s *stuckServer) awaitStuck(n int) {
	s.t.Helper()
	const rest = 250 * time.Millisecond
	until(s.t, "every write has begun", func() bool { return s.begun.Load() == int64(n) })
	turns, since := s.turns(), time.Now()
	until(s.t, "the writes are stuck, and nothing goes on", func() bool {
		if now := s.turns(); now > turns {
			turns, since = now, time.Now()
		}
		return time.Since(since) > rest
	})
}

// threads counts those of the process.
func threads(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestStuckWritesHaveNoThreads has peers shut their half of the connection down and read
// nothing, while more is written to them than their sockets take. No write occupies a
// thread, and nobody spins.
func TestStuckWritesHaveNoThreads(t *testing.T) {
	n := 3000
	if raceEnabled {
		n = 500
	}
	for _, style := range stuckStyles {
		for _, masked := range []struct {
			name    string
			without ringfd.Features
		}{{"all features", 0}, {"no feature", uring.AllFeatures}} {
			t.Run(style.name+"/"+masked.name, func(t *testing.T) { stuckWrites(t, style, masked.without, n) })
		}
	}
}

func stuckWrites(t *testing.T, style stuckStyle, without ringfd.Features, n int) {
	s := &stuckServer{t: t, message: make([]byte, tooMuch), asked: make(chan *fd.FD, n), ended: make(chan struct{})}
	s.b = open(t, ringfd.Options{Backend: ringfd.IOUring, Without: without, Loops: ringfd.LoopOptions{Drain: time.Hour}})
	l, err := s.b.Listen(context.Background(), "unix", path(t), accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	serving := make(chan error, 1)
	go func() { serving <- style.serve(s, l) }()
	ctx, cancel := context.WithCancel(context.Background())
	broadcasting := make(chan struct{})
	go func() {
		defer close(broadcasting)
		if style.name == "broadcast" {
			s.broadcast(ctx, n)
		}
	}()
	peers := startPeers(t, "half", l.Addr().String(), n)
	until(t, "every connection is accepted", func() bool { return s.b.Stats().Sockets == n })
	before := threads(t)
	peers.begin()
	peers.ready()
	s.awaitStuck(n)

	most, turns := threads(t), s.turns()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		most = max(most, threads(t))
	}
	turned := s.turns() - turns
	t.Logf("with %d stuck writes the process has %d threads, and had %d before; the loops took %d turns in a second", n, most, before, turned)
	if most > before+moreThreads {
		t.Errorf("%d stuck writes have %d threads, and there were %d before", n, most, before)
	}
	if turned > fewTurns {
		t.Errorf("the loops took %d turns in a second in which nothing happened", turned)
	}
	if sockets := s.b.Stats().Sockets; sockets != n {
		t.Errorf("%d of %d connections are left", sockets, n)
	}

	s.ending.Store(true)
	cancel()
	<-broadcasting
	close(s.ended)
	if err := s.b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-serving; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving ended with %v", err)
	}
	peers.stop()
}
