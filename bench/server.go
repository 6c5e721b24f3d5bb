package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/accept"
)

// serverSpec is what an echo server is started with.
type serverSpec struct {
	Backend     ringfd.Kind   `json:"backend"`
	Buffer      int           `json:"buffer_bytes"`
	BusyPoll    time.Duration `json:"busy_poll_ns"`
	ServiceTime time.Duration `json:"service_time_ns"`
}

// serverReady says what was started.
type serverReady struct {
	Kind    ringfd.Kind `json:"kind"`
	Why     string      `json:"why"`
	Address string      `json:"address"`
	PID     int         `json:"pid"`
}

// serverMark is a reading of the server's counters.
type serverMark struct {
	CPU    CPU           `json:"cpu"`
	Totals Totals        `json:"totals"`
	Engine ringfd.Stats  `json:"engine"`
	At     time.Duration `json:"at_ns"` // since the start
}

// drainLimit is for connections that the generator has closed already: it is
// reached only when their end is lost.
const drainLimit = 5 * time.Second

// serverChild is the echo server's process.
type serverChild struct {
	backend *ringfd.Backend
	echo    *Echo
	cancel  context.CancelFunc
	done    chan error
	started time.Time
}

func (c *serverChild) serve(r request) (reply, error) {
	switch r.Do {
	case doStart:
		ready, err := c.start(r.Server)
		var unavailable *ringfd.UnavailableError
		return reply{Ready: ready, Unavailable: errors.As(err, &unavailable)}, err
	case doMark:
		// The CPU first: what follows is not the workload's.
		cpu := processCPU()
		return reply{Mark: &serverMark{
			CPU: cpu, Totals: c.echo.Totals(), Engine: c.backend.Stats(), At: time.Since(c.started),
		}}, nil
	case doStop:
		if c.echo == nil {
			return reply{}, nil
		}
		c.echo.Drain(drainLimit)
		c.cancel()
		err := errors.Join(<-c.done, c.backend.Close())
		return reply{Mark: &serverMark{CPU: processCPU(), Totals: c.echo.Totals()}}, err
	}
	return reply{}, fmt.Errorf("unknown request %q", r.Do)
}

func (c *serverChild) start(spec *serverSpec) (*serverReady, error) {
	backend, err := ringfd.Open(ringfd.Options{Backend: spec.Backend, BusyPoll: spec.BusyPoll})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := backend.Listen(ctx, "tcp4", "127.0.0.1:0", accept.Config{})
	if err != nil {
		cancel()
		return nil, errors.Join(err, backend.Close())
	}
	c.backend, c.cancel, c.started = backend, cancel, time.Now()
	c.echo = &Echo{Listener: listener, Buffer: spec.Buffer, ServiceTime: spec.ServiceTime}
	c.done = make(chan error, 1)
	go func() { c.done <- c.echo.Run(ctx) }()
	return &serverReady{
		Kind: backend.Kind(), Why: backend.Why(), Address: listener.Addr().String(), PID: os.Getpid(),
	}, nil
}
