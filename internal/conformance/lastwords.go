package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// lastWordsInHandlersCases: what came before a reset is handed over before the reset is
// told, as net does.
var lastWordsInHandlersCases = []Case{
	{Name: "ResetWhileLoopIsBusy", Core: true, TCP: true, Run: func(t *testing.T, e *Env) {
		e = e.With(t, func(o *ringfd.Options) { o.Loops.Count, o.Loops.HandlerLimit = 1, -1 })
		const words = "you are banned"
		got := make(chan string, 1)
		for _, h := range []style{
			{"blocking", fd.Handler{Blocking: func(f *fd.FD) {
				data, err := io.ReadAll(f.Conn())
				got <- fmt.Sprint(string(data), ", ", errors.Is(err, syscall.ECONNRESET), ", ", f.RemoteAddr() != nil)
			}}},
			{"data", lastWordsHandler(got)},
		} {
			t.Run(h.name, func(t *testing.T) {
				goOn, began := make(chan struct{}), make(chan struct{})
				busy, _ := e.serveWith(t, fd.Handler{Data: func(*fd.FD, []byte) { close(began); <-goOn }})
				l, _ := e.serveWith(t, h.handler)
				write(t, e.peerOf(t, busy), "x")
				await(t, began, "the handler that holds the loop")
				c, err := net.Dial(e.Network, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				write(t, c, words)
				reset(t, c)
				close(goOn)
				if s, want := await(t, got, "the handler"), words+", true, true"; s != want {
					t.Errorf("the handler got %q, want %q", s, want)
				}
			})
		}
	}},
}

func lastWordsHandler(got chan<- string) fd.Handler {
	var all []byte
	return fd.Handler{
		Data: func(_ *fd.FD, data []byte) { all = append(all, data...) },
		End: func(f *fd.FD, err error) {
			got <- fmt.Sprint(string(all), ", ", errors.Is(err, syscall.ECONNRESET), ", ", f.RemoteAddr() != nil)
		},
	}
}
