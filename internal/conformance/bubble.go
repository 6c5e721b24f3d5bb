package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// bubbleCases make calls inside a bubble of testing/synctest, as those of Go's net may be
// made: they are not durably blocked, and nothing that signals from outside is fatal.
var bubbleCases = []Case{
	{Name: "Bubble", Core: true, Run: func(t *testing.T, e *Env) {
		ours, peer := e.Pair(t)
		closing, _ := e.Pair(t)
		go func() {
			buf := make([]byte, 1)
			for {
				if _, err := peer.Read(buf); err != nil {
					return
				}
				time.Sleep(time.Millisecond) // so that the other one waits
				if buf[0] == 'L' {
					_, _ = io.CopyN(io.Discard, peer.Conn(), 16<<20)
				}
				_, _ = peer.Write(buf)
			}
		}()
		synctest.Test(t, func(t *testing.T) {
			for range 20 {
				write(t, ours, "x")
				read(t, ours, "x")
			}
			write(t, ours, "L")
			write(t, ours, string(make([]byte, 16<<20)))
			read(t, ours, "L")
			set(t, ours.SetReadDeadline(past))
			wantTimeout(t, readErr(t, ours, fd.None), "read")
			set(t, ours.SetReadDeadline(forever))
			_ = ours.CloseWrite()
			_ = ours.Close()
			pending := goRead(closing, make([]byte, 1))
			_ = closing.Close()
			if r := <-pending; !errors.Is(r.err, net.ErrClosed) {
				t.Errorf("Read: %v, want net.ErrClosed", r.err)
			}
		})
		// What was lent inside must do outside.
		again, other := e.Pair(t)
		write(t, other, "x")
		read(t, again, "x")
	}},
}

// bubbleServeCases serve from inside a bubble.
var bubbleServeCases = []Case{
	{Name: "BubbleServes", Core: true, Run: func(t *testing.T, e *Env) {
		for _, h := range echoes() {
			t.Run(h.name, func(t *testing.T) {
				e := e.With(t) // whose loops begin in the bubble
				l := e.Listen(t, accept.Config{})
				checked := async(func() error {
					c, err := net.Dial(e.Network, l.Addr().String())
					if err != nil {
						return err
					}
					defer c.Close()
					return wantEcho(c, []byte("through a bubble"))
				})
				plain := listenPlain(t, e)
				dialled := async(func() error {
					c, err := plain.Accept()
					if err != nil {
						return err
					}
					defer c.Close()
					return wantEcho(c, []byte("dialled in a bubble"))
				})
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(context.Background())
					ended := make(chan error, 1)
					go func() { ended <- e.Backend.Serve(ctx, l, h.handler) }()
					f, err := e.Backend.DialServe(ctx, e.Network, plain.Addr().String(), h.handler)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(<-checked, <-dialled); err != nil {
						t.Error(err)
					}
					for i, err := range e.Backend.Broadcast(ctx, []*fd.FD{f}, []byte("x")) {
						if err != nil {
							t.Logf("the peer of %d has gone: %v", i, err)
						}
					}
					_ = f.Close()
					cancel()
					if err := <-ended; err != nil {
						t.Errorf("Serve: %v", err)
					}
				})
			})
		}
	}},
}
