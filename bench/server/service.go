package server

import (
	"io"

	"github.com/ringfd/ringfd/bench/control"
)

// Spec is what a server does with its connections.
type Spec struct {
	Service control.Service
	// Request and Reply are message sizes, for Exchange and Fanout; they are at
	// least control.StampSize.
	Request, Reply int
	// Buffer is the size of the receive buffer that each connection has.
	Buffer int
}

// serve answers on one connection until an error, which it returns.
func (s *Server) serve(c connection) error {
	switch s.spec.Service {
	case control.Exchange:
		return s.exchange(c)
	case control.Fanout:
		return s.fanout(c)
	}
	return s.echo(c)
}

func (s *Server) echo(c connection) error {
	buffer := make([]byte, s.spec.Buffer)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := c.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// exchange counts bytes to tell requests apart, and keeps of each its stamp.
func (s *Server) exchange(c connection) error {
	buffer, reply := make([]byte, s.spec.Buffer), make([]byte, s.spec.Reply)
	have := 0 // bytes of the request that is coming in
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return err
		}
		for in := buffer[:n]; len(in) > 0; {
			part := in[:min(len(in), s.spec.Request-have)]
			if have < control.StampSize {
				copy(reply[have:control.StampSize], part)
			}
			in = in[len(part):]
			if have += len(part); have < s.spec.Request {
				break
			}
			have = 0
			if _, err := c.Write(reply); err != nil {
				return err
			}
		}
	}
}

func (s *Server) fanout(c connection) error {
	message := make([]byte, s.spec.Request)
	for {
		if _, err := io.ReadFull(c, message); err != nil {
			return err
		}
		for _, member := range *s.members.Load() {
			// Whom the message does not reach has ended, which is for its own
			// handler to say.
			_, _ = member.Write(message)
		}
	}
}
