package main

import (
	"io"
	"net"
	"time"
)

// delay is how long the upstream thinks.
const delay = 50 * time.Millisecond

// upstream asks a server on the same target for each answer, on one connection to it
// for each of its own.
func upstream(s *site) (func(net.Conn), error) {
	address, err := s.behind(func(c net.Conn) {
		defer func() { _ = c.Close() }()
		message := make([]byte, s.spec.Request)
		for {
			if _, err := io.ReadFull(c, message); err != nil {
				return
			}
			time.Sleep(delay)
			if _, err := c.Write(message); err != nil {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return func(client net.Conn) {
		defer func() { _ = client.Close() }()
		server, err := s.dial("tcp", address)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		message := make([]byte, s.spec.Request)
		for {
			if _, err := io.ReadFull(client, message); err != nil {
				return
			}
			if _, err := server.Write(message); err != nil {
				return
			}
			if _, err := io.ReadFull(server, message); err != nil {
				return
			}
			s.answered()
			if _, err := client.Write(message); err != nil {
				return
			}
		}
	}, nil
}
