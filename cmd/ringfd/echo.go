package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/server"
)

type echoCommand struct {
	Backend  backendFlag   `help:"auto, io_uring or net. Without it RINGFD_BACKEND, and then auto." placeholder:"KIND"`
	Network  string        `help:"tcp or unix." enum:"tcp,unix" default:"tcp"`
	Listen   string        `help:"Address, or path of a unix socket." default:"127.0.0.1:7000" placeholder:"ADDRESS"`
	BusyPoll time.Duration `help:"Let a reader spin for up to this long before it sleeps." placeholder:"50us"`
}

const echoBuffer = 64 << 10

func (c *echoCommand) Run(ctx context.Context, io stdio) error {
	backend, err := open(ringfd.Options{Backend: c.Backend.kind, BusyPoll: c.BusyPoll})
	if err != nil {
		return err
	}
	listener, err := backend.Listen(ctx, c.Network, c.Listen, accept.Config{})
	if err != nil {
		return errors.Join(err, backend.Close())
	}
	fmt.Fprintf(io.out, "listening on %s, backend %s: %s\n", listener.Addr(), backend.Kind(), backend.Why())
	echo := server.New(server.Spec{Service: control.Echo, Buffer: echoBuffer})
	err = echo.Serve(ctx, listener)
	writeTotals(io.out, echo.Totals())
	return errors.Join(err, backend.Close())
}

func writeTotals(w io.Writer, t control.Totals) {
	fmt.Fprintf(w, "connections %d, bytes read %d, bytes written %d\n", t.Accepted, t.Read, t.Written)
	for _, reason := range slices.Sorted(maps.Keys(t.Ends)) {
		fmt.Fprintf(w, "ended %d: %s\n", t.Ends[reason], reason)
	}
	for _, class := range slices.Sorted(maps.Keys(t.AcceptErrors)) {
		fmt.Fprintf(w, "accept errors %d: %s\n", t.AcceptErrors[class], class)
	}
}
