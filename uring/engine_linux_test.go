package uring

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/fd"
)

// newEngine is an engine that the test closes, or its end does.
func newEngine(t testing.TB, c Config) *Engine {
	t.Helper()
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// connect makes both ends of a TCP connection in e.
func connect(t testing.TB, e *Engine) (client, server *Socket) {
	t.Helper()
	l, err := e.Listen(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, "tcp4", accept.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client = e.NewSocket(nil)
	_ = client
	return nil, nil
}

func TestSocketAfterEngineClose(t *testing.T) {
	e := newEngine(t, Config{})
	s := e.NewSocket(&fd.DialConfig{})
	_ = e.Close()
	if err := s.Connect(context.Background(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Connect: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
