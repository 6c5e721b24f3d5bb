package server

import (
	"context"
	"io"
	"time"

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
	// Work is how long Echo computes for each message, about.
	Work time.Duration
	// Forgets takes the counts of a connection when it ends, and forgets it. In
	// Fanout that is too early for what others still write to it: else those that
	// ended are kept until the server ends, which is too long for a soak.
	Forgets bool
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
		Compute(s.spec.Work)
		if _, err := c.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// exchange answers every request that it reads.
func (s *Server) exchange(c connection) error {
	buffer, r := make([]byte, s.spec.Buffer), s.newRequest()
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return err
		}
		if err := r.exchange(c, buffer[:n]); err != nil {
			return err
		}
	}
}

func (s *Server) fanout(c connection) error {
	message := make([]byte, s.spec.Request)
	for {
		if _, err := io.ReadFull(c, message); err != nil {
			return err
		}
		s.tellAll(message)
	}
}

// tellAll writes message to all members. Whom it does not reach has ended, which
// is for its own handler to say.
func (s *Server) tellAll(message []byte) {
	m := s.members.Load()
	if s.backend != nil {
		_ = s.backend.Broadcast(context.Background(), m.fds, message)
	}
	for _, member := range m.all {
		_, _ = member.Write(message)
	}
}

// request is one that is coming in.
type request struct {
	size int // in bytes
	have int // of them
	// text is the reply in Exchange, which begins as the request does, and in
	// Fanout the message itself.
	text []byte
}

func (s *Server) newRequest() *request {
	size := s.spec.Request
	if s.spec.Service == control.Exchange {
		size = s.spec.Reply
	}
	return &request{size: s.spec.Request, text: make([]byte, size)}
}

// take counts a part of in as the request's, and returns the rest. It reports
// whether the request is complete, and then begins the next.
func (r *request) take(in []byte, keep int) (rest []byte, complete bool) {
	part := in[:min(len(in), r.size-r.have)]
	if r.have < keep {
		copy(r.text[r.have:keep], part)
	}
	if r.have += len(part); r.have == r.size {
		r.have, complete = 0, true
	}
	return in[len(part):], complete
}

// exchange counts bytes to tell requests apart, and keeps of each its stamp.
func (r *request) exchange(w io.Writer, in []byte) error {
	for len(in) > 0 {
		var complete bool
		if in, complete = r.take(in, control.StampSize); complete {
			if _, err := w.Write(r.text); err != nil {
				return err
			}
		}
	}
	return nil
}
