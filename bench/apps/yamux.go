package main

import (
	"errors"
	"io"

	"github.com/hashicorp/yamux"

	"github.com/ringfd/ringfd/bench/load"
)

// pairYamux has a session of one stream, on which messages are echoed.
func pairYamux(s *site, i int) (load.Caller, error) {
	near, far, err := s.pair()
	if err != nil {
		return nil, err
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	server, err := yamux.Server(far, config)
	if err != nil {
		return nil, err
	}
	go func() {
		if stream, err := server.Accept(); err == nil {
			s.echo(stream)
		}
	}()
	client, err := yamux.Client(near, config)
	if err != nil {
		return nil, err
	}
	stream, err := client.Open()
	if err != nil {
		return nil, err
	}
	return newStreamCaller(stream, s.spec.Request, i, func() error {
		return errors.Join(client.Close(), server.Close())
	}), nil
}
