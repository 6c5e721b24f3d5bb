package conformance

import (
	"context"
	"net"
	"testing"

	"github.com/ringfd/ringfd/accept"
	"golang.org/x/net/nettest"
)

// NetTest runs golang.org/x/net/nettest over a row: on every network, or on
// one for the core rows.
func NetTest(t *testing.T, r Row) {
	networks := Networks()
	if r.Core {
		networks = networks[:1]
	}
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			e := &Env{Row: r, Network: network, Backend: r.Open(t)}
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				return e.pipe(t)
			})
		})
	}
}

func (e *Env) pipe(t *testing.T) (c1, c2 net.Conn, stop func(), err error) {
	if e.Row.Served { // the connections of a Serve do not outlive its listener
		client, server := e.Pair(t)
		return client.Conn(), server.Conn(), func() { _, _ = client.Close(), server.Close() }, nil
	}
	l, err := e.Backend.Listen(context.Background(), e.Network, e.Address(t), accept.Config{})
	if err != nil {
		return nil, nil, nil, err
	}
	defer l.Close()
	c1, err = e.Backend.DialContext(context.Background(), e.Network, l.Addr().String())
	if err != nil {
		return nil, nil, nil, err
	}
	c2, err = l.NetListener().Accept()
	if err != nil {
		_ = c1.Close()
		return nil, nil, nil, err
	}
	return c1, c2, func() { _, _ = c1.Close(), c2.Close() }, nil
}
