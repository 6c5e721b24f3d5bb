package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ringfd/ringfd/fd"
)

// setterCases are about setters that do what they say, or say that they do not; in every
// style, called where the style calls them.
var setterCases = []Case{
	{Name: "Setters", Core: true, Linux: true, Run: func(t *testing.T, e *Env) {
		check := checkSettersOfTCP
		if !e.tcp() {
			check = checkSettersOfUnix
		}
		e.Ends(t, func(t *testing.T, ours *fd.FD, _ net.Conn) {
			if err := check(ours); err != nil {
				t.Error(err)
			}
		})
		if !e.Row.Served {
			return
		}
		for name, style := range settersIn(check) {
			t.Run(name, func(t *testing.T) {
				failed := make(chan error, 1)
				l := e.Listen(t, defaultConfig)
				ctx, cancel := context.WithCancel(context.Background())
				serving := async(func() error { return e.Backend.Serve(ctx, l, style(failed)) })
				c := e.peerOf(t, l)
				_, _ = c.Write([]byte("x")) // a Blocking handler may be over already
				err := await(t, failed, "the end of the setters")
				_ = c.Close()
				cancel()
				if err := errors.Join(err, await(t, serving, "the end of Serve")); err != nil {
					t.Error(err)
				}
				_ = l.Close()
			})
		}
	}},
}

func settersIn(check func(*fd.FD) error) map[string]func(chan<- error) fd.Handler {
	return map[string]func(chan<- error) fd.Handler{
		"Blocking": func(done chan<- error) fd.Handler {
			return fd.Handler{Blocking: func(f *fd.FD) { done <- check(f) }}
		},
		"Open": func(done chan<- error) fd.Handler {
			return fd.Handler{Open: func(f *fd.FD) { done <- check(f) }, Data: func(*fd.FD, []byte) {}}
		},
		"Data": func(done chan<- error) fd.Handler {
			return fd.Handler{Data: func(f *fd.FD, _ []byte) { done <- check(f) }}
		},
	}
}

func checkSettersOfTCP(f *fd.FD) error {
	c := f.Conn()
	for _, s := range []struct {
		name string
		set  func() error
		want map[string]int
	}{
		{"SetNoDelay(false)", func() error { return c.SetNoDelay(false) }, map[string]int{"TCP_NODELAY": 0}},
		{"SetNoDelay(true)", func() error { return c.SetNoDelay(true) }, map[string]int{"TCP_NODELAY": 1}},
		{"SetKeepAlive(false)", func() error { return c.SetKeepAlive(false) }, map[string]int{"SO_KEEPALIVE": 0}},
		{"SetKeepAlive(true)", func() error { return c.SetKeepAlive(true) }, map[string]int{"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 15}},
		{"SetKeepAlivePeriod", func() error { return c.SetKeepAlivePeriod(29500 * time.Millisecond) }, // rounded up, as by net
			map[string]int{"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 15}},
		{"SetKeepAliveConfig", func() error {
			return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 11 * time.Second, Interval: 7 * time.Second, Count: 3})
		}, map[string]int{"TCP_KEEPIDLE": 11, "TCP_KEEPINTVL": 7, "TCP_KEEPCNT": 3}},
		{"SetKeepAliveConfig, negative", func() error {
			return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1})
		}, map[string]int{"TCP_KEEPIDLE": 11, "TCP_KEEPINTVL": 7, "TCP_KEEPCNT": 3}},
		{"SetKeepAliveConfig, zero", func() error { return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) },
			map[string]int{"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 9}},
		{"SetKeepAliveConfig, off", func() error { return c.SetKeepAliveConfig(net.KeepAliveConfig{}) }, map[string]int{"SO_KEEPALIVE": 0}},
		{"SetLinger(0)", func() error { return c.SetLinger(0) }, map[string]int{"SO_LINGER": 1}},
		{"SetLinger(3)", func() error { return c.SetLinger(3) }, map[string]int{"SO_LINGER": 1}},
		{"SetLinger(-1)", func() error { return c.SetLinger(-1) }, map[string]int{"SO_LINGER": 0}},
	} {
		if err := s.set(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := checkOptions(f, s.want); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return checkBuffers(f)
}

// checkBuffers: Linux doubles what it is given (socket(7)).
func checkBuffers(f *fd.FD) error {
	c := f.Conn()
	if err := errors.Join(c.SetReadBuffer(32<<10), c.SetWriteBuffer(48<<10)); err != nil {
		return err
	}
	return checkOptions(f, map[string]int{"SO_RCVBUF": 64 << 10, "SO_SNDBUF": 96 << 10})
}

// checkSettersOfUnix: what is of TCP is refused on a unix socket, not taken and ignored.
func checkSettersOfUnix(f *fd.FD) error {
	c := f.Conn()
	_, mptcp := c.MultipathTCP()
	for name, err := range map[string]error{
		"SetNoDelay": c.SetNoDelay(true), "SetKeepAlive": c.SetKeepAlive(true), "SetKeepAlivePeriod": c.SetKeepAlivePeriod(time.Second),
		"SetKeepAliveConfig": c.SetKeepAliveConfig(net.KeepAliveConfig{}), "SetLinger": c.SetLinger(0), "MultipathTCP": mptcp,
	} {
		if !errors.Is(err, syscall.EOPNOTSUPP) {
			return fmt.Errorf("%s on a unix socket: %v, want EOPNOTSUPP", name, err)
		}
	}
	return checkBuffers(f)
}
