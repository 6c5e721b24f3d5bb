package ringfd_test

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/conformance"
)

// TestMistakesAreLoud: a panic, and a handler that holds its loop, are told on standard
// error with the stack, as a panic is by net/http; unless Events has functions for that.
func TestMistakesAreLoud(t *testing.T) {
	for _, row := range conformance.ServeRows() {
		if row.Core {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			told := make(chan struct{}, 16)
			quiet := &fd.Events{
				Panic: func(uint64, *fd.PanicError) { told <- struct{}{} },
				Held:  func(fd.Held) { told <- struct{}{} },
			}
			for _, events := range []*fd.Events{nil, {}, quiet} {
				said := standardError(t, func() { misbehave(t, row, events, told) })
				for _, part := range []string{"panicked: too bad", "misbehave"} {
					if got, want := strings.Contains(said, part), events != quiet; got != want {
						t.Errorf("standard error has %q: %v, want %v\n%s", part, got, want, said)
					}
				}
				if row.Options.Backend == ringfd.IOUring && strings.Contains(said, "has held its loop") != (events != quiet) {
					t.Errorf("with these events a held loop is told wrongly:\n%s", said)
				}
			}
			if len(told) == 0 {
				t.Error("the functions of Events were not called")
			}
		})
	}
}

// standardError returns what is written there while f runs.
func standardError(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	said := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		said <- string(all)
	}()
	old := os.Stderr
	os.Stderr = w
	func() {
		defer func() { os.Stderr = old }()
		f()
	}()
	_ = w.Close()
	return <-said
}

// misbehave serves one connection whose handler holds its loop, and then panics.
func misbehave(t *testing.T, row conformance.Row, events *fd.Events, told <-chan struct{}) {
	o := row.Options
	o.Events = events
	o.Loops.HandlerLimit = 10 * time.Millisecond
	b, err := ringfd.Open(o)
	if err != nil {
		t.Skipf("%v (a kernel that allows io_uring would make this run)", err)
	}
	l, err := b.Listen(t.Context(), "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Serve(ctx, l, fd.Handler{Blocking: func(*fd.FD) {
			for b.Kind() == ringfd.IOUring && b.Stats().Loops[0].Held+heldElsewhere(b) == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond) // the stack is told while the handler still holds the loop
			panic("too bad")
		}})
	}()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(c)
	_ = c.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_ = l.Close()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// heldElsewhere is how often the other loops were held.
func heldElsewhere(b *ringfd.Backend) (n uint64) {
	for _, l := range b.Stats().Loops[1:] {
		n += l.Held
	}
	return n
}
