package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
	"github.com/ringfd/ringfd/bench/server"
	"github.com/ringfd/ringfd/bench/soak"
)

// Child is the whole of a child process in the given role: the program that
// calls Run gives it the control when it is started with control.Command as
// its first argument, and the role as its second.
func Child(role string, in io.Reader, out io.Writer) error {
	switch role {
	case control.RoleServer:
		return server.Child(in, out)
	case control.RoleLoad:
		return load.Child(in, out)
	case control.RoleSoak:
		return soak.Child(in, out)
	}
	return fmt.Errorf("unknown role %q of a child process", role)
}

// serverProcess is a running server.
type serverProcess struct {
	*process
	ready control.Ready
}

func startServer(ctx context.Context, command []string, spec control.ServerSpec, where placement) (*serverProcess, error) {
	p, err := startProcess(ctx, command, control.RoleServer, where)
	if err != nil {
		return nil, err
	}
	answer, err := p.call(control.Request{Do: control.DoStart, Server: &spec})
	if err != nil {
		p.end()
		return nil, err
	}
	if answer.Ready == nil {
		p.end()
		return nil, fmt.Errorf("the %s did not say where it listens", p.name)
	}
	return &serverProcess{p, *answer.Ready}, nil
}

// read asks for a mark: of a server at rest, or of one that stops.
func (s *serverProcess) read(what string) (control.Mark, error) {
	answer, err := s.call(control.Request{Do: what})
	if err != nil {
		return control.Mark{}, err
	}
	if answer.Mark == nil {
		return control.Mark{}, fmt.Errorf("the %s answered %q without its counts", s.name, what)
	}
	return *answer.Mark, nil
}

func (s *serverProcess) mark() (control.Mark, error) { return s.read(control.DoMark) }

// stop ends the server, whose connections the peer has closed, and returns its
// last counts.
func (s *serverProcess) stop() (control.Mark, error) {
	m, err := s.read(control.DoStop)
	if err == nil {
		s.end()
	}
	return m, err
}

// loadProcess is a running generator.
type loadProcess struct{ *process }

// startLoad starts a generator and returns it with what it said before its
// first run.
func startLoad(ctx context.Context, command []string, spec load.Spec, where placement) (*loadProcess, load.Result, error) {
	encoded, err := json.Marshal(spec)
	if err != nil {
		return nil, load.Result{}, err
	}
	p, err := startProcess(ctx, command, control.RoleLoad, where)
	if err != nil {
		return nil, load.Result{}, err
	}
	l := &loadProcess{p}
	before, err := l.result(control.Request{Do: control.DoStart, Load: encoded})
	if err != nil {
		p.end()
		return nil, load.Result{}, err
	}
	return l, before, nil
}

func (l *loadProcess) run(d time.Duration) (load.Result, error) {
	return l.result(control.Request{Do: control.DoRun, Duration: d})
}

func (l *loadProcess) result(r control.Request) (load.Result, error) {
	answer, err := l.call(r)
	if err != nil {
		return load.Result{}, err
	}
	var result load.Result
	err = json.Unmarshal(answer.Load, &result)
	return result, err
}

func (l *loadProcess) stop() error {
	_, err := l.call(control.Request{Do: control.DoStop})
	if err == nil {
		l.end()
	}
	return err
}

// traffic is what a generator did in its life.
type traffic struct {
	conns          uint64
	sent, received uint64
	messages       uint64
}

func (t *traffic) add(r load.Result) {
	t.conns += r.Opened // in the run itself
	t.sent += r.Sent
	t.received += r.Received
	t.messages += r.Messages
}

// checkMessages is check for a server that is a real program: how its bytes go, and
// its connections end, is not to be seen from outside.
func (t traffic) checkMessages(s control.Totals) error {
	if s.Messages == t.messages && s.Accepted == t.conns {
		return nil
	}
	return fmt.Errorf("the counts disagree: the generator had %d messages answered on %d connections; the server answered %d on %d",
		t.messages, t.conns, s.Messages, s.Accepted)
}

// check compares the whole life of a server with that of its generator.
func (t traffic) check(s control.Totals) error {
	ended := s.Ends[control.PeerClosed]
	if s.Read == t.sent && s.Written == t.received && s.Accepted == t.conns && ended == s.Accepted && s.Live == 0 {
		return nil
	}
	return fmt.Errorf("the counts disagree: the generator closed %d connections after %d bytes sent and %d received; "+
		"the server accepted %d, read %d bytes, wrote %d, has %d connections left, and the others ended so: %v",
		t.conns, t.sent, t.received, s.Accepted, s.Read, s.Written, s.Live, s.Ends)
}
