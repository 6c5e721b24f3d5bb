package conformance

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// bubbleCases hold calls in a bubble of testing/synctest to what net's are there: a call
// that waits is not durably blocked, what a call leaves behind is not in the bubble, and
// what wakes it may be outside.
var bubbleCases = []Case{
	{Name: "BubbleUsesConnection", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		echoed := async(func() error { // outside
			_, err := io.CopyN(peer, peer, 1<<20)
			return err
		})
		inBubble(t, func(t *testing.T) {
			sent := async(func() error {
				_, err := ours.Write(make([]byte, 1<<20))
				return err
			})
			if n, err := io.CopyN(io.Discard, ours, 1<<20); err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
		if err := await(t, echoed, "the echo"); err != nil {
			t.Error(err)
		}
		write(t, peer, "outside")
		read(t, ours, "outside")
	}},
	{Name: "BubbleDeadline", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		began := time.Now()
		const d = 20 * time.Millisecond
		inBubble(t, func(t *testing.T) {
			for range 2 {
				set(t, ours.SetReadDeadline(time.Now().Add(d)))
				wantTimeout(t, readErr(t, ours, fd.None), "read")
			}
			set(t, ours.SetReadDeadline(time.Now().Add(time.Hour)))
		})
		if took := time.Since(began); took < 2*d {
			t.Errorf("two deadlines of %v ended after %v", d, took)
		}
		write(t, peer, "in time")
		read(t, ours, "in time")
		set(t, ours.SetReadDeadline(time.Now().Add(d)))
		wantTimeout(t, readErr(t, ours, fd.None), "read")
	}},
	{Name: "BubbleWaitsInLine", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		wrote := async(func() error {
			parked(t, "fd.(*FD).Read", 2)
			_, err := peer.Write([]byte("ab"))
			return err
		})
		inBubble(t, func(t *testing.T) {
			reads := make(chan error)
			for range 2 {
				go func() {
					_, err := ours.Read(make([]byte, 1))
					reads <- err
				}()
			}
			for range 2 {
				if err := <-reads; err != nil {
					t.Error(err)
				}
			}
		})
		if err := await(t, wrote, "the Write"); err != nil {
			t.Error(err)
		}
	}},
	{Name: "BubbleClosedFromOutside", Core: true, Run: func(t *testing.T, e *Env) {
		ours, _ := e.Pair(t)
		closed := async(func() error {
			parked(t, "fd.(*FD).Read", 1)
			return ours.Close()
		})
		inBubble(t, func(t *testing.T) { readErr(t, ours, fd.ClosedLocally) })
		if err := await(t, closed, "the Close"); err != nil {
			t.Error(err)
		}
	}},
	{Name: "BubbleBroadcast", Core: true, Run: func(t *testing.T, e *Env) {
		fds, peers := e.audience(t, 8)
		inBubble(t, func(t *testing.T) {
			if errs := e.Backend.Broadcast(t.Context(), fds, []byte("all")); errs != nil {
				t.Error(errs)
			}
		})
		for _, p := range peers {
			read(t, p, "all")
		}
	}},
	{Name: "BubbleHasItsOwn", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, accept.Config{})
		inBubble(t, func(t *testing.T) { // more connections than there are pollers
			for range 16 {
				client := e.bubbleDial(t, l)
				f, _, err := l.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				write(t, client, "inside")
				read(t, f, "inside")
				set(t, f.SetDeadline(time.Now().Add(time.Hour)))
				_, _ = f.Close(), client.Close()
			}
		})
		client := e.bubbleDial(t, l)
		f, _, err := l.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		write(t, client, "outside")
		read(t, f, "outside")
		_, _ = f.Close(), client.Close()
	}, Accepted: true},
	{Name: "BubbleAcceptContext", Core: true, Accepted: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, accept.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ctx.Done() // who asks first makes the channel, and in the bubble it would be closed from outside
		go func() {
			parked(t, "accept.(*Listener).Accept", 1)
			cancel()
		}()
		inBubble(t, func(t *testing.T) {
			if _, _, err := l.Accept(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Accept: %v", err)
			}
		})
		inBubble(t, func(t *testing.T) {
			set(t, l.SetDeadline(time.Now().Add(20*time.Millisecond)))
			if _, _, err := l.Accept(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Accept: %v", err)
			}
		})
	}},
}

// bubbleServeCases are those of Serve.
var bubbleServeCases = []Case{
	{Name: "BubbleServe", Core: true, Run: func(t *testing.T, e *Env) {
		l := e.Listen(t, accept.Config{})
		inBubble(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := async(func() error { return e.Backend.Serve(ctx, l, blockingEcho()) })
			f, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			write(t, f, "served")
			read(t, f, "served")
			_ = f.Close()
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		stop := async(func() error { return e.Backend.Serve(t.Context(), l, blockingEcho()) }) // and outside
		f, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		write(t, f, "served")
		read(t, f, "served")
		_ = l.Close()
		_ = f.Close()
		if err := await(t, stop, "the end of Serve"); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}},
}

// bubbleDial connects to l without the help of a goroutine of the test.
func (e *Env) bubbleDial(t *testing.T, l *accept.Listener) *fd.FD {
	t.Helper()
	f, err := e.Backend.Dial(t.Context(), e.Network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// inBubble runs f in a bubble, and waits until nothing is left of it there.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		synctest.Test(t, f)
	}()
	await(t, ended, "the end of the bubble")
}
