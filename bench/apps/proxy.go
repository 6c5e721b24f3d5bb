package main

import (
	"io"
	"net"
)

// proxy copies between its client and an echo that stands behind it, on the same
// target and in the same process: what the echo costs is in the figures of all.
func proxy(s *site) (func(net.Conn), error) {
	address, err := s.behind(func(c net.Conn) { s.echo(c) })
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
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.(interface{ CloseWrite() error }).CloseWrite()
		}()
		_, _ = io.Copy(client, server)
	}, nil
}
