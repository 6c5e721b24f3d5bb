package conformance

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// waitCases are about waiting for data without a buffer.
var waitCases = []Case{
	{Name: "WaitReadConsumesNothing", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			for _, message := range []string{"one", "another"} {
				pending := []<-chan error{async(ours.WaitRead), async(ours.WaitRead)}
				parked(t, "fd.(*FD).WaitRead", 2)
				write(t, peer, message)
				for _, p := range pending {
					if err := await(t, p, "the end of WaitRead"); err != nil {
						t.Fatal(err)
					}
				}
				if err := ours.WaitRead(); err != nil {
					t.Fatal(err)
				}
				read(t, ours, message[:1])
				if err := ours.WaitRead(); err != nil { // there is a rest
					t.Fatal(err)
				}
				read(t, ours, message[1:])
			}
			if got := ours.Stats().Read; got != uint64(len("oneanother")) {
				t.Errorf("%d bytes counted", got)
			}
		})
	}},
	{Name: "WaitReadEndsWithTheConnection", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		pending := async(ours.WaitRead)
		parked(t, "fd.(*FD).WaitRead", 1)
		set(t, peer.CloseWrite())
		if err := await(t, pending, "the end of WaitRead"); err != nil {
			t.Fatal(err)
		}
		readErr(t, ours, fd.ClosedByPeer, io.EOF)
		if err := ours.WaitRead(); err != nil { // it stays ended
			t.Fatal(err)
		}

		ours, _ = e.Pair(t)
		pending = async(ours.WaitRead)
		parked(t, "fd.(*FD).WaitRead", 1)
		set(t, ours.CloseRead())
		if err := await(t, pending, "the end of WaitRead"); err != nil {
			t.Fatal(err)
		}
		readErr(t, ours, fd.ClosedLocally, io.EOF)

		ours, _ = e.Pair(t)
		pending = async(ours.WaitRead)
		parked(t, "fd.(*FD).WaitRead", 1)
		set(t, ours.Close())
		wantErr(t, "WaitRead", await(t, pending, "the end of WaitRead"), "read", fd.ClosedLocally, net.ErrClosed)
		wantErr(t, "WaitRead", ours.WaitRead(), "read", fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "WaitReadKeepsToDeadlines", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		pending := async(ours.WaitRead)
		parked(t, "fd.(*FD).WaitRead", 1)
		set(t, ours.SetReadDeadline(past))
		wantTimeout(t, await(t, pending, "the end of WaitRead"), "read")
		write(t, peer, "kept")
		wantTimeout(t, ours.WaitRead(), "read")
		set(t, ours.SetReadDeadline(forever))
		if err := ours.WaitRead(); err != nil {
			t.Fatal(err)
		}
		read(t, ours, "kept")
		wantReason(t, ours, fd.None)
	}},
	{Name: "WaitReadNeedsAConnection", Run: func(t *testing.T, e *Env) {
		f := e.Backend.Socket()
		if err := f.WaitRead(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("WaitRead of a fresh FD: %v", err)
		}
		set(t, f.Close())
	}},
	{Name: "WaitReadAllocatesNothing", Core: true, Run: func(t *testing.T, e *Env) {
		client, server := e.Pair(t)
		echoed := async(func() bool { waitingEcho(server); return true })
		wantEchoWithoutAllocs(t, client, echoed)
	}},
}

var waitingBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// waitingEcho is an echo, in blocking style, that has a buffer only while there is
// something for it.
func waitingEcho(f *fd.FD) {
	for {
		if f.WaitRead() != nil {
			return
		}
		buf := waitingBuffers.Get().(*[32 << 10]byte)
		n, err := f.Read(buf[:])
		if err == nil {
			_, err = f.Write(buf[:n])
		}
		waitingBuffers.Put(buf)
		if err != nil {
			return
		}
	}
}
