package main

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/ringfd/ringfd/bench/load"
)

// serveWebsocket upgrades requests of net/http, and echoes messages.
func serveWebsocket(s *site, l net.Listener) error {
	return (&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, message, err := conn.Read(s.ctx)
			if err != nil {
				return
			}
			s.answered()
			if conn.Write(s.ctx, kind, message) != nil {
				return
			}
		}
	})}).Serve(l)
}

type websocketCaller struct {
	*websocket.Conn
	stamp stamp
	out   []byte
}

func callWebsocket(spec load.Spec, i int) (load.Caller, error) {
	conn, _, err := websocket.Dial(context.Background(), "ws://"+spec.Address, nil)
	if err != nil {
		return nil, err
	}
	return &websocketCaller{conn, stamp{number: i}, make([]byte, spec.Request)}, nil
}

func (c *websocketCaller) Call() error {
	c.stamp.put(c.out)
	if err := c.Write(context.Background(), websocket.MessageBinary, c.out); err != nil {
		return err
	}
	_, in, err := c.Read(context.Background())
	if err != nil {
		return err
	}
	return sameAs(c.out, in)
}

func (c *websocketCaller) Close() error { return c.CloseNow() }
