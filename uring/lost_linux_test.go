package uring

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// deaths are the ways in which these tests have a ring die.
var deaths = []struct {
	name string
	// foreign: the descriptor is another file's, and the kernel refuses it. Else a
	// completion was lost: the kernel says so once, and would go on.
	foreign bool
	without Features
}{
	{"a completion is lost", false, 0},
	{"a completion is lost, no sync_cancel", false, FeatureSyncCancel},
	{"the descriptor is lost", true, 0},
}

// breakDescriptor puts another file in the place of a descriptor. What stood there
// must not be closed by who thinks that it is still its own: that is checked.
func breakDescriptor(t *testing.T, sysfd int) {
	t.Helper()
	other, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		err = unix.Dup3(other, sysfd, unix.O_CLOEXEC)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !sameFile(t, other, sysfd) {
			t.Error("the descriptor of a stranger was closed")
		}
		_ = unix.Close(other)
		_ = unix.Close(sysfd)
	})
}

func sameFile(t *testing.T, a, b int) bool {
	t.Helper()
	one := [8]byte{0: 1, 7: 1}
	if _, err := unix.Write(a, one[:]); err != nil {
		t.Fatal(err)
	}
	n, err := unix.Read(b, one[:]) // it would wait for a signal, if it is another eventfd
	return n == 8 && err == nil
}

// wantLost checks that err says that a ring was lost, and shows no errno of io_uring's.
func wantLost(t *testing.T, call string, err error) {
	t.Helper()
	lost, ok := errors.AsType[*RingLostError](err)
	if !ok {
		t.Errorf("%s: %v, want a *RingLostError", call, err)
		return
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		t.Errorf("%s: %v shows the errno %d", call, err, int(errno))
	}
	if lost.Err == nil || lost.Error() == "" {
		t.Errorf("%s: %#v says nothing", call, lost)
	}
}

// TestDeadRing has rings die under calls of every kind. The calls end, with the reason;
// nothing of the rings is left, and others take their place.
func TestDeadRing(t *testing.T) {
	for _, death := range deaths {
		t.Run(death.name, func(t *testing.T) {
			needRing(t)
			told := make(chan error, 100)
			before := descriptors(t)
			e, err := New(Config{Without: death.without, Loops: LoopConfig{Events: &fd.Events{RingLost: func(err error) { told <- err }}}})
			if err != nil {
				t.Fatal(err)
			}
			l, err := e.Listen(localhost, "tcp4", accept.Config{})
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan fd.Socket, 1)
			go func() {
				s, err := l.Accept(context.Background())
				if err != nil {
					t.Errorf("Accept: %v", err)
				}
				accepted <- s
			}()
			reading, readPeer := newPair(t, e)
			writing, writePeer := newPair(t, e)
			idle, _ := newPair(t, e)
			type result struct {
				call string
				n    int
				err  error
			}
			results := make(chan result, 2)
			buf := make([]byte, 16)
			go func() {
				n, err := reading.Read(buf)
				results <- result{"Read", n, err}
			}()
			go func() {
				n, err := writing.Write(make([]byte, 64<<20))
				results <- result{"Write", n, err}
			}()
			const waiting = 3 // of which the write is short of room
			until(t, "the calls wait", func() bool { return e.Stats().InFlight == waiting && !anyQueued(e) && full(writePeer) })

			dead := append([]*parked(nil), e.rings...)
			for _, p := range dead {
				if !death.foreign {
					p.die(os.NewSyscallError("io_uring_enter", unix.EBADR))
					continue
				}
				breakDescriptor(t, p.ring.fd)
				release := hold(p) // a request that the kernel does not take
				release()
			}
			for range 2 {
				r := <-results
				wantLost(t, r.call, r.err)
			}
			// The memory of the caller is its own again, and no peer is left to wait.
			if _, err := unix.Write(readPeer, []byte("late")); err != unix.EPIPE {
				t.Errorf("writing to a connection whose ring is lost: %v", err)
			}
			if string(buf) != string(make([]byte, 16)) {
				t.Errorf("Read failed, and left %q", buf)
			}
			_, err = idle.Write([]byte("x"))
			wantLost(t, "Write of an idle connection", err)
			for range dead {
				wantLost(t, "the event", <-told)
			}
			if s := e.Stats(); s.RingsLost != uint64(len(dead)) {
				t.Errorf("%d rings lost, want %d", s.RingsLost, len(dead))
			}
			for _, s := range []*Socket{reading, writing, idle} {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}

			// The listener goes on, and so does the engine, on new rings.
			for i := range 2 * len(dead) {
				client := e.NewSocket(&fd.DialConfig{})
				if err := client.Connect(context.Background(), l.Addr()); err != nil {
					t.Fatalf("Connect after the loss: %v", err)
				}
				if i > 0 { // the first is for the Accept that waited
					s, err := l.Accept(context.Background())
					if err != nil {
						t.Fatalf("Accept after the loss: %v", err)
					}
					accepted <- s
				}
				server := <-accepted
				if _, err := client.Write([]byte("hello")); err != nil {
					t.Errorf("Write after the loss: %v", err)
				}
				if n, err := server.Read(buf); err != nil || string(buf[:n]) != "hello" {
					t.Errorf("Read after the loss: %q, %v", buf[:n], err)
				}
				_, _ = client.Close(), server.Close()
			}
			if err := l.Close(); err != nil {
				t.Errorf("the listener's Close: %v", err)
			}
			for _, p := range dead {
				select {
				case <-p.reaperDone:
				case <-time.After(10 * time.Second):
					t.Fatal("a reaper of a lost ring goes on")
				}
			}
			if s := e.Stats(); s.InFlight != 0 || s.Sockets != 0 || s.Listeners != 0 {
				t.Errorf("left: %+v", s)
			}
			if err := e.Close(); err != nil {
				t.Errorf("the engine's Close: %v", err)
			}
			const peers, strangers = 3, 2 // of the test, open still
			want := before + peers
			if death.foreign {
				want += strangers * len(dead)
			}
			until(t, "every descriptor is closed", func() bool { return descriptors(t) <= want })
		})
	}
}

// full reports that the peer's receive queue holds what the other end could send.
func full(peer int) bool {
	n, err := unix.IoctlGetInt(peer, unix.TIOCINQ)
	return err == nil && n > 100<<10
}

// descriptors counts the open descriptors of the process.
func descriptors(t *testing.T) int {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the netpoller's own stay open
		_, _ = r.Close(), w.Close()
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestDeadRingQueued has a ring die before the kernel has taken its requests: calls end
// with the reason, and descriptors are closed all the same, once.
func TestDeadRingQueued(t *testing.T) {
	e := newEngine(t, Config{})
	reading, _ := newPair(t, e)
	p := reading.ring
	closing := newSocketOn(t, e, p)
	sysfd := closing.sysfd

	_ = hold(p)
	before := p.count()
	read, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := reading.Read(make([]byte, 1))
		read <- err
	}()
	go func() { closed <- closing.Close() }()
	until(t, "both requests are published", func() bool { return p.count() == before+2 })
	p.die(os.NewSyscallError("io_uring_enter", unix.EBADR))

	wantLost(t, "a receive that the kernel never took", <-read)
	if err := <-closed; err != nil {
		t.Errorf("a close that the kernel never took: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(sysfd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor of a closed socket is still open: %v", err)
	}
}
