package uring

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// TestDeadLoopRing has the ring of a loop die under handlers of both styles. They end,
// with the reason; peers are told; and the loop goes on with a new ring, on which the
// same Serve accepts.
func TestDeadLoopRing(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			needRing(t)
			before := descriptors(t)
			graves := len(grave.memory)
			told := make(chan error, 10)
			e, err := New(Config{Without: death.without, Loops: LoopConfig{
				Count: 1, WriteLimit: 1 << 20, Drain: 10 * time.Second,
				Events: &fd.Events{RingLost: func(err error) { told <- err }},
			}})
			if err != nil {
				t.Fatal(err)
			}
			ends := make(chan error, 10)
			offloaded := make(chan struct{})
			blocking := serveLost(t, e, fd.Handler{Blocking: func(f *fd.FD) {
				buf := make([]byte, 16)
				for {
					n, err := f.Read(buf)
					if err != nil {
						ends <- err
						return
					}
					switch buf[0] {
					case 'w':
						_, err = f.Write(make([]byte, 64<<20))
					case 'o':
						f.Offload(func() { <-offloaded })
					default:
						_, err = f.Write(buf[:n])
					}
					if err != nil {
						ends <- err
						return
					}
				}
			}})
			data := serveLost(t, e, fd.Handler{
				Data: func(f *fd.FD, data []byte) { _, _ = f.Write(data) },
				End:  func(_ *fd.FD, err error) { ends <- err },
			})
			var peers []net.Conn
			for _, p := range []struct {
				to   *served
				says string
			}{{blocking, "r"}, {blocking, "w"}, {blocking, "o"}, {data, "d"}, {data, "e"}} {
				c := p.to.dial(t)
				peers = append(peers, c)
				if _, err := c.Write([]byte(p.says)); err != nil {
					t.Fatal(err)
				}
				if p.says != "o" {
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
				}
			}
			l := firstLoop(e)
			until(t, "the handler waits elsewhere", func() bool { return l.snapshot().Offloads == 1 })
			if death.foreign {
				breakDescriptor(t, l.ring.fd)
				l.post(&request{kind: requestRun, run: func(*loop) {}}) // the next wait is refused
			} else {
				l.post(&request{kind: requestRun, run: func(l *loop) { l.die(os.NewSyscallError("io_uring_enter", unix.EBADR)) }})
			}
			for range len(peers) - 1 {
				wantLost(t, "a handler", <-ends)
			}
			close(offloaded) // that handler finds out when it comes back
			wantLost(t, "a handler that was elsewhere", <-ends)
			wantLost(t, "the event", <-told)
			for i, c := range peers {
				if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("peer %d reads %v", i, err)
				}
				_ = c.Close()
			}
			for range 3 {
				for _, to := range []*served{blocking, data} {
					c := to.dial(t)
					buf := make([]byte, 5)
					if _, err := c.Write([]byte("hello")); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
						t.Fatalf("after the loss: %q, %v", buf, err)
					}
					_ = c.Close()
				}
			}
			blocking.stop(t)
			data.stop(t)
			if n := l.snapshot().RingsLost; n != 1 {
				t.Errorf("%d rings lost, want 1", n)
			}
			if err := e.Close(); err != nil {
				t.Errorf("the engine's Close: %v", err)
			}
			if kept := len(grave.memory) - graves; kept != 0 && l.used.Has(FeatureSyncCancel) {
				t.Errorf("%d pieces of memory were given up, and the kernel could say that it had let go", kept)
			}
			want := before
			if death.foreign {
				want += 2
			}
			until(t, "every descriptor is closed", func() bool { return descriptors(t) <= want })
		})
	}
}

// TestDeadLoopRingCloses closes an engine whose loop has lost its ring.
func TestDeadLoopRingCloses(t *testing.T) {
	needRing(t)
	e, err := New(Config{Loops: LoopConfig{Count: 1, WriteLimit: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	s := serveLost(t, e, fd.Handler{Data: func(*fd.FD, []byte) {}, End: func(_ *fd.FD, err error) { ended <- err }})
	c := s.dial(t)
	defer c.Close()
	until(t, "the connection is served", func() bool { return e.Stats().Sockets == 1 })
	l := firstLoop(e)
	l.post(&request{kind: requestRun, run: func(l *loop) { l.die(os.NewSyscallError("io_uring_enter", unix.EBADR)) }})
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("End without an error")
	}
	if err := <-s.ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// served is a Serve on an engine.
type served struct {
	l      *Listener
	cancel context.CancelFunc
	ended  chan error
}

func serveLost(t *testing.T, e *Engine, h fd.Handler) *served {
	t.Helper()
	l, err := e.Listen(localhost, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := &served{l: l, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.ended <- e.Serve(ctx, l, h) }()
	return s
}

func (s *served) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", s.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func (s *served) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	if err := <-s.ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	_ = s.l.Close()
}

func firstLoop(e *Engine) *loop { return e.loops.Load().all[0] }
