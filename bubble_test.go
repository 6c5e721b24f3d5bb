package ringfd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// eachKind runs f with a backend of each kind, and in a bubble that f may open.
func eachKind(t *testing.T, f func(t *testing.T, b *ringfd.Backend)) {
	for _, row := range conformance.Rows() {
		if !row.Core {
			t.Run(row.Name, func(t *testing.T) { f(t, row.Open(t)) })
		}
	}
}

// atRest waits until a goroutine waits inside a function. The clock of a bubble stands
// still meanwhile: time.Sleep would not end.
func atRest(t *testing.T, function string) {
	t.Helper()
	for tries := 0; conformance.AtRest(function) == 0; tries++ {
		if tries == 1e6 {
			t.Fatal("nobody waits in ", function)
		}
		runtime.Gosched()
	}
}

// pair connects two FDs of b.
func pair(t testing.TB, b *ringfd.Backend) (client, server *fd.FD) {
	t.Helper()
	l, err := b.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = b.Dial(context.Background(), "tcp", l.Addr().String())
	if err == nil {
		server, _, err = l.Accept(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// TestBubble uses, in a bubble of testing/synctest, connections that were opened outside.
// Their calls wait as those of package net do there: neither does the process end, nor
// does anything wait for ever.
func TestBubble(t *testing.T) {
	for _, c := range []struct {
		name string
		// outside acts on the peer, once the call in the bubble waits.
		outside func(peer *fd.FD) error
		inside  func(t *testing.T, f *fd.FD)
		waitsIn string
		timed   bool // it has a deadline before
	}{
		{"Read", func(peer *fd.FD) error { _, err := peer.Write([]byte("x")); return err }, func(t *testing.T, f *fd.FD) {
			if n, err := f.Read(make([]byte, 8)); n != 1 || err != nil {
				t.Errorf("Read: %d, %v", n, err)
			}
		}, "fd.(*FD).Read", true},
		{"Write", func(peer *fd.FD) error { _, err := io.CopyN(io.Discard, peer.Conn(), 32<<20); return err }, func(t *testing.T, f *fd.FD) {
			if n, err := f.Write(make([]byte, 32<<20)); n != 32<<20 || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
		}, "fd.(*FD).Write", false},
		{"Close", nil, func(t *testing.T, f *fd.FD) {
			read := make(chan error, 1)
			go func() { _, err := f.Read(make([]byte, 8)); read <- err }()
			atRest(t, "fd.(*FD).Read")
			if err := f.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if err := <-read; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read: %v", err)
			}
		}, "", true},
		{"Deadline", nil, func(t *testing.T, f *fd.FD) {
			if err := f.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
			if err := f.SetDeadline(time.Now().Add(time.Hour)); err != nil { // and it is closed outside
				t.Fatal(err)
			}
		}, "", true},
		{"First deadline", nil, func(t *testing.T, f *fd.FD) {
			if err := f.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
			if err := f.SetDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, "", false},
		{"Abort", nil, func(t *testing.T, f *fd.FD) {
			read := make(chan error, 1)
			go func() { _, err := f.Read(make([]byte, 8)); read <- err }()
			atRest(t, "fd.(*FD).Read")
			if err := f.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
		}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, b *ringfd.Backend) {
				f, peer := pair(t, b)
				defer peer.Close()
				defer f.Close()
				if c.timed { // whose timer is of outside, moves inside and ends outside
					if err := f.SetDeadline(time.Now().Add(time.Hour)); err != nil {
						t.Fatal(err)
					}
				}
				acted := make(chan error, 1)
				go func() {
					if c.outside == nil {
						acted <- nil
						return
					}
					for conformance.AtRest(c.waitsIn) == 0 {
						time.Sleep(100 * time.Microsecond)
					}
					acted <- c.outside(peer)
				}()
				synctest.Test(t, func(t *testing.T) { c.inside(t, f) })
				if err := <-acted; err != nil {
					t.Errorf("the peer: %v", err)
				}
				if err := f.SetDeadline(time.Now().Add(time.Hour)); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Errorf("SetDeadline outside: %v", err)
				}
			})
		})
	}
}

// TestBubbleAccepts accepts in a bubble, on a listener of outside.
func TestBubbleAccepts(t *testing.T) {
	eachKind(t, func(t *testing.T, b *ringfd.Backend) {
		l, err := b.Listen(context.Background(), "tcp", "127.0.0.1:0", accept.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16)) // so that a poller is added in the bubble
		dialled := make(chan error, 1)
		go func() {
			for conformance.AtRest("accept.(*Listener).Accept") == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				_ = c.Close()
			}
			dialled <- err
		}()
		synctest.Test(t, func(t *testing.T) {
			f, _, err := l.Accept(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("Read: %v", err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			accepted := make(chan error, 1)
			go func() { _, _, err := l.Accept(ctx); accepted <- err }()
			atRest(t, "accept.(*Listener).Accept")
			cancel()
			if err := <-accepted; !errors.Is(err, context.Canceled) {
				t.Errorf("Accept: %v", err)
			}
		})
		if err := <-dialled; err != nil {
			t.Error(err)
		}
	})
}

// TestBubbleOfAll has everything in the bubble: the backend, both ends, and their end.
// (On io_uring the bubble's clock goes on to the next deadline while all wait for the
// kernel.)
func TestBubbleOfAll(t *testing.T) {
	for _, row := range conformance.Rows() {
		if row.Core {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := ringfd.Open(row.Options)
				if unavailable, ok := errors.AsType[*ringfd.UnavailableError](err); ok {
					t.Skipf("%v (a kernel that allows io_uring would make this run)", unavailable)
				}
				if err != nil {
					t.Fatal(err)
				}
				client, server := pair(t, b)
				echoed := make(chan error, 1)
				go func() { _, err := io.Copy(server.Conn(), server.Conn()); echoed <- err }()
				for range 3 {
					if _, err := client.Write([]byte("hello")); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, 5)
					if _, err := io.ReadFull(client.Conn(), got); err != nil || string(got) != "hello" {
						t.Fatalf("read %q, %v", got, err)
					}
				}
				if err := client.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Read: %v", err)
				}
				_ = client.Close()
				if err := <-echoed; err != nil {
					t.Errorf("the echo: %v", err)
				}
				_ = server.Close()
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		})
	}
}
