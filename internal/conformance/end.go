package conformance

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// endCases are the ways in which a peer ends a connection. The kernel's own
// answers change from call to call (after a reset Linux says ECONNRESET once
// and end of file from then on); the FD's reason does not.
var endCases = []Case{
	{Name: "ResetThenRead", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			reset(t, peer)
			wantPeerClosed(t, readErr(t, ours, fd.Lost, syscall.ECONNRESET))
			wantClosedAs(t, ours, fd.Lost, syscall.ECONNRESET)
		})
	}},
	{Name: "ResetThenWrite", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			reset(t, peer)
			wantPeerClosed(t, writeErr(t, ours, fd.Lost, syscall.ECONNRESET))
			wantClosedAs(t, ours, fd.Lost, syscall.ECONNRESET)
		})
	}},
	{Name: "ResetDuringRead", TCP: true, Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := goRead(ours, make([]byte, 16))
			parked(t, "fd.(*FD).Read", 1)
			reset(t, peer)
			r := await(t, pending, "the end of Read")
			wantErr(t, "Read", r.err, "read", fd.Lost, syscall.ECONNRESET)
			wantClosedAs(t, ours, fd.Lost, syscall.ECONNRESET)
		})
	}},
	{Name: "ResetDuringWrite", TCP: true, Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := fill(t, ours)
			reset(t, peer)
			w := await(t, pending, "the end of Write")
			wantErr(t, "Write", w.err, "write", fd.Lost)
			wantPeerClosed(t, w.err)
			if got := ours.Stats().Written; got != uint64(w.n) {
				t.Errorf("Stats().Written = %d, Write returned %d", got, w.n)
			}
		})
	}},
	{Name: "DataThenReset", TCP: true, Linux: true, Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			write(t, peer, "last words")
			reset(t, peer)
			read(t, ours, "last words")
			readErr(t, ours, fd.Lost, syscall.ECONNRESET)
		})
	}},
	{Name: "EOFThenWrites", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			_ = peer.Close()
			write(t, ours, "nobody reads this") // answered by a reset, which may take a moment
			var err error
			for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
				_, err = ours.Write([]byte("x"))
			}
			wantErr(t, "Write", err, "write", fd.Lost, syscall.EPIPE)
			wantPeerClosed(t, err)
			wantClosedAs(t, ours, fd.Lost, syscall.EPIPE)
		})
	}},
	{Name: "UnixPeerClosedThenWrite", Unix: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			_ = peer.Close()
			wantPeerClosed(t, writeErr(t, ours, fd.Lost, syscall.EPIPE))
			wantClosedAs(t, ours, fd.Lost, syscall.EPIPE)
		})
	}},
	{Name: "DataThenEOFSurvivesOurWrite", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			write(t, peer, "last words")
			_ = peer.Close()
			write(t, ours, "x") // answered by a reset
			read(t, ours, "last words")
			wantPeerClosed(t, readSomeErr(t, ours))
		})
	}},
	{Name: "EOFIsSticky", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			wantReason(t, ours, fd.None)
			_ = peer.Close()
			for range 3 {
				wantPeerClosed(t, readErr(t, ours, fd.ClosedByPeer, io.EOF))
				wantReason(t, ours, fd.ClosedByPeer)
			}
			if _, err := ours.SyscallConn(); err != nil {
				t.Errorf("end of file closed the FD: %v", err)
			}
		})
	}},
	{Name: "EOFThenEPIPEKeepsReason", Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			_ = peer.Close()
			readErr(t, ours, fd.ClosedByPeer, io.EOF)
			if e.tcp() {
				write(t, ours, "x") // answered by a reset
			}
			writeErr(t, ours, fd.ClosedByPeer, syscall.EPIPE)
			wantReason(t, ours, fd.ClosedByPeer)
			readErr(t, ours, fd.ClosedByPeer, io.EOF)
		})
	}},
	{Name: "PeerClosesWithUnreadData", Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			write(t, ours, "you will not read this")
			_ = peer.Close() // the kernel answers with a reset
			readErr(t, ours, fd.Lost, syscall.ECONNRESET)
			wantClosedAs(t, ours, fd.Lost, syscall.ECONNRESET)
		})
	}},
	{Name: "CloseAfterReset", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			reset(t, peer)
			if err := ours.Close(); err != nil { // shutdown says ENOTCONN
				t.Errorf("Close: %v", err)
			}
			readErr(t, ours, fd.ClosedLocally, net.ErrClosed)
		})
	}},
	{Name: "CloseAfterLost", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			reset(t, peer)
			readErr(t, ours, fd.Lost, syscall.ECONNRESET)
			if err := ours.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			// The reason stays; users of net still find what they look for.
			readErr(t, ours, fd.Lost, syscall.ECONNRESET, net.ErrClosed)
		})
	}},
	{Name: "ResetBeforeAccept", TCP: true, Linux: true, Core: true, Accepted: true, Run: resetBeforeAccept},
}

// wantPeerClosed checks the second view of an end.
func wantPeerClosed(t testing.TB, err error) {
	t.Helper()
	if !fd.PeerClosed(err) {
		t.Errorf("PeerClosed(%v) is false", err)
	}
}

// readSomeErr reads and wants some error.
func readSomeErr(t testing.TB, f *fd.FD) error {
	t.Helper()
	n, err := f.Read(make([]byte, 16))
	if err == nil {
		t.Fatalf("Read = %d bytes, want an error", n)
	}
	return err
}

// wantClosedAs checks that an end closed the FD, and that every further call
// gives the same reason and cause.
func wantClosedAs(t testing.TB, f *fd.FD, reason fd.Reason, cause error) {
	t.Helper()
	wantReason(t, f, reason)
	for range 2 {
		readErr(t, f, reason, cause)
		writeErr(t, f, reason, cause)
	}
	if _, err := f.Write(nil); err == nil {
		t.Error("an empty Write on a closed FD succeeded")
	}
	if _, err := f.SyscallConn(); err == nil {
		t.Error("the FD is not closed")
	}
	if f.RemoteAddr() == nil || f.LocalAddr() == nil {
		t.Error("the addresses are gone")
	}
}

// resetBeforeAccept: Linux hands such a connection over, and its first read
// tells; other systems drop it or report an error of class Socket.
func resetBeforeAccept(t *testing.T, e *Env) {
	l := e.Listen(t, defaultConfig)
	peer, err := net.Dial(e.Network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	want := peer.LocalAddr().String()
	reset(t, peer)
	f := e.Accept(t, l)
	if got := f.RemoteAddr().String(); got != want {
		t.Errorf("RemoteAddr = %s, want %s: getpeername cannot tell it any more, accept can", got, want)
	}
	err = readErr(t, f, fd.Lost, syscall.ECONNRESET)
	if errors.Is(err, net.ErrClosed) {
		t.Errorf("%v matches net.ErrClosed, and we closed nothing", err)
	}
}
