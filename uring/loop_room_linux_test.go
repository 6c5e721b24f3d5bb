package uring

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/ringfd/ringfd/fd"
)

// TestRoomBehindHalfClose has a peer end its half, and read nothing for a while. Then
// nothing of the Write is in the kernel, but what is sent without a copy; a deadline ends
// it, and a peer that reads gets the whole of the next.
func TestRoomBehindHalfClose(t *testing.T) {
	const size = 16 << 20
	for _, c := range []struct {
		name     string
		zeroCopy int
		without  Features
	}{{"copied", 0, 0}, {"without a copy", 1, 0}, {"no feature", 0, AllFeatures}} {
		t.Run(c.name, func(t *testing.T) {
			e := newEngine(t, Config{Without: c.without, Loops: LoopConfig{Count: 1, WriteLimit: 1 << 20, Drain: time.Second, ZeroCopy: c.zeroCopy}})
			expired, wrote := make(chan struct{}), make(chan error, 1)
			l, _ := serveOn(t, e, fd.Handler{Blocking: func(f *fd.FD) {
				if _, err := f.Read(make([]byte, 1)); err != nil {
					t.Error(err)
				}
				if c.zeroCopy == 0 {
					_ = f.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
					if _, err := f.Write(make([]byte, size)); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("a Write with a deadline: %v", err)
					}
					_ = f.SetWriteDeadline(time.Time{})
				}
				close(expired)
				_, err := f.Write(make([]byte, size))
				wrote <- err
			}})
			peer, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := peer.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			<-expired
			first := firstLoop(e)
			until(t, "the Write waits for room", func() (stuck bool) {
				onLoop(t, first, func(l *loop) {
					for _, s := range l.conns.slots {
						if s.c != nil && s.c.send.queued >= size/4 {
							s := &s.c.send
							stuck = s.full && s.inFlight == 0 && s.queued <= size || c.zeroCopy > 0 && s.inFlight == sendNotified
						}
					}
				})
				return stuck
			})
			n, err := io.Copy(io.Discard, peer)
			if err != nil || n < size {
				t.Errorf("the peer has read %d bytes, %v", n, err)
			}
			if err := <-wrote; err != nil {
				t.Errorf("the Write ended with %v", err)
			}
		})
	}
}

// TestBoundWorkers asks the kernel how many threads it may start for a loop.
func TestBoundWorkers(t *testing.T) {
	_, set := newLoops(t, 1, FeatureRestrictions) // which do not let it be asked
	onLoop(t, set.all[0], func(l *loop) {
		var limits [2]uint32 // zeros: say what they are
		switch errno := l.ring.register(registerIOWQMaxWorkers, unsafe.Pointer(&limits), 2); {
		case errno == syscall.EINVAL:
			t.Log("not checked: a kernel from Linux 5.15 on can say")
		case errno != 0 || limits != [2]uint32{mostWorkers, mostWorkers}:
			t.Errorf("the limits are %v, %v", limits, errno)
		}
	})
}

// TestCloseWithoutCopy closes an engine while a peer does not read what is sent to it
// without a copy: the kernel has the memory, and must let go of it first.
func TestCloseWithoutCopy(t *testing.T) {
	const drain = 100 * time.Millisecond
	e := newEngine(t, Config{Loops: LoopConfig{Count: 1, WriteLimit: 1 << 20, Drain: drain, ZeroCopy: 1}})
	if !e.used.Has(FeatureSendZC) {
		t.Skip("nothing is sent without a copy here: Linux 6.0 makes this run")
	}
	set, err := e.startLoops()
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	l, _ := serveOn(t, e, fd.Handler{Blocking: func(f *fd.FD) {
		_, _ = f.Read(make([]byte, 1))
		_, err := f.Write(make([]byte, 16<<20))
		wrote <- err
	}})
	peer, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	until(t, "the kernel has a part", func() (sent bool) {
		onLoop(t, set.all[0], func(l *loop) {
			for _, s := range l.conns.slots {
				sent = sent || s.c != nil && s.c.send.inFlight == sendNotified
			}
		})
		return sent
	})
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-wrote; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the Write ended with %v", err)
	}
	if _, err := io.Copy(io.Discard, peer); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer finds %v", err)
	}
}
