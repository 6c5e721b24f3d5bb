// Package glue makes package net hand out connections and listeners of ringfd where
// the environment says so: RINGFD_FOREIGN=net or io_uring.
package glue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
)

func init() {
	kind := os.Getenv("RINGFD_FOREIGN")
	if kind == "" || kind == "plain" {
		return
	}
	b, err := ringfd.Open(ringfd.Options{Backend: ringfd.Kind(kind)})
	if err != nil {
		fmt.Fprintln(os.Stderr, "RINGFD_FOREIGN:", err)
		os.Exit(2)
	}
	net.ForeignDial = func(ctx context.Context, network string, ra net.Addr, o net.ForeignOptions) (net.Conn, error) {
		return b.WithDial(ringfd.DialConfig{
			LocalAddr: o.LocalAddr,
			KeepAlive: o.KeepAlive,
			Control:   o.Control,
		}).DialContext(ctx, network, ra.String())
	}
	net.ForeignListen = func(ctx context.Context, network string, la net.Addr, o net.ForeignOptions) (net.Listener, error) {
		address := ""
		if la != nil {
			address = la.String()
		}
		l, err := b.Listen(ctx, network, address, accept.Config{KeepAlive: o.KeepAlive, Control: o.Control})
		if err != nil {
			var e *accept.ListenError
			if errors.As(err, &e) {
				err = e.Reason
			}
			return nil, &net.OpError{Op: "listen", Net: network, Addr: la, Err: err}
		}
		return l.NetListener(), nil
	}
}
