package main

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/ringfd/ringfd/bench/load"
)

// program is a real program. It has serve or handler, or both, or pair.
type program struct {
	// serve serves what l accepts, until l is closed.
	serve func(s *site, l net.Listener) error
	// handler returns what serves one connection: on a goroutine of its own where
	// there is no serve, and as a blocking handler inside Backend.Serve.
	handler func(s *site) (func(net.Conn), error)
	// call makes a client of connection i, where the lab's generator does not speak
	// the protocol.
	call func(spec load.Spec, i int) (load.Caller, error)
	// pair makes a connection whose both ends are in this process.
	pair func(s *site, i int) (load.Caller, error)
}

// programs are all of them. bench.Apps has their cells.
var programs = map[string]program{
	"echo":        {handler: echo},
	"http":        {serve: serveHTTP},
	"fasthttp":    {serve: serveFast, handler: handleFast},
	"resp":        {serve: serveRESP, handler: handleRESP},
	"https":       {serve: serveTLS, call: callTLS},
	"proxy":       {handler: proxy},
	"grpc":        {serve: serveGRPC, call: callUnary},
	"grpc-stream": {serve: serveGRPC, call: callStream},
	"websocket":   {serve: serveWebsocket, call: callWebsocket},
	"two-writes":  {handler: twoWrites},
	"upstream":    {handler: upstream},
	"h2":          {serve: serveTLS, call: callH2},
	"yamux":       {pair: pairYamux},
	"rlpx":        {pair: pairRLPx},
	"btcd":        {pair: pairBtcd},
	"libp2p":      {pair: pairLibp2p},
}

func find(name string) (program, error) {
	p, ok := programs[name]
	if !ok {
		return p, fmt.Errorf("unknown program %q: choose %s", name, strings.Join(slices.Sorted(maps.Keys(programs)), ", "))
	}
	return p, nil
}

// callers are the clients of a program.
func callers(spec load.Spec) (*load.Callers, error) {
	p, err := find(spec.Program)
	if err != nil {
		return nil, err
	}
	if p.call == nil {
		return nil, fmt.Errorf("%s has no client of its own", spec.Program)
	}
	return load.OpenCallers(spec.Conns, func(i int) (load.Caller, error) { return p.call(spec, i) })
}
