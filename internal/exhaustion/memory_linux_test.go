package exhaustion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// What ARCHITECTURE.md says that a peer can make us hold.
const (
	record     = 2 << 10   // of a connection: its records, in the slices of a loop too
	stack      = 12 << 10  // of a blocking handler
	unread     = 320 << 10 // received, and not read: what one turn brings, which the socket's buffer bounds
	writeLimit = 128 << 10 // Options.Loops.WriteLimit of these tests
	backlog    = writeLimit + writeLimit/2
	slack      = 4 << 20 // of the process: chunks, scratch memory, what the runtime keeps
)

// TestHeld measures what a Backend holds while peers do their worst, in a process of
// their own.
func TestHeld(t *testing.T) {
	const loops = 1
	released := make(chan struct{})
	defer close(released)
	waits := func(f *fd.FD) { f.Offload(func() { <-released }) }
	tests := []struct {
		name, peers string
		connections int
		handler     func(refused *atomic.Int64) ringfd.Handler
		each        int  // bytes per connection, at most
		ringOnly    bool // on net a data handler's Write waits, and nothing is kept
	}{
		{"silent, data", "silent", 2000, func(*atomic.Int64) ringfd.Handler {
			return ringfd.Handler{Data: func(*fd.FD, []byte) {}}
		}, record + stack, false},
		{"silent, blocking", "silent", 2000, func(*atomic.Int64) ringfd.Handler {
			return ringfd.Handler{Blocking: func(f *fd.FD) { _, _ = f.Read(make([]byte, 16)) }}
		}, record + stack, false},
		{"a byte at a time, blocking, nobody reads", "slow", 1000, func(*atomic.Int64) ringfd.Handler {
			return ringfd.Handler{Blocking: waits}
		}, record + 2*stack, false}, // the work of Offload has a goroutine
		{"a flood, blocking, nobody reads", "flooding", 100, func(*atomic.Int64) ringfd.Handler {
			return ringfd.Handler{Blocking: waits}
		}, record + 2*stack + unread, false},
		{"no reader, data", "deaf", 100, func(refused *atomic.Int64) ringfd.Handler {
			return ringfd.Handler{Data: func(f *fd.FD, _ []byte) {
				for size := 1; ; size = size%3000 + 1 {
					if _, err := f.Write(make([]byte, size)); err != nil {
						if e, ok := errors.AsType[*fd.Error](err); ok && e.Retryable() {
							refused.Add(1)
						}
						return
					}
				}
			}}
		}, record + backlog, true},
		{"no reader, blocking", "deaf", 100, func(refused *atomic.Int64) ringfd.Handler {
			message := make([]byte, 64<<20) // all write the same, by reference
			return ringfd.Handler{Blocking: func(f *fd.FD) {
				_, _ = f.Read(make([]byte, 1))
				refused.Add(1)
				_, _ = f.Write(message)
			}}
		}, record + stack, false},
	}
	for _, test := range tests {
		for _, kind := range []ringfd.Kind{ringfd.IOUring, ringfd.Net} {
			if test.ringOnly && kind == ringfd.Net {
				continue
			}
			t.Run(test.name+"/"+string(kind), func(t *testing.T) {
				if raceEnabled {
					t.Skip("the race detector holds memory of its own: a build without it makes this run")
				}
				b := open(t, ringfd.Options{Backend: kind, Loops: ringfd.LoopOptions{Count: loops, WriteLimit: writeLimit}})
				l, err := b.Listen(context.Background(), "unix", path(t), accept.Config{})
				if err != nil {
					t.Fatal(err)
				}
				var refused atomic.Int64
				h := test.handler(&refused)
				serving := make(chan error, 1)
				before := held()
				go func() { serving <- b.Serve(context.Background(), l, h) }()
				peers := startPeers(t, test.peers, l.Addr().String(), test.connections)
				until(t, "every connection is accepted", func() bool { return b.Stats().Sockets == test.connections })
				peers.begin()
				peers.ready()
				if test.peers == "deaf" {
					until(t, "every handler has written what it can", func() bool { return refused.Load() == int64(test.connections) })
				}
				grew := held() - before
				limit := int64(test.connections*test.each + slack)
				t.Logf("%d connections hold %d KiB, %d bytes each; the limit is %d KiB", test.connections, grew>>10, grew/int64(test.connections), limit>>10)
				if grew > limit {
					t.Errorf("%d bytes are held, the limit is %d", grew, limit)
				}
				peers.stop()
				closed := make(chan error, 1)
				go func() { closed <- b.Close() }()
				for range test.connections {
					select {
					case released <- struct{}{}:
					case err := <-closed:
						closed <- err
					}
				}
				if err := <-closed; err != nil {
					t.Errorf("Close: %v", err)
				}
				if err := <-serving; !errors.Is(err, net.ErrClosed) {
					t.Errorf("Serve: %v", err)
				}
			})
		}
	}
}

// TestHeldBesideTraffic has little be written to a connection that nobody reads, each
// time beside much for one that is read: what waits must not hold the memory that it
// lay in with the rest.
func TestHeldBesideTraffic(t *testing.T) {
	const turns, little, share = 500, 100, 4 << 10
	b := open(t, ringfd.Options{Backend: ringfd.IOUring, Loops: ringfd.LoopOptions{Count: 1}})
	l, err := b.Listen(context.Background(), "unix", path(t), accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var deaf *fd.FD
	full := false
	serving := make(chan error, 1)
	go func() {
		serving <- b.Serve(context.Background(), l, ringfd.Handler{
			Open: func(f *fd.FD) {
				if deaf == nil {
					deaf = f
				}
			},
			Data: func(f *fd.FD, _ []byte) {
				if !full { // more than the kernel takes
					_, _ = deaf.Write(make([]byte, 400<<10))
					full = true
				}
				for range 15 {
					_, _ = f.Write(make([]byte, share))
				}
				if _, err := deaf.Write(make([]byte, little)); err != nil {
					t.Error(err)
				}
			},
		})
	}()
	dial := func() net.Conn {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	quiet := dial()
	defer quiet.Close()
	until(t, "the connection is served", func() bool { return b.Stats().Sockets == 1 })
	c := dial()
	defer c.Close()
	answer := make([]byte, 15*share)
	ask := func() {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	before := held()
	for range turns {
		ask()
	}
	grew := held() - before
	t.Logf("%d bytes that wait hold %d", turns*little, grew)
	if grew > 2<<20 {
		t.Errorf("%d bytes that wait hold %d", turns*little, grew)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	<-serving
}

// TestBroadcastOfDataHandlersIsBounded broadcasts in a data handler, which never waits,
// to connections that nobody reads: on its loop, on another, and on none.
func TestBroadcastOfDataHandlersIsBounded(t *testing.T) {
	b := open(t, ringfd.Options{Backend: ringfd.IOUring, Loops: ringfd.LoopOptions{Count: 2, WriteLimit: writeLimit}})
	plain := listen(t)
	var fds []*fd.FD
	for range 2 { // the loops take turns
		f, err := b.DialServe(context.Background(), "unix", plain.Addr().String(), ringfd.Handler{Data: func(*fd.FD, []byte) {}})
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, f)
	}
	f, err := b.Dial(context.Background(), "unix", plain.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fds = append(fds, f)

	const size, most = 10 << 10, 10_000
	results := make(chan error, 1)
	taken := make([]int, len(fds))
	h := ringfd.Handler{Data: func(*fd.FD, []byte) {
		results <- func() error {
			left := len(fds)
			for range most {
				errs := b.Broadcast(context.Background(), fds, bytes.Repeat([]byte("x"), size))
				left = len(fds)
				for i := range fds {
					if errs == nil || errs[i] == nil {
						taken[i] += size
						continue
					}
					if e, ok := errors.AsType[*fd.Error](errs[i]); !ok || !e.Retryable() {
						return fmt.Errorf("connection %d: %w", i, errs[i])
					}
					left--
				}
				if left == 0 {
					return nil
				}
			}
			return fmt.Errorf("%d connections take more and more: %v bytes", left, taken)
		}()
	}}
	l, err := b.Listen(context.Background(), "unix", path(t), accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = b.Serve(context.Background(), l, h) })
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-results; err != nil {
		t.Error(err)
	}
	t.Logf("the connections took %v bytes", taken)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	serving.Wait()
}
