// Package net, continued: where somebody else's connections come in.

package net

import (
	"context"
	"syscall"
	"time"
)

// ForeignDial and ForeignListen, where they are not nil, make the stream connections
// and listeners that Dial and Listen and the like return.
var (
	ForeignDial   func(ctx context.Context, network string, ra Addr, o ForeignOptions) (Conn, error)
	ForeignListen func(ctx context.Context, network string, la Addr, o ForeignOptions) (Listener, error)
)

// ForeignOptions are those of a Dialer or a ListenConfig.
type ForeignOptions struct {
	LocalAddr Addr
	KeepAlive KeepAliveConfig
	Control   func(network, address string, c syscall.RawConn) error
}

func keepAlive(config KeepAliveConfig, period time.Duration) KeepAliveConfig {
	if !config.Enable && period >= 0 {
		return KeepAliveConfig{Enable: true, Idle: period}
	}
	return config
}

func foreignNetwork(network string) bool {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
		return true
	}
	return false
}

func (sd *sysDialer) foreignDial(ctx context.Context, ra Addr) (c Conn, err error, ok bool) {
	if ForeignDial == nil || own(ctx) || !foreignNetwork(sd.network) || testHookDialTCP != nil || sd.testHookDialTCP != nil {
		return nil, nil, false
	}
	control := sd.Control
	if sd.ControlContext != nil {
		control = func(network, address string, c syscall.RawConn) error {
			return sd.ControlContext(ctx, network, address, c)
		}
	}
	c, err = ForeignDial(ctx, sd.network, ra, ForeignOptions{
		LocalAddr: sd.LocalAddr,
		KeepAlive: keepAlive(sd.KeepAliveConfig, sd.KeepAlive),
		Control:   control,
	})
	return c, err, true
}

func (sl *sysListener) foreignListen(ctx context.Context, la Addr) (l Listener, err error, ok bool) {
	if ForeignListen == nil || own(ctx) || !foreignNetwork(sl.network) {
		return nil, nil, false
	}
	l, err = ForeignListen(ctx, sl.network, la, ForeignOptions{
		KeepAlive: keepAlive(sl.KeepAliveConfig, sl.KeepAlive),
		Control:   sl.Control,
	})
	return l, err, true
}

type ownKey struct{}

// own tells that net's own connections are asked for, by the two types below.
func own(ctx context.Context) bool { return ctx.Value(ownKey{}) != nil }

// ForeignDialer is the Dialer of those who make foreign connections out of net's own.
type ForeignDialer Dialer

func (d *ForeignDialer) DialContext(ctx context.Context, network, address string) (Conn, error) {
	return (*Dialer)(d).DialContext(context.WithValue(ctx, ownKey{}, true), network, address)
}

// ForeignListenConfig is the ListenConfig of the same.
type ForeignListenConfig ListenConfig

func (lc *ForeignListenConfig) SetMultipathTCP(use bool) { (*ListenConfig)(lc).SetMultipathTCP(use) }

func (lc *ForeignListenConfig) Listen(ctx context.Context, network, address string) (Listener, error) {
	return (*ListenConfig)(lc).Listen(context.WithValue(ctx, ownKey{}, true), network, address)
}
