package conformance

import (
	"context"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// happensCases find something under the race detector only: what happened before a Write
// happened before what follows the Read that gets it. Package syscall says so for net's
// connections. The two ends are of two Backends, or their loop would order the two.
var happensCases = []Case{
	{Name: "HappensBefore", Core: true, Run: func(t *testing.T, e *Env) {
		for _, how := range []struct {
			name  string
			write func(b *ringfd.Backend, f *fd.FD) error
		}{
			{"Write", func(_ *ringfd.Backend, f *fd.FD) error { _, err := f.Write([]byte("x")); return err }},
			{"large Write", func(_ *ringfd.Backend, f *fd.FD) error { _, err := f.Write(make([]byte, 64<<10)); return err }},
			{"Writev", func(_ *ringfd.Backend, f *fd.FD) error {
				_, err := f.Writev([][]byte{[]byte("x"), []byte("y")})
				return err
			}},
			{"Broadcast", func(b *ringfd.Backend, f *fd.FD) error {
				for _, err := range b.Broadcast(context.Background(), []*fd.FD{f}, []byte("x")) {
					return err
				}
				return nil
			}},
		} {
			t.Run(how.name, func(t *testing.T) {
				other := e.With(t)
				l := other.Listen(t, accept.Config{})
				writer, reader := e.Dial(t, l.Addr()), other.Accept(t, l)
				word := 0
				reading := async(func() int {
					if _, err := reader.Read(make([]byte, 1)); err != nil {
						t.Error(err)
					}
					return word
				})
				parked(t, "fd.(*FD).Read", 1)
				word = 1
				if err := how.write(e.Backend, writer); err != nil {
					t.Fatal(err)
				}
				if got := await(t, reading, "the end of Read"); got != 1 {
					t.Errorf("the reader sees %d, want 1", got)
				}
				_, _ = writer.Close(), reader.Close()
			})
		}
	}},
}

// happensInHandlersCases are the same with handlers that write and read.
var happensInHandlersCases = []Case{
	{Name: "HappensBeforeInHandlers", Core: true, Run: func(t *testing.T, e *Env) {
		var word int
		saw := make(chan int, 1)
		see := func() { saw <- word }
		for _, reader := range []style{
			{"blocking", fd.Handler{Blocking: func(f *fd.FD) {
				if _, err := f.Read(make([]byte, 1)); err == nil {
					see()
				}
			}}},
			{"data", fd.Handler{Data: func(*fd.FD, []byte) { see() }}},
		} {
			write := func(f *fd.FD) {
				word++
				_, _ = f.Write([]byte("x"))
			}
			for _, writer := range []style{
				{"blocking", fd.Handler{Blocking: write}},
				{"data", fd.Handler{Open: write, Data: func(*fd.FD, []byte) {}}},
			} {
				t.Run(writer.name+" to "+reader.name, func(t *testing.T) {
					word = 0
					other := e.With(t)
					l, _ := other.serveWith(t, reader.handler)
					f, err := e.Backend.DialServe(t.Context(), e.Network, l.Addr().String(), writer.handler)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					if got := await(t, saw, "a message"); got != 1 {
						t.Errorf("the reader sees %d, want 1", got)
					}
				})
			}
		}
	}},
}
