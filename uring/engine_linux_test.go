package uring

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

var localhost = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}

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

// TestCloseRaces closes sockets, a listener and the engine itself under calls
// of all kinds.
func TestCloseRaces(t *testing.T) {
	needRing(t)
	for range 20 {
		e, err := New(Config{})
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
