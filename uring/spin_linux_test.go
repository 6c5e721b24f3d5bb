package uring

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/internal/child"
)

const (
	pingRounds      = 500
	pingConnections = "RINGFD_TEST_PINGS"
)

// pings bounces a byte off the peer of each descriptor that this process was
// given, and is another process because it must not compete for the P.
func pings() any {
	n, err := strconv.Atoi(os.Getenv(pingConnections))
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			const first = 3
			buf := make([]byte, 1)
			for range pingRounds {
				if _, err := unix.Write(first+i, buf); err != nil {
					panic(err)
				}
				if n, err := unix.Read(first+i, buf); n != 1 {
					panic(err)
				}
			}
			_ = unix.Shutdown(first+i, unix.SHUT_WR)
		})
	}
	wg.Wait()
	return nil
}

// serve echoes what another process sends on n connections, and says how long
// that took.
func serve(t *testing.T, n int, busyPoll time.Duration) (Stats, time.Duration) {
	t.Helper()
	e := newEngine(t, Config{BusyPoll: busyPoll})
	c := child.Command("pings", pingConnections+"="+strconv.Itoa(n))
	c.Stderr = os.Stderr
	var wg sync.WaitGroup
	defer wg.Wait()
	for range n {
		s, peer := newPair(t, e)
		dup, err := unix.Dup(peer)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(dup), "peer")
		defer f.Close()
		c.ExtraFiles = append(c.ExtraFiles, f)
		wg.Go(func() {
			if err := echo(s); err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	return e.Stats(), time.Since(start)
}

// TestSpinFinds has data come while a reader spins, often enough for one that
// is not interrupted meanwhile.
func TestSpinFinds(t *testing.T) {
	old := runtime.GOMAXPROCS(2) // a P for the reader and one for this test
	defer runtime.GOMAXPROCS(old)
	e := newEngine(t, Config{BusyPoll: time.Hour}) // ended by what comes, or by a yield that takes long
	s, peer := newPair(t, e)
	buf := make([]byte, 1)
	until(t, "a receive ends while its reader spins", func() bool {
		before := e.spins.Load() + e.spinsLost.Load()
		read := make(chan error, 1)
		go func() {
			_, err := s.Read(buf)
			read <- err
		}()
		until(t, "the reader spins", func() bool {
			return e.spinning.Load() || e.spins.Load()+e.spinsLost.Load() > before
		})
		if _, err := unix.Write(peer, buf); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		return e.spins.Load() > 0
	})
}

// TestOneSpins has a second reader park at once.
func TestOneSpins(t *testing.T) {
	e := newEngine(t, Config{BusyPoll: time.Hour})
	s, _ := newPair(t, e)
	e.spinning.Store(true)
	if n, errno := s.spin(make([]byte, 1)); errno != unix.EAGAIN {
		t.Errorf("a second reader finds what did not come: %d bytes, %v", n, errno)
	}
	if n := e.spins.Load() + e.spinsLost.Load(); n != 0 || !e.spinning.Load() {
		t.Error("a second reader spins")
	}
}

// TestSpinYields has a spinner compete with seven more connections for the only
// P. One that does not make way takes three to four times as long as none.
func TestSpinYields(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs: a spinner on the only one keeps its peer from answering")
	}
	old := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(old)
	const connections, slower = 8, 2.5
	without, with := time.Hour, time.Hour
	for range 5 { // one quiet moment of the machine is enough
		s, took := serve(t, connections, 0)
		without = min(without, took)
		if s.Spins+s.SpinsLost != 0 {
			t.Fatalf("without BusyPoll readers spin: %+v", s)
		}
		s, took = serve(t, connections, 50*time.Microsecond)
		with = min(with, took)
		if s.Spins+s.SpinsLost == 0 {
			t.Fatalf("with BusyPoll no reader spins: %+v", s)
		}
		if float64(with) < slower*float64(without) {
			return
		}
	}
	t.Errorf("with BusyPoll %v, without %v", with, without)
}
