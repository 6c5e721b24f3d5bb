package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Server is a server as the lab drives it, in Go. A server in another language
// speaks the protocol itself.
type Server interface {
	// Start begins to listen and to serve, and returns once it does; the
	// specification is one that Check has passed. An error
	// that wraps ErrUnavailable says that this server cannot run here. The
	// PID of Ready is filled in by the caller.
	Start(ServerSpec) (Ready, error)
	// Totals returns the counts so far, those of open connections included.
	// Read is exact as soon as the peer has the reply.
	Totals() Totals
	// Engine returns what else the server counts, or nil.
	Engine() any
	// Stop waits until every connection was ended by its peer, at most for
	// DrainLimit, and then ends the server.
	Stop() error
}

// Runner is a server with both ends in its process: it is the generator too.
type Runner interface {
	// Run returns what package load calls a Result.
	Run(d time.Duration) (any, error)
}

// ErrUnavailable is a server that cannot run on this machine.
var ErrUnavailable = errors.New("not available on this machine")

// ServeChild is the whole of a server's process.
func ServeChild(in io.Reader, out io.Writer, s Server) error {
	started := false
	return Child(in, out, func(r Request) (Reply, error) {
		switch {
		case r.Do == DoStart && !started && r.Server != nil:
			if err := r.Server.Check(); err != nil {
				return Reply{}, err
			}
			ready, err := s.Start(*r.Server)
			if err != nil {
				return Reply{Unavailable: errors.Is(err, ErrUnavailable)}, err
			}
			started, ready.PID = true, os.Getpid()
			return Reply{Ready: &ready}, nil
		case r.Do == DoMark && started:
			// The usage first: what follows is not the workload's.
			m := Mark{Usage: ThisProcess()}
			runtime := ThisGo()
			m.Go, m.Totals = &runtime, s.Totals()
			if engine := s.Engine(); engine != nil {
				encoded, err := json.Marshal(engine)
				if err != nil {
					return Reply{}, err
				}
				m.Engine = encoded
			}
			return Reply{Mark: &m}, nil
		case r.Do == DoRun && started:
			runner, ok := s.(Runner)
			if !ok {
				return Reply{}, errors.New("this server has no clients of its own")
			}
			result, err := runner.Run(r.Duration)
			if err != nil {
				return Reply{}, err
			}
			encoded, err := json.Marshal(result)
			return Reply{Load: encoded}, err
		case r.Do == DoStop && !started:
			return Reply{}, nil
		case r.Do == DoStop:
			err := s.Stop()
			return Reply{Mark: &Mark{Usage: ThisProcess(), Totals: s.Totals()}}, err
		}
		return Reply{}, fmt.Errorf("a server cannot %q now", r.Do)
	})
}
