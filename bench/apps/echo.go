package main

import (
	"io"
	"net"
)

func echo(s *site) (func(net.Conn), error) {
	return func(c net.Conn) { s.echo(c) }, nil
}

// echo sends back messages of Request bytes.
func (s *site) echo(c io.ReadWriteCloser) {
	defer func() { _ = c.Close() }()
	message := make([]byte, s.spec.Request)
	for {
		if _, err := io.ReadFull(c, message); err != nil {
			return
		}
		s.answered()
		if _, err := c.Write(message); err != nil {
			return
		}
	}
}
