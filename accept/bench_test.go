package accept_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// BenchmarkClassify finds the class of an error.
func BenchmarkClassify(b *testing.B) {
	for _, c := range []struct {
		name string
		err  error
		want accept.Class
	}{
		{"errno", tooManyFiles, accept.System},
		{"wrapped", os.NewSyscallError("accept", thatOneIsGone), accept.Socket},
		{"unknown", os.NewSyscallError("accept", strange), accept.Unexpected},
		{"no-errno", errors.New("no errno"), accept.Unexpected},
	} {
		b.Run("error="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := accept.Classify(c.err); got != c.want {
					b.Fatalf("%v is %v, want %v", c.err, got, c.want)
				}
			}
		})
	}
}

// endless is an acceptor that answers as its script says, again and again, for
// as long as more is true.
type endless struct {
	*fakeAcceptor
	more func() bool
	next int
}

func (a *endless) Accept(context.Context) (fd.Socket, error) {
	if !a.more() {
		return nil, net.ErrClosed
	}
	err := a.script[a.next]
	a.next = (a.next + 1) % len(a.script)
	if err != nil {
		return nil, err
	}
	return fakeSocket{}, nil
}

// BenchmarkLoop runs the loop on an acceptor that has an answer at once, an
// operation being one answer: connections only, and one that is gone among
// them.
func BenchmarkLoop(b *testing.B) {
	for _, c := range []struct {
		name   string
		script []error
	}{
		{"none", []error{nil}},
		{"1-in-16", append(make([]error, 15), os.NewSyscallError("accept", thatOneIsGone))},
	} {
		b.Run("gone="+c.name, func(b *testing.B) {
			l := accept.New(&endless{fakeAcceptor: newFake(c.script...), more: b.Loop}, nil)
			handled, gone := 0, 0
			loop := accept.Loop{OnError: func(*accept.Error, time.Duration) { gone++ }}
			b.ReportAllocs()
			if err := loop.Run(context.Background(), l, func(*fd.FD, net.Addr) { handled++ }); err != nil {
				b.Fatal(err)
			}
			if want := b.N / len(c.script) * (len(c.script) - 1); handled+gone != b.N || handled < want {
				b.Fatalf("%d connections and %d errors came of %d answers", handled, gone, b.N)
			}
		})
	}
}
