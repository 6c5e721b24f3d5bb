package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

var defaultConfig accept.Config

// closeCases are about Close and what it does to calls in flight.
var closeCases = []Case{
	{Name: "CloseUnblocksRead", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := goRead(ours, make([]byte, 16))
			parked(t, "fd.(*FD).Read", 1)
			if err := ours.Close(); err != nil {
				t.Fatal(err)
			}
			r := await(t, pending, "the end of Read")
			wantErr(t, "Read", r.err, "read", fd.ClosedLocally, net.ErrClosed)
			if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the peer reads %d, %v; want end of file", n, err)
			}
		})
	}},
	{Name: "CloseUnblocksWrite", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			pending := fill(t, ours)
			if err := ours.Close(); err != nil {
				t.Fatal(err)
			}
			w := await(t, pending, "the end of Write")
			wantErr(t, "Write", w.err, "write", fd.ClosedLocally, net.ErrClosed)
			wantExactly(t, ours, peer, w.n)
		})
	}},
	{Name: "CloseLeavesUnread", TCP: true, Core: true, Run: func(t *testing.T, e *Env) {
		// close(2) alone would reset the connection, and the peer lose our last words.
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			write(t, peer, "never read")
			if err := ours.WaitRead(); err != nil { // it is there, and unread
				t.Fatal(err)
			}
			write(t, ours, "last words")
			if err := ours.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(peer); err != nil || string(got) != "last words" {
				t.Errorf("the peer reads %q, %v", got, err)
			}
		})
	}},
	{Name: "CloseUnblocksEveryCall", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		const n = 8
		var calls []<-chan transfer
		for range n {
			calls = append(calls, goRead(ours, make([]byte, 16)))
			calls = append(calls, goWrite(ours, make([]byte, 16<<20)))
		}
		parked(t, "fd.(*FD).Read", n)
		parked(t, "fd.(*FD).Write", n)
		_ = ours.Close()
		for _, c := range calls {
			if r := await(t, c, "the end of a call"); !errors.Is(r.err, net.ErrClosed) {
				t.Errorf("a call ended with %v", r.err)
			}
		}
	}},
	{Name: "CloseDeliversWhatWasWritten", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			data := pattern(100 << 10)
			written := goWrite(ours, data)
			closed := async(func() error {
				if w := <-written; w.err != nil {
					return w.err
				}
				return ours.Close()
			})
			got, err := io.ReadAll(peer)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("the peer read %d of %d bytes, %v", len(got), len(data), err)
			}
			if err := await(t, closed, "the end of Close"); err != nil {
				t.Error(err)
			}
		})
	}},
	{Name: "CloseIsIdempotent", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		for range 3 {
			if err := ours.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := ours.CloseWithReason(errors.New("too late")); err != nil {
			t.Errorf("CloseWithReason: %v", err)
		}
		if r := ours.Reasons(); len(r) != 0 {
			t.Errorf("a reason was attached after Close: %v", r)
		}
	}},
	{Name: "ConcurrentCloses", Core: true, Run: func(t *testing.T, e *Env) {
		for range 20 {
			ours, peer := e.Pair(t)
			pending := goRead(ours, make([]byte, 16))
			var closers sync.WaitGroup
			for range 8 {
				closers.Go(func() {
					if err := ours.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
			await(t, async(func() bool { closers.Wait(); return true }), "the end of every Close")
			if r := await(t, pending, "the end of Read"); !errors.Is(r.err, net.ErrClosed) {
				t.Errorf("Read ended with %v", r.err)
			}
			_ = peer.Close()
		}
	}},
	{Name: "CloseRacesRead", Core: true, Run: func(t *testing.T, e *Env) {
		// Whatever comes first, the outcome is one of two.
		for i := range e.times(200) {
			ours, peer := e.Pair(t)
			pending := goRead(ours, make([]byte, 16))
			if i%2 == 0 {
				write(t, peer, "x")
			}
			_ = ours.Close()
			r := await(t, pending, "the end of Read")
			if r.err == nil && r.n == 1 && i%2 == 0 {
				continue
			}
			wantErr(t, "Read", r.err, "read", fd.ClosedLocally, net.ErrClosed)
			_ = peer.Close()
		}
	}},
	{Name: "CloseFresh", Run: func(t *testing.T, e *Env) {
		f := e.Backend.Socket()
		readErr(t, f, fd.None)
		writeErr(t, f, fd.None)
		if f.RemoteAddr() != nil || f.LocalAddr() != nil {
			t.Error("an FD that was never connected has addresses")
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		readErr(t, f, fd.ClosedLocally, net.ErrClosed)
		l := e.Listen(t, defaultConfig)
		err := f.Connect(t.Context(), l.Addr())
		wantErr(t, "Connect", err, "connect", fd.ClosedLocally, net.ErrClosed)
	}},
	{Name: "DescriptorReuse", Core: true, Run: descriptorReuse},
	{Name: "CloseReasons", Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		first, second := errors.New("first"), errors.New("second")
		ours.AddReason(nil)
		ours.AddReason(first)
		if err := ours.CloseWithReason(second); err != nil {
			t.Fatal(err)
		}
		if got := ours.Reasons(); len(got) != 2 || got[0] != second || got[1] != first {
			t.Errorf("Reasons = %v, want the latest first", got)
		}
		wantReason(t, ours, fd.ClosedLocally)
	}},
}

// wantExactly checks the count that an aborted Write returned: it is what the
// FD counted, and what the peer gets, to the byte.
func wantExactly(t testing.TB, ours *fd.FD, peer net.Conn, n int) {
	t.Helper()
	if got := ours.Stats().Written; got != uint64(n) {
		t.Errorf("Stats().Written = %d, Write returned %d", got, n)
	}
	_ = ours.Close()
	_ = peer.SetDeadline(time.Now().Add(patience))
	if got, err := io.Copy(io.Discard, peer); got != int64(n) || err != nil {
		t.Errorf("the peer read %d bytes, %v; Write returned %d", got, err, n)
	}
}

// descriptorReuse closes connections with calls in flight while new ones take
// over their numbers: no byte and no end may go to the wrong one.
func descriptorReuse(t *testing.T, e *Env) {
	l := e.Listen(t, defaultConfig)
	for i := range e.times(100) {
		old := e.Dial(t, l.Addr())
		oldPeer := e.Accept(t, l)
		pending := goRead(old, make([]byte, 64))
		if i%4 == 0 {
			parked(t, "fd.(*FD).Read", 1)
		}
		_ = old.Close()

		young := e.Dial(t, l.Addr()) // takes the number of old
		youngPeer := e.Accept(t, l)
		message := fmt.Sprintf("message %d", i)
		got := goRead(young, make([]byte, 64))
		write(t, youngPeer, message)
		buf := make([]byte, 64)
		copyOf := goRead(youngPeer, buf)
		write(t, young, message)

		if r := await(t, pending, "the end of the old Read"); !errors.Is(r.err, net.ErrClosed) {
			t.Fatalf("the old Read ended with %d, %v", r.n, r.err)
		}
		if r := await(t, got, "the new Read"); r.err != nil || r.n != len(message) {
			t.Fatalf("the new Read got %d, %v", r.n, r.err)
		}
		if r := await(t, copyOf, "the peer's Read"); r.err != nil || string(buf[:r.n]) != message {
			t.Fatalf("the peer's Read got %q, %v", buf[:r.n], r.err)
		}
		writeErr(t, old, fd.ClosedLocally, net.ErrClosed)
		if err := old.SetDeadline(past); err == nil {
			t.Fatal("a closed FD took a deadline")
		}
		write(t, youngPeer, "alive")
		read(t, young, "alive")
		_ = oldPeer.Close()
		_ = young.Close()
		_ = youngPeer.Close()
	}
}

// backendCases are about the Backend itself.
var backendCases = []Case{
	{Name: "BackendClose", Core: true, Run: func(t *testing.T, e *Env) {
		b := e.own(t)
		own := &Env{Row: e.Row, Network: e.Network, Backend: b}
		l := own.Listen(t, defaultConfig)
		// The peers are net's: one of ours would end the other by its own end.
		connection := func() *fd.FD {
			peer, err := net.Dial(e.Network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = peer.Close() })
			return own.Accept(t, l)
		}
		reader, writer := connection(), connection()
		reading := goRead(reader, make([]byte, 16))
		writing := goWrite(writer, make([]byte, 64<<20))
		accepting := async(func() error {
			_, _, err := l.Accept(context.Background())
			return err
		})
		parked(t, "fd.(*FD).Read", 1)
		parked(t, "fd.(*FD).Write", 1)
		parked(t, "accept.(*Listener).Accept", 1)
		closing := async(b.Close)
		wantErr(t, "Read", await(t, reading, "the end of Read").err, "read", fd.ClosedLocally, net.ErrClosed)
		wantErr(t, "Write", await(t, writing, "the end of Write").err, "write", fd.ClosedLocally, net.ErrClosed)
		if err := await(t, accepting, "the end of Accept"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want net.ErrClosed", err)
		}
		own.serves.release() // Close waits for handlers
		if err := await(t, closing, "the end of Backend.Close"); err != nil {
			t.Fatalf("Backend.Close: %v", err)
		}
		// What comes after is refused, and nothing crashes.
		if err := b.Socket().Connect(t.Context(), l.Addr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Connect: %v, want net.ErrClosed", err)
		}
		if l, err := b.Listen(t.Context(), e.Network, e.Address(t), defaultConfig); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Listen = %v, %v; want net.ErrClosed", l, err)
		}
		if _, _, err := l.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want net.ErrClosed", err)
		}
		readErr(t, reader, fd.ClosedLocally, net.ErrClosed)
		if err := reader.Close(); err != nil {
			t.Errorf("Close of an FD after its Backend's: %v", err)
		}
		if err := b.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Backend.Close: %v, want net.ErrClosed", err)
		}
		if s := b.Stats(); s.Sockets != 0 || s.Listeners != 0 || s.InFlight != 0 {
			t.Errorf("after Close: %+v", s)
		}
	}},
	{Name: "BackendsAreApart", Run: func(t *testing.T, e *Env) {
		other := e.With(t)
		client, server := e.Pair(t)
		otherClient, otherServer := other.Pair(t)
		_ = client.Close()
		readErr(t, server, fd.ClosedByPeer, io.EOF)
		write(t, otherClient, "ours goes on")
		read(t, otherServer, "ours goes on")
	}},
	{Name: "BackendStats", Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, defaultConfig)
		client := e.Dial(t, l.Addr())
		server := e.Accept(t, l)
		s := e.Backend.Stats()
		for end := time.Now().Add(patience); e.Row.Served && s.Sockets != 2 && time.Now().Before(end); s = e.Backend.Stats() {
			time.Sleep(time.Millisecond) // a loop counts at the end of a turn
		}
		if s.Sockets != 2 || s.Listeners != 1 {
			t.Errorf("with one connection and one listener: %d sockets, %d listeners", s.Sockets, s.Listeners)
		}
		_, _, _ = client.Close(), server.Close(), l.Close()
		if s := e.Backend.Stats(); s.Sockets != 0 || s.Listeners != 0 {
			t.Errorf("with all closed: %d sockets, %d listeners", s.Sockets, s.Listeners)
		}
	}},
	{Name: "BackendSaysWhy", Run: func(t *testing.T, e *Env) {
		if got := e.Backend.Kind(); got != e.Row.Options.Backend {
			t.Errorf("Kind = %s", got)
		}
		if e.Backend.Why() == "" {
			t.Error("Why is empty")
		}
		if f := e.Backend.Features(); f&e.Row.Options.Without != 0 {
			t.Errorf("Features = %v, and %v are masked", f, e.Row.Options.Without)
		}
	}},
}
