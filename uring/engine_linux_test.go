package uring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

var localhost = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}

// TestTinyRings has many goroutines share rings that hold a few requests.
func TestTinyRings(t *testing.T) {
	e := newEngine(t, Config{Entries: minEntries})
	const connections, rounds = 64, 50
	l, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range connections {
		wg.Go(func() {
			s, err := l.Accept(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := echo(s); err != nil {
				t.Errorf("the server: %v", err)
			}
		})
		wg.Go(func() {
			s := e.NewSocket(&fd.DialConfig{})
			defer s.Close()
			if err := s.Connect(context.Background(), l.Addr()); err != nil {
				t.Error(err)
				return
			}
			got := make([]byte, 64)
			for round := range rounds {
				want := fmt.Sprintf("round %d of connection %d", round, i)
				if _, err := s.Write([]byte(want)); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(s, got[:len(want)]); err != nil || string(got[:len(want)]) != want {
					t.Errorf("sent %q, got %q, %v", want, got[:len(want)], err)
					return
				}
			}
		})
	}
}

// echo sends back what comes until the peer closes.
func echo(s fd.Socket) error {
	buf := make([]byte, 4096)
	for {
		n, err := s.Read(buf)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			_, err = s.Write(buf[:n])
		}
		if err != nil {
			return err
		}
	}
}

// TestOverflowLosesNothing has more receives end at once than the completion
// queue holds.
func TestOverflowLosesNothing(t *testing.T) {
	e := newEngine(t, Config{Entries: minEntries})
	perRing := minEntries*cqPerSQ + 50
	var peers []int
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range perRing * len(e.rings) {
		s, peer := newPair(t, e)
		peers = append(peers, peer)
		wg.Go(func() {
			buf := make([]byte, 8)
			n, err := s.Read(buf)
			if err != nil || n != 1 || buf[0] != byte(i) {
				t.Errorf("connection %d: read %d bytes, %v", i, n, err)
			}
		})
	}
	until(t, "every receive is submitted", func() bool { return e.Stats().InFlight == len(peers) && !anyQueued(e) })
	for _, p := range e.rings {
		p.harvestMu.Lock() // nothing takes completions now
	}
	for i, peer := range peers {
		if _, err := unix.Write(peer, []byte{byte(i)}); err != nil {
			t.Error(err)
		}
	}
	for _, p := range e.rings {
		until(t, "the completion queue overflows", func() bool { return p.ring.flags()&sqCQOverflow != 0 })
	}
	for _, p := range e.rings {
		p.harvestMu.Unlock()
		p.harvestMu.Lock()
		p.harvest(nil) // in case the reaper had been woken before
	}
	wg.Wait()
	if n := e.Stats().Overflows; n == 0 {
		t.Error("no overflow is counted")
	}
}

func anyQueued(e *Engine) bool {
	for _, p := range e.rings {
		if len(queuedRequests(p)) > 0 {
			return true
		}
	}
	return false
}

// TestFullQueue submits and cancels where the submission queue has no room.
func TestFullQueue(t *testing.T) {
	e := newEngine(t, Config{Entries: minEntries})
	s, peer := newPair(t, e)
	p := s.ring
	fill := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for !p.ring.full() {
			p.push(nothing)
		}
	}
	for round := range 10 {
		fill()
		read := make(chan error, 1)
		before := p.count()
		go func() {
			_, err := s.Read(make([]byte, 1))
			read <- err
		}()
		until(t, "the receive finds room", func() bool { return p.count() > before })
		fill()
		if err := s.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("round %d: Read: %v", round, err)
		}
		fill()
		if err := s.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte{byte(round)}); err != nil {
			t.Fatalf("round %d: Write: %v", round, err)
		}
		buf := make([]byte, 8)
		if n, err := unix.Read(peer, buf); n != 1 || buf[0] != byte(round) {
			t.Fatalf("round %d: the peer read %v, %v", round, buf[:max(n, 0)], err)
		}
	}
	fill()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestSubmitterExits has the thread that submitted a receive end before data
// comes: the kernel cancels the receive, and nobody may notice.
func TestSubmitterExits(t *testing.T) {
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	p := s.ring
	release := hold(p) // so that the receive is not flushed by its own goroutine
	before := p.count()
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	buf := make([]byte, 8)
	go func() {
		n, err := s.Read(buf)
		done <- result{n, err}
	}()
	until(t, "the receive is published", func() bool { return p.count() > before })

	onThreadThatEnds(t, release)
	if _, err := unix.Write(peer, []byte("data")); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil || string(buf[:got.n]) != "data" {
		t.Errorf("read %q, %v", buf[:got.n], got.err)
	}
	if e.Stats().Resubmitted == 0 {
		t.Error("the receive was not cancelled by the end of its thread: the test shows nothing")
	}
}

// onThreadThatEnds runs f on a thread that has ended when it returns.
func onThreadThatEnds(t *testing.T, f func()) {
	t.Helper()
	ran := false
	for !ran {
		thread := make(chan int)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			tid := unix.Gettid()
			if tid != os.Getpid() { // the main thread does not end
				f()
				ran = true
			}
			thread <- tid
		}()
		tid := <-thread
		if ran {
			until(t, "the thread ends", func() bool {
				_, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid))
				return err != nil
			})
		}
	}
}

// TestDeadlineRaces moves the deadline to and fro while bytes come. Each byte
// is received, in its place, whatever happens.
func TestDeadlineRaces(t *testing.T) {
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	const bytes, deadlines = 200, 20 // that the test meets, at least
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var at time.Time // at random, lest the order of turns on one P be always the same
				switch rand.IntN(3) {
				case 0:
					at = time.Unix(1, 0)
				case 1:
					at = time.Now().Add(50 * time.Microsecond)
				}
				if err := s.SetReadDeadline(at); err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
			}
		})
	}
	acknowledged := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			if _, err := unix.Write(peer, []byte{byte(i)}); err != nil {
				t.Error(err)
			}
			select {
			case <-acknowledged: // so that most receives find nothing yet
			case <-stop:
				return
			}
		}
	})
	next, expired := 0, 0
	buf := make([]byte, 4)
	for next < bytes || expired < deadlines {
		n, err := s.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			expired++
			runtime.Gosched()
		case err != nil || n != 1 || buf[0] != byte(next):
			t.Fatalf("byte %d: got %v, %v", next, buf[:n], err)
		default:
			next++
			acknowledged <- struct{}{}
		}
	}
}

// TestAbortTakenBack aborts a receive in flight and allows it again before it
// knows: it goes on, and gets what comes.
func TestAbortTakenBack(t *testing.T) {
	e := newEngine(t, Config{})
	s, peer := newPair(t, e)
	p, o := s.ring, &s.read.op
	before := p.count()
	done := make(chan error, 1)
	buf := make([]byte, 8)
	go func() {
		_, err := s.Read(buf)
		done <- err
	}()
	until(t, "the receive is submitted", func() bool { return p.count() > before && len(queuedRequests(p)) == 0 })
	p.harvestMu.Lock() // nobody learns of the cancellation
	p.mu.Lock()
	o.aborts[abortDeadline] = os.ErrDeadlineExceeded
	p.push(&sqe{opcode: opAsyncCancel, addr: userData(o.slot, o.gen.Load()), userData: kindCancel})
	p.taken = p.submitted
	target := p.submitted
	p.mu.Unlock()
	p.enterUpTo(uint32(target))
	p.allow(o, abortDeadline)
	p.harvest(nil)
	if _, err := unix.Write(peer, []byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the receive ended with %v", err)
	}
	if e.Stats().Resubmitted == 0 {
		t.Error("the receive was not submitted again: the test shows nothing")
	}
}

// TestCloseRaces closes sockets, a listener and the engine itself under calls
// of all kinds.
func TestCloseRaces(t *testing.T) {
	needRing(t)
	for range 20 {
		e, err := New(Config{Entries: minEntries})
		if err != nil {
			t.Fatal(err)
		}
		l, err := e.Listen(localhost, "tcp4", accept.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				if _, err := l.Accept(context.Background()); err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("Accept: %v", err)
					}
					return
				}
			}
		})
		for range 8 {
			s, _ := newPair(t, e)
			for name, call := range map[string]func() error{
				"Read":            func() error { _, err := s.Read(make([]byte, 8)); return err },
				"Write":           func() error { _, err := s.Write(make([]byte, 1<<20)); return err },
				"SetReadDeadline": func() error { return s.SetReadDeadline(time.Now().Add(time.Hour)) },
			} {
				wg.Go(func() {
					for {
						if err := call(); err != nil {
							if !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.EPIPE) {
								t.Errorf("%s: %v", name, err)
							}
							return
						}
					}
				})
			}
			for range 2 {
				wg.Go(func() {
					if err := s.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
		}
		wg.Go(func() { _ = l.Close() })
		wg.Go(func() {
			if err := e.Close(); err != nil {
				t.Errorf("the engine's Close: %v", err)
			}
		})
		wg.Wait()
		if s := e.Stats(); s.Sockets != 0 || s.Listeners != 0 {
			t.Errorf("left: %+v", s)
		}
	}
}

func TestSocketAfterEngineClose(t *testing.T) {
	e := newEngine(t, Config{})
	opened, _ := newPair(t, e)
	fresh := e.NewSocket(&fd.DialConfig{})
	l, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Connect":     func() error { return fresh.Connect(context.Background(), l.Addr()) },
		"Read":        func() error { _, err := opened.Read(make([]byte, 1)); return err },
		"Write":       func() error { _, err := opened.Write(make([]byte, 1)); return err },
		"Writev":      func() error { _, err := opened.Writev([][]byte{{1}}); return err },
		"SetDeadline": func() error { return opened.SetReadDeadline(time.Now()) },
		"CloseWrite":  opened.CloseWrite,
		"Accept":      func() error { _, err := l.Accept(context.Background()); return err },
		"Listen":      func() error { _, err := e.Listen(localhost, "tcp4", accept.Config{}); return err },
		"Close":       e.Close,
	} {
		if err := call(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after the engine's Close: %v", name, err)
		}
	}
	for _, s := range []*Socket{opened, fresh} {
		if err := s.Close(); err != nil {
			t.Errorf("Close after the engine's Close: %v", err)
		}
	}
}
