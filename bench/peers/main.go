//go:build unix

// Command ringfd-peers holds the servers in Go that the bench lab compares
// ringfd with: gnet and cloudwego/netpoll. The lab starts it as a child process
// (see package control); it is a module of its own so that their dependencies
// are not ringfd's.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/ringfd/ringfd/bench/control"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ringfd-peers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 || args[0] != control.Command || args[1] != control.RoleServer {
		return fmt.Errorf("cannot run %q: the bench lab starts this program, as `ringfd-peers %s %s`",
			strings.Join(args, " "), control.Command, control.RoleServer)
	}
	return control.ServeChild(os.Stdin, os.Stdout, new(peer))
}

// peer is the server that Start chooses.
type peer struct{ control.Server }

func (p *peer) Start(spec control.ServerSpec) (control.Ready, error) {
	server, err := newServer(spec.Target)
	if err != nil {
		return control.Ready{}, err
	}
	p.Server = server
	return server.Start(spec)
}

func newServer(target string) (control.Server, error) {
	switch target {
	case gnetTarget:
		return new(gnetServer), nil
	case netpollTarget:
		return new(netpollServer), nil
	}
	return nil, fmt.Errorf("unknown target %q: choose %s or %s", target, gnetTarget, netpollTarget)
}
