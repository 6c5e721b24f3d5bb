package bench

import (
	"context"
	"fmt"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/fd"
)

// Target is a server to measure.
type Target struct {
	Name string `json:"name"`
	// Backend is what its echo server is forced to.
	Backend ringfd.Kind `json:"backend"`
	// Command starts a program that understands ChildCommand. nil is this
	// program itself; another build of it makes another target.
	Command []string `json:"command,omitempty"`
}

// Targets returns the two backends: io_uring, and net to set it against.
func Targets() []Target {
	return []Target{
		{Name: string(ringfd.IOUring), Backend: ringfd.IOUring},
		{Name: string(ringfd.Net), Backend: ringfd.Net},
	}
}

// server is a target's echo server, running.
type server struct {
	*process
	ready serverReady
}

func startServer(ctx context.Context, command []string, spec serverSpec, where placement) (*server, error) {
	p, err := startProcess(ctx, command, roleServer, where)
	if err != nil {
		return nil, err
	}
	answer, err := p.call(request{Do: doStart, Server: &spec})
	if err != nil {
		p.end()
		return nil, err
	}
	return &server{p, *answer.Ready}, nil
}

func (s *server) mark() (serverMark, error) {
	answer, err := s.call(request{Do: doMark})
	if err != nil {
		return serverMark{}, err
	}
	return *answer.Mark, nil
}

// stop ends the server, whose connections the peer has closed, and returns its
// last counts.
func (s *server) stop() (serverMark, error) {
	answer, err := s.call(request{Do: doStop})
	if err != nil {
		return serverMark{}, err
	}
	s.end()
	return *answer.Mark, nil
}

// loadProcess is a running generator.
type loadProcess struct{ *process }

func startLoad(ctx context.Context, command []string, spec loadSpec, where placement) (*loadProcess, error) {
	p, err := startProcess(ctx, command, roleLoad, where)
	if err != nil {
		return nil, err
	}
	if _, err := p.call(request{Do: doStart, Load: &spec}); err != nil {
		p.end()
		return nil, err
	}
	return &loadProcess{p}, nil
}

// checkTotals compares the whole life of a server with that of its generator.
func checkTotals(t Totals, spec loadSpec, messages uint64) error {
	size := messages * uint64(spec.Size)
	peerEnds := t.Ends[fd.ClosedByPeer.String()]
	if t.Read == size && t.Written == size && t.Accepted == uint64(spec.Conns) && peerEnds == t.Accepted {
		return nil
	}
	return fmt.Errorf("the counts disagree: the generator closed %d connections after %d messages of %d bytes; "+
		"the server accepted %d, read %d bytes, wrote %d, and its connections ended so: %v",
		spec.Conns, messages, spec.Size, t.Accepted, t.Read, t.Written, t.Ends)
}
