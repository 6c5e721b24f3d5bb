package conformance

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd/fd"
)

// halfCases are about CloseRead and CloseWrite.
var halfCases = []Case{
	{Name: "CloseWrite", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			write(t, ours, "request")
			if err := ours.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			read(t, peer, "request")
			if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("the peer reads %d, %v; want end of file", n, err)
			}
			write(t, peer, "answer")
			read(t, ours, "answer")
			writeErr(t, ours, fd.ClosedLocally)
			wantReason(t, ours, fd.None) // half of it goes on
			write(t, peer, "more")
			read(t, ours, "more")
			_ = peer.Close()
			readErr(t, ours, fd.ClosedByPeer, io.EOF)
		})
	}},
	{Name: "PeerClosesWriteHalf", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			if err := peer.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			readErr(t, ours, fd.ClosedByPeer, io.EOF)
			write(t, ours, "answer") // end of file leaves the FD open
			read(t, peer, "answer")
			readErr(t, ours, fd.ClosedByPeer, io.EOF)
		})
	}},
	{Name: "CloseReadUnblocksRead", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := goRead(ours, make([]byte, 16))
			parked(t, "fd.(*FD).Read", 1)
			if err := ours.CloseRead(); err != nil {
				t.Fatal(err)
			}
			r := await(t, pending, "the end of Read")
			wantErr(t, "Read", r.err, "read", fd.ClosedLocally)
			readErr(t, ours, fd.ClosedLocally)
			write(t, ours, "still writing")
			read(t, peer, "still writing")
		})
	}},
	{Name: "CloseWriteUnblocksWrite", Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := fill(t, ours)
			if err := ours.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, peer)
			w := await(t, pending, "the end of Write")
			wantErr(t, "Write", w.err, "write", fd.ClosedLocally)
			writeErr(t, ours, fd.ClosedLocally)
		})
	}},
	{Name: "HalfClosedWriteMeetsDeadline", Core: true, Run: func(t *testing.T, e *Env) {
		// io_uring does not find the send of a half-closed connection at all times.
		for i := range e.times(10) {
			e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
				pending := fill(t, ours)
				end := ours.CloseRead
				if i%2 == 0 {
					end = peer.(interface{ CloseWrite() error }).CloseWrite
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				set(t, ours.SetWriteDeadline(past))
				wantTimeout(t, await(t, pending, "the end of Write").err, "write")
			})
		}
	}},
	{Name: "HalfClosedWriteMeetsReset", TCP: true, Core: true, Run: func(t *testing.T, e *Env) {
		for range e.times(10) {
			e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
				pending := fill(t, ours)
				if err := ours.Conn().SetLinger(0); err != nil { // so that Close does not shut down
					t.Fatal(err)
				}
				if err := ours.CloseRead(); err != nil {
					t.Fatal(err)
				}
				closing := async(ours.Close)
				wantErr(t, "Write", await(t, pending, "the end of Write").err, "write", fd.ClosedLocally, net.ErrClosed)
				if err := await(t, closing, "the end of Close"); err != nil {
					t.Error(err)
				}
			})
		}
	}},
	{Name: "WriteAfterCloseWriteMeetsReset", TCP: true, Linux: true, Run: func(t *testing.T, e *Env) {
		// The reset is told once. It is the peer's, and no end of file may hide it.
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			if err := ours.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			reset(t, peer)
			_, _ = ours.Write([]byte("x"))
			readErr(t, ours, fd.Lost, syscall.ECONNRESET)
		})
	}},
	{Name: "HalfCloseTwice", Run: func(t *testing.T, e *Env) {
		client, _ := e.Pair(t)
		for range 2 {
			if err := client.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
		}
		_ = client.Close()
		wantErr(t, "CloseWrite", client.CloseWrite(), "close", fd.ClosedLocally, net.ErrClosed)
		wantErr(t, "CloseRead", client.CloseRead(), "close", fd.ClosedLocally, net.ErrClosed)
	}},
}
