package main

import (
	"net"
	"strings"

	"github.com/tidwall/redcon"
)

// serveRESP is redcon's own server.
func serveRESP(s *site, l net.Listener) error {
	return redcon.Serve(l, func(c redcon.Conn, command redcon.Command) { s.execute(c, command) },
		nil, nil)
}

// writer is what redcon's connections and writers share.
type writer interface {
	WriteBulk(bulk []byte)
	WriteString(s string)
	WriteError(message string)
}

// execute answers one command: those that a client asks for when it begins, too.
func (s *site) execute(w writer, command redcon.Command) {
	switch name := strings.ToUpper(string(command.Args[0])); {
	case name == "ECHO" && len(command.Args) == 2:
		s.answered()
		w.WriteBulk(command.Args[1])
	case name == "PING":
		w.WriteString("PONG")
	default:
		w.WriteError("ERR unknown command")
	}
}

// handleRESP reads what came, answers all of it, and writes the answers at once, as
// redcon's server does.
func handleRESP(s *site) (func(net.Conn), error) {
	return func(c net.Conn) {
		defer func() { _ = c.Close() }()
		in, out := redcon.NewReader(c), redcon.NewWriter(c)
		for {
			commands, err := in.ReadCommands()
			if err != nil {
				return
			}
			for _, command := range commands {
				s.execute(out, command)
			}
			if out.Flush() != nil {
				return
			}
		}
	}, nil
}
