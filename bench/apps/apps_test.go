package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
)

// beApps, in the environment, makes the test binary be ringfd-apps.
const beApps = "RINGFD_TEST_BE_APPS"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(beApps) != "":
		main()
		return
	case len(os.Args) == 3 && os.Args[1] == control.Command: // the lab's own generator
		if err := bench.Child(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// apps is ringfd-apps, as a command.
func apps(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"/usr/bin/env", beApps + "=yes", self}
}

// targets are all, with the test as their program.
func targets(t *testing.T) []bench.Target {
	list := bench.AppTargets("")
	for i := range list {
		list[i].Command = apps(t)
	}
	return list
}

// small is a cell with few connections and no pinning: the tests run beside others.
func small(c bench.Cell) bench.Cell {
	c.Conns, c.Pinned = min(c.Conns, 8), false
	if c.Share > 0 {
		c.Share /= 2 // so that it keeps up, whatever runs beside it
	}
	return c
}

// Each program answers a real client on each target: the lab's generator, its own
// client, or its other end. They check every reply, and Run itself fails where the
// server does not count the same messages and connections.
func TestPrograms(t *testing.T) {
	ran := map[string]bool{"echo": true} // which every run asks each target for
	var cells []bench.Cell
	for _, c := range bench.Apps() {
		known := ran[c.Program] && c.Depth == 1 && c.Name != "http-16KiB-64"
		if known || c.Procs > 1 {
			continue
		}
		ran[c.Program] = true
		cells = append(cells, small(c))
	}
	if len(ran) != len(programs) {
		t.Errorf("the cells have %v, the programs are %v", slices.Sorted(maps.Keys(ran)), slices.Sorted(maps.Keys(programs)))
	}
	config := bench.Config{
		Settings: bench.Settings{Rounds: 1, Warmup: time.Millisecond, Window: 5 * time.Millisecond},
		Cells:    cells, Targets: targets(t), AllowMissing: true,
	}
	report, err := bench.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Cells {
		for _, r := range c.Rounds {
			if r.Load.Messages < uint64(c.Cell.Conns) || r.Load.Latency.P50 <= 0 || r.Server.CPU.Total() <= 0 {
				t.Errorf("%s on %s: %+v", c.Cell.Name, r.Target, r)
			}
		}
		missing := func(t bench.Target) bool { return !slices.Contains(c.Cell.Targets, t.Name) }
		if can := slices.DeleteFunc(slices.Clone(report.Targets), missing); len(c.Rounds) != len(can) {
			t.Errorf("%s: %d rounds on %v", c.Cell.Name, len(c.Rounds), can)
		}
	}
	// In open loop, from intended send times; and where a handler computes.
	cells = cells[:0]
	for _, c := range bench.Apps() {
		if c.Share > 0 && c.Procs == 1 || c.Work > 0 && c.Conns == 64 && c.Procs == 1 {
			cells = append(cells, small(c))
		}
	}
	config.Cells, config.Window = cells, 20*time.Millisecond
	report, err = bench.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Cells {
		for _, r := range c.Rounds {
			if each := r.Server.CPU.Total() / time.Duration(r.Load.Messages); c.Cell.Work > 0 && each < c.Cell.Work/4 {
				t.Errorf("%s on %s: a message costs %v, of which the handler computes for %v", c.Cell.Name, r.Target, each, c.Cell.Work)
			}
			if c.Cell.Share > 0 && (c.Rate == 0 || r.Load.Messages != uint64(max(1, c.Rate*config.Window.Seconds()+0.5))) {
				t.Errorf("%s on %s: %d messages at %v per second", c.Cell.Name, r.Target, r.Load.Messages, c.Rate)
			}
		}
	}
}

// A reply that is wrong fails the call.
func TestWrongReply(t *testing.T) {
	c := newStreamCaller(&tampered{}, 64, 3, nil)
	if err := c.Call(); !errors.Is(err, errMixedUp) {
		t.Errorf("a reply with another byte: %v", err)
	}
}

// tampered returns what is written, but for its last byte.
type tampered struct{ bytes.Buffer }

func (t *tampered) Read(p []byte) (int, error) {
	n, err := t.Buffer.Read(p)
	p[n-1]++
	return n, err
}

func TestMistakes(t *testing.T) {
	for _, spec := range []control.ServerSpec{
		{Target: "io_uring", Program: "pong"},
		{Target: "windows", Program: "http"},
		{Target: "go-net", Program: "http", Address: "nowhere"},
	} {
		spec.Service, spec.Network, spec.Buffer, spec.Request, spec.Reply = control.Program, "tcp", 1, 64, 64
		if ready, err := new(server).Start(spec); err == nil {
			t.Errorf("%+v started: %+v", spec, ready)
		}
	}
	if _, err := callers(load.Spec{Program: "resp"}); err == nil || !strings.Contains(err.Error(), "resp") {
		t.Errorf("a client that there is not: %v", err)
	}
	// net/http serves listeners; what Serve needs is a function of a connection.
	inside := control.ServerSpec{Target: "net-blocking", Program: "http", Service: control.Program, Network: "tcp", Address: "127.0.0.1:0"}
	if _, err := new(server).Start(inside); !errors.Is(err, control.ErrUnavailable) {
		t.Errorf("net/http inside Serve: %v", err)
	}
}

// A child that is no longer wanted ends with its parent.
func TestChildEndsWithItsParent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := append(apps(t), control.Command, control.RoleServer)
	child := exec.CommandContext(ctx, command[0], command[1:]...)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	start := control.Request{Do: control.DoStart, Server: &control.ServerSpec{
		Target: "go-net", Program: "http", Service: control.Program, Network: "tcp", Address: "127.0.0.1:0", Buffer: 1, Request: 64, Reply: 64,
	}}
	if err := json.NewEncoder(stdin).Encode(start); err != nil {
		t.Fatal(err)
	}
	var reply control.Reply
	if err := json.NewDecoder(stdout).Decode(&reply); err != nil || reply.Ready == nil {
		t.Fatalf("%v, %+v", err, reply)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stdout)
	if _ = child.Wait(); ctx.Err() != nil {
		t.Error("it went on")
	}
}
