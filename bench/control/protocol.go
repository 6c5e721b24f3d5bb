// Package control is what the bench lab and its child processes, the servers
// and the load generator, say to each other: a JSON value per line, requests on
// the child's standard input and replies on its standard output. Servers in
// other languages and modules speak it too, so it stays small.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Command is the first argument of a child process; the second is its role.
const Command = "bench-child"

// The roles of a child process.
const (
	RoleServer = "server"
	RoleLoad   = "load"
	RoleSoak   = "soak" // the peers of a soak: generators, and peers that misbehave
)

// The requests. A server understands start, mark and stop, and run if it is a Runner;
// a generator, and the peers of a soak, start, run and stop. Stop ends the process after its reply.
const (
	DoStart = "start"
	DoMark  = "mark"
	DoRun   = "run"
	DoStop  = "stop"
)

// Request is one line to a child process.
type Request struct {
	Do     string      `json:"do"`
	Server *ServerSpec `json:"server,omitempty"`
	// Load is the specification of a generator, or of the peers of a soak; package
	// load, or soak, knows it.
	Load json.RawMessage `json:"load,omitempty"`
	// Duration is how long a run lasts.
	Duration time.Duration `json:"duration_ns,omitempty"`
}

// Reply is the one line of answer to a Request.
type Reply struct {
	Error string `json:"error,omitempty"`
	// Unavailable says that the error is no mistake: this target cannot run
	// on this machine.
	Unavailable bool   `json:"unavailable,omitempty"`
	Ready       *Ready `json:"ready,omitempty"`
	Mark        *Mark  `json:"mark,omitempty"`
	// Load is the result of a run; package load, or soak, knows it.
	Load json.RawMessage `json:"load,omitempty"`
}

// ServerSpec is what a server is started with.
type ServerSpec struct {
	// Target chooses among the servers of one program.
	Target string `json:"target"`
	// Network is tcp or unix, Address where to listen: 127.0.0.1:0, or a path.
	Network string  `json:"network"`
	Address string  `json:"address"`
	Service Service `json:"workload"`
	// Program is what a server runs whose Service is Program, and Conns how many
	// connections it makes if both of their ends are its own.
	Program string `json:"program,omitempty"`
	Conns   int    `json:"conns,omitempty"`
	// Work is how long a handler computes for each message, about.
	Work time.Duration `json:"work_ns,omitempty"`
	// Request and Reply are the sizes of messages, for the services that tell
	// messages apart.
	Request int `json:"request_bytes"`
	Reply   int `json:"reply_bytes"`
	// Buffer is the receive buffer of a connection, where a server has one.
	Buffer int `json:"buffer_bytes"`
	// BusyPoll lets a reader spin for so long, where a server can.
	BusyPoll time.Duration `json:"busy_poll_ns,omitempty"`
	// Computing is how many goroutines compute beside it, where a server is in Go.
	Computing int `json:"computing,omitempty"`
	// Flaw is what a server does wrong on purpose, for the tests of a soak;
	// package server has the list.
	Flaw string `json:"flaw,omitempty"`
}

// Check returns the first mistake in a ServerSpec, but for its Target, which the
// server knows.
func (s ServerSpec) Check() error {
	switch s.Service {
	case Echo:
	case Program:
		if s.Program == "" {
			return errors.New("no program is named")
		}
	case Exchange, Fanout, Soak:
		if s.Request < StampSize || s.Reply < StampSize {
			return fmt.Errorf("messages of %d and %d bytes: at least %d are needed to tell them apart", s.Request, s.Reply, StampSize)
		}
	default:
		return fmt.Errorf("unknown service %q: choose %s, %s, %s, %s or %s", s.Service, Echo, Exchange, Fanout, Soak, Program)
	}
	switch {
	case s.Network != "tcp" && s.Network != "unix":
		return fmt.Errorf("unknown network %q: choose tcp or unix", s.Network)
	case s.Buffer < 1:
		return fmt.Errorf("a buffer of %d bytes: a server needs one to read into", s.Buffer)
	}
	return nil
}

// Service is what a server does.
type Service string

// The services.
const (
	// Echo writes back what is read, as it is read.
	Echo Service = "echo"
	// Exchange answers every Request bytes with Reply bytes, in one Write for
	// each. The reply begins with the first StampSize bytes of its request.
	Exchange Service = "exchange"
	// Fanout writes every Request bytes that it reads to all connections, the
	// sender among them.
	Fanout Service = "fanout"
	// Soak is Echo, and Fanout several times, in one process, each in every style
	// that the server knows. Ready.Groups has the addresses.
	Soak Service = "soak"
	// Program is a real program, which counts its messages.
	Program Service = "program"
)

// StampSize is the least size of a message: room for what tells it apart.
const StampSize = 8

// Ready says what was started, and where it listens.
type Ready struct {
	Kind    string `json:"kind"`
	Why     string `json:"why,omitempty"`
	Address string `json:"address"`
	// Groups are the addresses of the servers of a Soak: of the echo first, and
	// then of the fan-outs.
	Groups [][]string `json:"groups,omitempty"`
	PID    int        `json:"pid"`
}

// Mark is a reading of a server's counters.
type Mark struct {
	Usage  Usage  `json:"usage"`
	Totals Totals `json:"totals"`
	// Go is what the Go runtime did; nil for a server that is not in Go.
	Go *GoUsage `json:"go,omitempty"`
	// Engine is what the target counts itself, as it likes.
	Engine json.RawMessage `json:"engine,omitempty"`
}

// Totals are the counts of a server since its start.
type Totals struct {
	Accepted uint64 `json:"accepted"`
	Live     uint64 `json:"live"`
	Read     uint64 `json:"read_bytes"`
	Written  uint64 `json:"written_bytes"`
	// Messages are those that a Program answered, which counts no bytes.
	Messages uint64 `json:"messages,omitempty"`
	// Ends counts the connections that ended, by reason; PeerClosed is the
	// reason that all of them should have.
	Ends map[string]uint64 `json:"ends,omitempty"`
	// AcceptErrors counts the failed accepts, by class.
	AcceptErrors map[string]uint64 `json:"accept_errors,omitempty"`
}

// PeerClosed is how a connection ends that its peer has closed, or reset.
const PeerClosed = "connection closed by peer"

// DrainLimit is how long a server that is to stop waits for the end of
// connections that the generator has closed already.
const DrainLimit = 5 * time.Second
