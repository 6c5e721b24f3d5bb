package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
	"github.com/ringfd/ringfd/internal/leak"
)

// closingCases close a Backend while it is busy.
var closingCases = []Case{
	{Name: "BackendCloseDuringCalls", Core: true, Run: backendCloseDuringCalls},
}

// closingServeCases close a Backend in its handlers.
var closingServeCases = []Case{
	{Name: "BackendCloseInHandler", Core: true, Run: func(t *testing.T, e *Env) {
		for _, place := range []string{"Blocking", "Open", "Data", "End"} {
			t.Run(place, func(t *testing.T) { backendCloseInHandler(t, e, place) })
		}
	}},
}

// backendCloseDuringCalls closes a Backend by several goroutines at once, under calls
// of every kind that waits. One of them has closed it; when any returns, nothing is
// left.
func backendCloseDuringCalls(t *testing.T, e *Env) {
	leak.Check(t)
	b := e.own(t)
	own := &Env{Row: e.Row, Network: e.Network, Backend: b}
	ctx := context.Background()
	calls := make(map[string]<-chan error)

	plain, err := net.Listen(e.Network, e.Address(t)) // whose connections nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var fds []*fd.FD
	for range 3 {
		f, err := b.Dial(ctx, e.Network, plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, f)
	}
	calls["Broadcast"] = async(func() error {
		for i, err := range b.Broadcast(ctx, fds, make([]byte, beyondBuffers)) {
			if !errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("connection %d: %w", i, err)
			}
		}
		return net.ErrClosed
	})
	parked(t, "ringfd.(*Backend).Broadcast", 1)
	accepting, serving := own.Listen(t, defaultConfig), own.Listen(t, defaultConfig)
	calls["Accept"] = async(func() error {
		_, _, err := accepting.Accept(ctx)
		return err
	})
	parked(t, "accept.(*Listener).Accept", 1)
	calls["Serve"] = async(func() error { return b.Serve(ctx, serving, dataEcho()) })
	if err := wantEcho(own.peerOf(t, serving), []byte("served")); err != nil {
		t.Fatal(err)
	}
	if e.tcp() && runtime.GOOS == "linux" {
		silent := fullListener(t, e).String()
		calls["Dial"] = async(func() error {
			_, err := b.Dial(ctx, e.Network, silent)
			return err
		})
		calls["DialServe"] = async(func() error {
			_, err := b.DialServe(ctx, e.Network, silent, blockingEcho())
			return err
		})
		parked(t, "fd.(*FD).Connect", 2)
	}

	const closers = 8
	closed := make(chan error, closers)
	for range closers {
		go func() {
			err := b.Close()
			if s := b.Stats(); s.Sockets != 0 || s.Listeners != 0 || s.InFlight != 0 {
				err = fmt.Errorf("Close = %v, with %+v left", err, s)
			}
			closed <- err
		}()
	}
	did := 0
	for range closers {
		switch err := await(t, closed, "the end of Backend.Close"); {
		case err == nil:
			did++
		case err != net.ErrClosed:
			t.Error(err)
		}
	}
	if did != 1 {
		t.Errorf("%d calls of Close say that they closed it, want one", did)
	}
	for call, ended := range calls {
		if err := await(t, ended, "the end of "+call); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v, want net.ErrClosed", call, err)
		}
	}
}

// backendCloseInHandler closes a Backend in a handler, for which Close does not wait.
// Who calls it elsewhere waits for that handler too.
func backendCloseInHandler(t *testing.T, e *Env, place string) {
	leak.Check(t)
	b := e.own(t)
	own := &Env{Row: e.Row, Network: e.Network, Backend: b}
	closed := make(chan error, 2)
	returns := make(chan struct{})
	closeAt := func(here string) {
		if here == place {
			closed <- b.Close()
			closed <- b.Close()
			<-returns
		}
	}
	h := fd.Handler{
		Open: func(*fd.FD) { closeAt("Open") },
		Data: func(*fd.FD, []byte) { closeAt("Data") },
		End:  func(*fd.FD, error) { closeAt("End") },
	}
	if place == "Blocking" {
		h = fd.Handler{Blocking: func(f *fd.FD) {
			if _, err := f.Read(make([]byte, 1)); err == nil {
				closeAt("Blocking")
			}
		}}
	}
	l := own.Listen(t, accept.Config{})
	serving := async(func() error { return b.Serve(context.Background(), l, h) })
	c := own.peerOf(t, l)
	if place == "End" {
		_ = c.Close()
	} else if place != "Open" {
		write(t, c, "x")
	}
	if err := await(t, closed, "the end of Close in the handler"); err != nil {
		t.Errorf("Close in the handler: %v", err)
	}
	if err := await(t, closed, "the end of Close in the handler"); err != net.ErrClosed {
		t.Errorf("Close again in the handler: %v, want net.ErrClosed", err)
	}
	elsewhere := async(func() error {
		err := b.Close()
		select {
		case <-returns:
		default:
			err = errors.New("Close has returned before a handler")
		}
		return err
	})
	parked(t, "ringfd.(*Backend).Close", 1)
	close(returns)
	if err := await(t, elsewhere, "the end of Close elsewhere"); err != net.ErrClosed {
		t.Errorf("Close elsewhere: %v, want net.ErrClosed", err)
	}
	if err := await(t, serving, "the end of Serve"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v, want net.ErrClosed", err)
	}
}
