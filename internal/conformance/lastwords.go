package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// lastWordsInHandlersCases: what came before a reset is handed over before the reset is
// told, as net does.
var lastWordsInHandlersCases = []Case{
	{Name: "LastWordsAfterWriteInHandlers", Core: true, Run: lastWordsAfterWrite},
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

// lastWordsCases: what came before the end is readable after a Write has found it, as with
// net. The FD closes with the Read that finds the end, whose error is that of the Write.
var lastWordsCases = []Case{
	{Name: "LastWordsAfterWrite", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			const words = "you are banned"
			write(t, peer, words)
			_ = peer.Close()
			wantErr(t, "Write", writeUntilError(ours), "write", fd.Lost)
			if err := ours.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Errorf("SetDeadline: %v", err)
			}
			writeErr(t, ours, fd.Lost)
			read(t, ours, words)
			readErr(t, ours, fd.Lost)
			wantReason(t, ours, fd.Lost)
			if _, err := ours.SyscallConn(); err == nil {
				t.Error("the FD is open after its last words")
			}
		})
	}},
	{Name: "NoLastWords", Core: true, Run: func(t *testing.T, e *Env) {
		e.Ends(t, func(t *testing.T, ours *fd.FD, peer net.Conn) {
			_ = peer.Close()
			wantErr(t, "Write", writeUntilError(ours), "write", fd.Lost)
			if _, err := ours.SyscallConn(); err == nil {
				t.Error("the FD is open after an error, and nothing is left to read")
			}
		})
	}},
}

func writeUntilError(f *fd.FD) error {
	for {
		if _, err := f.Write(make([]byte, 8<<10)); err != nil {
			return err
		}
	}
}

// lastWordsAfterWrite is LastWordsAfterWrite within handlers.
func lastWordsAfterWrite(t *testing.T, e *Env) {
	const words = "you are banned"
	closed, began := make(chan struct{}), make(chan struct{}, 1)
	got := make(chan string, 1)
	var all []byte
	tell := func(text string, err error) {
		reason := fd.None
		if e, ok := errors.AsType[*fd.Error](err); ok {
			reason = e.Reason
		}
		got <- fmt.Sprint(text, ", ", reason)
	}
	for _, h := range []style{
		{"blocking", fd.Handler{Blocking: func(f *fd.FD) {
			_, _ = io.ReadFull(f.Conn(), make([]byte, 2))
			began <- struct{}{}
			f.Offload(func() { <-closed })
			_ = writeUntilError(f)
			var text []byte
			for buf := make([]byte, 100); ; {
				n, err := f.Read(buf)
				if text = append(text, buf[:n]...); err != nil {
					tell(string(text), err)
					return
				}
			}
		}}},
		{"data", fd.Handler{
			Data: func(f *fd.FD, data []byte) {
				if all = append(all, data...); string(all) == "go" {
					began <- struct{}{}
					<-closed
					_ = writeUntilError(f)
				}
			},
			End: func(_ *fd.FD, err error) { tell(string(all[2:]), err) },
		}},
	} {
		t.Run(h.name, func(t *testing.T) {
			closed = make(chan struct{})
			l, _ := e.serveWith(t, h.handler)
			c := e.peerOf(t, l)
			write(t, c, "go")
			await(t, began, "the handler")
			write(t, c, words)
			_ = c.Close()
			close(closed)
			if s, want := await(t, got, "the handler"), words+", "+fd.Lost.String(); s != want {
				t.Errorf("the handler got %q, want %q", s, want)
			}
		})
	}
}
