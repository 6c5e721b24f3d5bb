package chaos

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/child"
)

// fault is something nasty that goes on while there is traffic.
type fault struct {
	name   string
	volume int // of a client, in bytes
	begin  func(t testing.TB, s *site) (end func())
}

// How much a client echoes in a round: usually, and where each call takes a while.
const usual, little = 512 << 10, 8 << 10

// faults are all that this system knows.
func faults() []fault { return append(portable, ofLinux...) }

var portable = []fault{
	{"hogs", usual, hogs},
	{"computing", little, computing},
	{"collector", usual, collector},
	{"threads", usual, dyingThreads},
	{"peers", usual, peers},
}

// TestTraffic echoes under each fault.
func TestTraffic(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			eachStyle(t, func(t *testing.T, s style) {
				site := s.open(t)
				site.listen(t)
				end := f.begin(t, site)
				defer end()
				begun := time.Now()
				rounds(func() { site.traffic(t, connections, f.volume) })
				t.Logf("%d bytes came back in %v", site.echoed.Load(), time.Since(begun))
			})
		})
	}
}

// connections are how many clients echo at a time.
const connections = 6

// repeat has so many goroutines call f again and again until end is called, which
// waits for them. An error ends it, and fails the test.
func repeat(t testing.TB, goroutines int, f func() error) (end func()) {
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		close(stop)
		group.Wait()
	}
}

// hogs keep every core busy: a process with a thread for each.
func hogs(t testing.TB, _ *site) (end func()) {
	hog := child.Command("hog")
	hog.Stderr = os.Stderr
	in, err := hog.StdinPipe()
	if err == nil {
		err = hog.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = in.Close() // ends it
		if err := hog.Wait(); err != nil {
			t.Errorf("the hog: %v", err)
		}
	}
}

// computing keeps every P busy: with goroutines that only stop when they are made to,
// after 10 ms.
func computing(t testing.TB, _ *site) (end func()) {
	return repeat(t, runtime.GOMAXPROCS(0), func() error {
		for range 1 << 20 {
		}
		return nil
	})
}

// collector has garbage collected all the time, and the stacks of all calls grow and
// shrink.
func collector(t testing.TB, s *site) (end func()) {
	percent := debug.SetGCPercent(1)
	s.deep.Store(true)
	stop := repeat(t, 1, func() error {
		garbage := make([][]byte, 100)
		for i := range garbage {
			garbage[i] = make([]byte, 1<<10)
		}
		runtime.GC()
		return nil
	})
	return func() {
		stop()
		s.deep.Store(false)
		debug.SetGCPercent(percent)
	}
}

// dyingThreads have threads connect, write and read, and end: what they asked the
// kernel for, on behalf of others too, must go on.
func dyingThreads(t testing.TB, s *site) (end func()) {
	return repeat(t, 2, s.dyingThread)
}

// dyingThread connects several clients on a thread that sends half of what there is
// to send, while others read, and ends. Who reads then sends the rest.
func (s *site) dyingThread() error {
	const clients, half = 4, 3 << 10
	ends := make(chan error, clients)
	given := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		defer close(given)
		for range clients {
			f, err := s.dial()
			if err != nil {
				given <- err
				break
			}
			begun := make(chan struct{})
			bytes := pattern(s.streams.Add(1))
			go func() {
				close(begun)
				ends <- s.orphan(f, bytes, half)
			}()
			<-begun
			if _, err := f.Write(bytes.at(0, half)); err != nil {
				given <- err
				_ = f.Close()
				break
			}
		}
		runtime.Goexit()
	}()
	err := <-given
	if err != nil {
		return err
	}
	for range clients {
		err = errors.Join(err, <-ends)
	}
	return err
}

// orphan reads back what the thread wrote that connected f, then writes and reads
// as much again.
func (s *site) orphan(f *fd.FD, bytes pattern, half int) error {
	defer f.Close()
	r := &stream{f: f, bytes: bytes, total: 2 * half}
	random := s.random()
	memory := [2][]byte{make([]byte, half), make([]byte, half)}
	for got, turn := 0, 0; got < 2*half; turn++ {
		n, err := r.read(random, memory[turn%2], got)
		if err != nil && !isDeadline(err) {
			return fmt.Errorf("an orphan, after %d of %d bytes: %w", got, 2*half, err)
		}
		if got < half && got+n >= half {
			if _, err := f.Write(bytes.at(half, half)); err != nil {
				return fmt.Errorf("an orphan: %w", err)
			}
		}
		got += n
	}
	return nil
}

func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
