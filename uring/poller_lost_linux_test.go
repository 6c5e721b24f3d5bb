package uring

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/fd"
)

// tellLosses is a configuration whose losses of rings come on the channel.
func tellLosses() (c Config, told chan error) {
	told = make(chan error, 100)
	return Config{Loops: LoopConfig{Events: &fd.Events{RingLost: func(err error) { told <- err }}}}, told
}

// TestBatchDies has the ring of a poller fail under a batch, or between two: the readers
// that wait get what has come, by calls of their own, until there is a new ring.
func TestBatchDies(t *testing.T) {
	const readers = batchSize + 10 // more than a batch
	for _, death := range []struct {
		name string
		die  func(t *testing.T, b *batch)
	}{
		{"the descriptor is lost", func(t *testing.T, b *batch) { breakDescriptor(t, b.ring.fd) }},
		{"a completion is lost", func(_ *testing.T, b *batch) { b.die(os.NewSyscallError("io_uring_enter", syscall.EBADR)) }},
	} {
		t.Run(death.name, func(t *testing.T) {
			c, told := tellLosses()
			e := newEngine(t, c)
			batchRings(t, e) // or it skips
			var p *poller
			var peers []int
			var reads []*reading
			for i := range readers {
				s, peer := newPair(t, e)
				if i == 0 {
					p = stepPoller(t, s)
				}
				s.endpoint.poller = p
				peers, reads = append(peers, peer), append(reads, startRead(s, 16))
				untilWaits(t, &s.read)
			}
			round := func(text string) (submitted uint64) {
				t.Helper()
				for _, peer := range peers {
					if _, err := unix.Write(peer, []byte(text)); err != nil {
						t.Fatal(err)
					}
				}
				before := p.batch.submitted.Load()
				p.poll()
				for i, r := range reads {
					if got, err := r.end(t); string(got) != text || err != nil {
						t.Fatalf("reader %d of %q got %q, %v", i, text, got, err)
					}
					reads[i] = startRead(r.s, 16)
				}
				for _, r := range reads {
					if _, err := r.end(t); err != errWaits {
						t.Fatalf("with nothing there: %v", err)
					}
				}
				return p.batch.submitted.Load() - before
			}
			if n := round("before"); n != readers {
				t.Errorf("%d requests for %d readers", n, readers)
			}
			death.die(t, &p.batch)
			round("lost")
			wantLost(t, "the event", <-told)
			if n := p.batch.ringsLost.Load(); n != 1 || p.batch.ring != nil {
				t.Fatalf("%d rings were lost; one is there: %v", n, p.batch.ring != nil)
			}
			if wait := time.Duration(p.batch.renewAt - clock()); wait <= 0 || wait > renewEvery {
				t.Errorf("the next ring is for in %v, want %v at most", wait, renewEvery)
			}
			if n := round("without"); n != 0 {
				t.Errorf("%d requests without a ring", n)
			}
			p.batch.renewAt = clock()
			if n := round("after"); n != readers {
				t.Errorf("with a new ring: %d requests for %d readers", n, readers)
			}
			if n := p.batch.ringsLost.Load(); n != 1 || len(told) != 0 {
				t.Errorf("%d rings were lost, and %d more are told of", n, len(told))
			}
			for _, r := range reads {
				_ = r.s.Close()
			}
		})
	}
}

// TestBatchDiesAgain: the same loss is told once, another one again.
func TestBatchDiesAgain(t *testing.T) {
	c, told := tellLosses()
	e := newEngine(t, c)
	batchRings(t, e) // or it skips
	s, _ := newPair(t, e)
	b := &stepPoller(t, s).batch
	for i, errno := range []syscall.Errno{unix.EBADR, unix.EBADR, unix.ENOMEM} {
		b.renewAt = clock()
		if !b.usable() && i > 0 {
			t.Fatal("there is no new ring")
		}
		b.die(os.NewSyscallError("io_uring_enter", errno))
	}
	e.telling.Wait()
	if n := len(told); n != 2 || b.ringsLost.Load() != 3 {
		t.Errorf("%d losses are told of, and %d rings were lost", n, b.ringsLost.Load())
	}
}

// ringsOpen returns the descriptors of rings.
func ringsOpen(t *testing.T) (all []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		what, _ := os.Readlink("/proc/self/fd/" + entry.Name())
		if n, err := strconv.Atoi(entry.Name()); err == nil && strings.Contains(what, "io_uring") {
			all = append(all, n)
		}
	}
	return all
}

// TestRingsLostUnderLoad has the rings of all pollers fail while connections echo. None
// of them notices, and after a while there are new rings, which are used.
func TestRingsLostUnderLoad(t *testing.T) {
	c, told := tellLosses()
	e := newEngine(t, c)
	rings := len(batchRings(t, e))
	const connections = 20
	var echoes, pings sync.WaitGroup
	end := make(chan struct{})
	for i := range connections {
		s, peer := newPair(t, e)
		echoes.Go(func() {
			if err := echo(s); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
		pings.Go(func() {
			defer unix.Shutdown(peer, unix.SHUT_WR)
			for round := 0; ; round++ {
				want := fmt.Sprintf("round %d of connection %d", round, i)
				got := make([]byte, len(want))
				_, err := unix.Write(peer, []byte(want))
				if err == nil {
					_, err = io.ReadFull(blocking(peer), got)
				}
				if err != nil || string(got) != want {
					t.Errorf("sent %q, got %q, %v", want, got, err)
					return
				}
				select {
				case <-end:
					return
				default:
				}
			}
		})
	}
	until(t, "pollers receive", func() bool { return e.Stats().Submitted > 100 })
	for _, sysfd := range ringsOpen(t) {
		breakDescriptor(t, sysfd)
	}
	until(t, "all rings are lost", func() bool { return e.Stats().RingsLost == uint64(rings) })
	without := e.Stats().Submitted
	until(t, "there are new rings, and pollers receive", func() bool {
		return len(ringsOpen(t)) == rings && e.Stats().Submitted > without+100
	})
	close(end)
	pings.Wait()
	echoes.Wait()
	e.telling.Wait()
	if s := e.Stats(); s.RingsLost != uint64(rings) || len(told) != rings {
		t.Errorf("%d rings were lost of %d, and %d are told of", s.RingsLost, rings, len(told))
	}
}

// blocking is a descriptor that blocks.
type blocking int

func (b blocking) Read(p []byte) (int, error) { return unix.Read(int(b), p) }
