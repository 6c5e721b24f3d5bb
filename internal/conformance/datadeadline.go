package conformance

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// dataDeadlineCases: a data handler has no call that a deadline could end, so it ends the
// connection.
var dataDeadlineCases = []Case{
	{Name: "DataReadDeadline", Core: true, Run: func(t *testing.T, e *Env) {
		for _, in := range []time.Duration{-time.Second, 30 * time.Millisecond} {
			for _, from := range []string{"Open", "Data", "elsewhere"} {
				t.Run(fmt.Sprint(in, " from ", from), func(t *testing.T) {
					ends := make(chan error, 1)
					opened := make(chan *fd.FD, 1)
					set := func(f *fd.FD) {
						if err := f.SetReadDeadline(time.Now().Add(in)); err != nil {
							t.Error(err)
						}
					}
					l, _ := e.serveWith(t, fd.Handler{
						Open: func(f *fd.FD) {
							if from == "Open" {
								set(f)
							}
							opened <- f
						},
						Data: func(f *fd.FD, _ []byte) {
							if from == "Data" {
								set(f)
							}
						},
						End: func(_ *fd.FD, err error) { ends <- err },
					})
					peer := e.peerOf(t, l)
					f := await(t, opened, "Open")
					switch from {
					case "Data":
						write(t, peer, "x")
					case "elsewhere":
						set(f)
					}
					wantErr(t, "End", await(t, ends, "the end"), "read", fd.None, os.ErrDeadlineExceeded)
					wantClosed(t, peer)
				})
			}
		}
	}},
	{Name: "DataDeadlineMoves", Core: true, Run: func(t *testing.T, e *Env) {
		// One that is moved on, or taken back, in time ends nothing.
		ends := make(chan error, 1)
		messages := 0
		l, _ := e.serveWith(t, fd.Handler{
			Open: func(f *fd.FD) { set(t, f.SetReadDeadline(time.Now().Add(patience))) },
			Data: func(f *fd.FD, data []byte) {
				set(t, f.SetReadDeadline(past))
				set(t, f.SetReadDeadline(time.Time{}))
				if messages++; messages == 3 {
					set(t, f.SetReadDeadline(past))
				}
				_, _ = f.Write(data)
			},
			End: func(_ *fd.FD, err error) { ends <- err },
		})
		peer := e.peerOf(t, l)
		for range 2 {
			if err := wantEcho(peer, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		write(t, peer, "x")
		wantErr(t, "End", await(t, ends, "the end"), "read", fd.None, os.ErrDeadlineExceeded)
	}},
	{Name: "DataIdleTimeout", Core: true, Run: func(t *testing.T, e *Env) {
		const idle = 150 * time.Millisecond
		ends := make(chan error, 1)
		l, _ := e.serveWith(t, fd.Handler{
			IdleTimeout: idle,
			Data:        func(f *fd.FD, data []byte) { _, _ = f.Write(data) },
			End:         func(_ *fd.FD, err error) { ends <- err },
		})
		silent := time.Now()
		peer := e.peerOf(t, l)
		wantErr(t, "End", await(t, ends, "the end of one that says nothing"), "read", fd.None, os.ErrDeadlineExceeded)
		if took := time.Since(silent); took < idle {
			t.Errorf("it ended after %v, want %v", took, idle)
		}
		wantClosed(t, peer)
		peer = e.peerOf(t, l)
		var last time.Time
		for range 12 { // for longer than the limit
			time.Sleep(idle / 5) // the time between messages is what the test is about
			last = time.Now()
			if err := wantEcho(peer, []byte("x")); err != nil {
				t.Fatal(err) // a machine that stands still for the limit fails here, too
			}
		}
		wantErr(t, "End", await(t, ends, "the end of one that falls silent"), "read", fd.None, os.ErrDeadlineExceeded)
		if took := time.Since(last); took < idle {
			t.Errorf("it ended %v after its last message, want %v", took, idle)
		}
	}},
}

// wantClosed wants the end of what the peer can read.
func wantClosed(t testing.TB, peer net.Conn) {
	t.Helper()
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer reads %v, want io.EOF", err)
	}
}
