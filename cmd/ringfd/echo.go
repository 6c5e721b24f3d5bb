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
	"github.com/ringfd/ringfd/live"
)

type echoCommand struct {
	Backend  backendFlag   `help:"auto, io_uring or net. Without it RINGFD_BACKEND, and then auto." placeholder:"KIND"`
	Network  string        `help:"tcp or unix." enum:"tcp,unix" default:"tcp"`
	Listen   string        `help:"Address, 127.0.0.1:7000 by default; or with --network=unix the path of a unix socket, which has to be given." placeholder:"ADDRESS"`
	Style    string        `help:"What serves a connection: a goroutine of its own (goroutines), or Serve with a handler of the style blocking or data." enum:"goroutines,blocking,data" default:"goroutines"`
	BusyPoll time.Duration `help:"Let a reader spin for up to this long before it sleeps." placeholder:"50us"`
	Live     string        `help:"Show at this path, a unix socket, what the backend does: for ringfd doctor --live." placeholder:"PATH"`
}

// goroutines is the style that does without Serve.
const goroutines = "goroutines"

const echoBuffer = 64 << 10

func (c *echoCommand) Run(ctx context.Context, io stdio) error {
	if c.Listen == "" {
		if c.Network == "unix" {
			return usageError{errors.New("a unix socket has no usual path: give one with --listen")}
		}
		c.Listen = "127.0.0.1:7000"
	}
	failed := make(acceptErrors)
	backend, err := open(ringfd.Options{Backend: c.Backend.kind, BusyPoll: c.BusyPoll, Accept: accept.Loop{OnError: failed.add}})
	if err != nil {
		return err
	}
	return errors.Join(c.run(ctx, backend, failed, io.out), backend.Close())
}

func (c *echoCommand) run(ctx context.Context, backend *ringfd.Backend, failed acceptErrors, out io.Writer) error {
	if c.Live != "" {
		shown, err := live.Serve(c.Live, backend)
		if err != nil {
			return err
		}
		defer func() { _ = shown.Close() }()
	}
	listener, err := backend.Listen(ctx, c.Network, c.Listen, accept.Config{})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on %s, backend %s: %s\n", listener.Addr(), backend.Kind(), backend.Why())
	echo := server.New(server.Spec{Service: control.Echo, Buffer: echoBuffer})
	if c.Style == goroutines {
		err = echo.Serve(ctx, listener)
	} else {
		err = backend.Serve(ctx, listener, echo.Handler(backend, server.Style(c.Style)))
		err = errors.Join(err, listener.Close())
	}
	totals := echo.Totals()
	maps.Copy(totals.AcceptErrors, failed)
	writeTotals(out, totals)
	return err
}

// acceptErrors counts those that Serve survived, by class. It is read when Serve
// has returned.
type acceptErrors map[string]uint64

func (a acceptErrors) add(err *accept.Error, _ time.Duration) { a[err.Class.String()]++ }

func writeTotals(w io.Writer, t control.Totals) {
	fmt.Fprintf(w, "connections %d, bytes read %d, bytes written %d\n", t.Accepted, t.Read, t.Written)
	for _, reason := range slices.Sorted(maps.Keys(t.Ends)) {
		fmt.Fprintf(w, "ended %d: %s\n", t.Ends[reason], reason)
	}
	for _, class := range slices.Sorted(maps.Keys(t.AcceptErrors)) {
		fmt.Fprintf(w, "accept errors %d: %s\n", t.AcceptErrors[class], class)
	}
}
