package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// counter is a server that only counts how often it is read.
type counter struct {
	spec    ServerSpec
	failure error
	reads   uint64
	stopped bool
}

func (c *counter) Start(spec ServerSpec) (Ready, error) {
	c.spec = spec
	return Ready{Kind: "counter", Address: spec.Address}, c.failure
}

func (c *counter) Totals() Totals {
	c.reads++
	return Totals{Read: c.reads}
}

func (c *counter) Engine() any { return map[string]int{"turns": 7} }

func (c *counter) Stop() error {
	c.stopped = true
	return c.failure
}

// converse starts a server's process and returns what sends it a request and
// returns the reply.
func converse(t *testing.T, s Server) (call func(Request) Reply, ended <-chan error) {
	t.Helper()
	in, requests := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- ServeChild(in, out, s)
		_ = out.Close()
	}()
	lines := bufio.NewScanner(answers)
	return func(r Request) (answer Reply) {
		t.Helper()
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := requests.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatal("there was no reply to ", r.Do)
		}
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}, done
}

var goodSpec = ServerSpec{Target: "counter", Network: "tcp", Address: "here", Service: Echo, Buffer: 1}

func TestServeChild(t *testing.T) {
	s := new(counter)
	call, ended := converse(t, s)
	for _, early := range []string{DoMark, DoRun, "dance"} {
		if answer := call(Request{Do: early}); !strings.Contains(answer.Error, fmt.Sprintf("%q", early)) {
			t.Errorf("%s before the start: %+v", early, answer)
		}
	}
	answer := call(Request{Do: DoStart, Server: &goodSpec})
	if answer.Error != "" || answer.Ready == nil || answer.Ready.Address != "here" || answer.Ready.PID == 0 || s.spec != goodSpec {
		t.Fatalf("started with %+v: %+v", s.spec, answer)
	}
	if again := call(Request{Do: DoStart, Server: &goodSpec}); again.Error == "" {
		t.Error("it starts twice")
	}
	for i := range uint64(2) {
		m := call(Request{Do: DoMark}).Mark
		if m == nil || m.Totals.Read != i+1 || m.Usage.CPU.Total() <= 0 || m.Go == nil || m.Go.Mallocs == 0 || string(m.Engine) != `{"turns":7}` {
			t.Fatalf("mark %d: %+v", i, m)
		}
	}
	if last := call(Request{Do: DoStop}).Mark; last == nil || last.Totals.Read != 3 || !s.stopped {
		t.Errorf("at the end: %+v", last)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// both is a server that has the other end too.
type both struct{ counter }

func (b *both) Run(d time.Duration) (any, error) {
	return map[string]time.Duration{"ran": d}, b.failure
}

func TestServeChildRuns(t *testing.T) {
	s := new(both)
	call, _ := converse(t, s)
	if answer := call(Request{Do: DoStart, Server: &goodSpec}); answer.Error != "" {
		t.Fatal(answer.Error)
	}
	if answer := call(Request{Do: DoRun, Duration: 7}); answer.Error != "" || string(answer.Load) != `{"ran":7}` {
		t.Errorf("it ran: %+v", answer)
	}
	s.failure = errors.New("no reply")
	if answer := call(Request{Do: DoRun}); answer.Error != "no reply" {
		t.Errorf("a run that fails: %+v", answer)
	}
	call, _ = converse(t, new(counter))
	call(Request{Do: DoStart, Server: &goodSpec})
	if answer := call(Request{Do: DoRun}); !strings.Contains(answer.Error, "no clients") {
		t.Errorf("a server that cannot: %+v", answer)
	}
}

func TestServeChildFailures(t *testing.T) {
	s := &counter{failure: fmt.Errorf("%w: no such kernel", ErrUnavailable)}
	call, _ := converse(t, s)
	if answer := call(Request{Do: DoStart, Server: &goodSpec}); !answer.Unavailable || !strings.Contains(answer.Error, "no such kernel") || answer.Ready != nil {
		t.Errorf("a server that cannot run here: %+v", answer)
	}
	s.failure = errors.New("another failure")
	if answer := call(Request{Do: DoStart, Server: &goodSpec}); answer.Unavailable || answer.Error != "another failure" {
		t.Errorf("a server that fails: %+v", answer)
	}
	s.failure = nil
	if answer := call(Request{Do: DoStart, Server: &goodSpec}); answer.Error != "" {
		t.Errorf("after failures it cannot start: %+v", answer)
	}
	s.failure = errors.New("not in time")
	if answer := call(Request{Do: DoStop}); answer.Error != "not in time" || answer.Mark == nil {
		t.Errorf("a stop that fails: %+v", answer)
	}
}

func TestServerSpecCheck(t *testing.T) {
	if err := goodSpec.Check(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*ServerSpec){
		`unknown service "ping"`:    func(s *ServerSpec) { s.Service = "ping" },
		`unknown network "udp"`:     func(s *ServerSpec) { s.Network = "udp" },
		"messages of 7 and 8 bytes": func(s *ServerSpec) { s.Service, s.Request, s.Reply = Exchange, 7, 8 },
		"messages of 8 and 0 bytes": func(s *ServerSpec) { s.Service, s.Request = Fanout, 8 },
		"no program is named":       func(s *ServerSpec) { s.Service = Program },
		"a buffer of 0 bytes":       func(s *ServerSpec) { s.Buffer = 0 },
	} {
		spec := goodSpec
		spoil(&spec)
		call, _ := converse(t, new(counter))
		if answer := call(Request{Do: DoStart, Server: &spec}); !strings.Contains(answer.Error, want) {
			t.Errorf("%+v: %q, want %q", spec, answer.Error, want)
		}
	}
}
