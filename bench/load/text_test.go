package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counted is a connection that counts.
type counted struct {
	net.Conn
	read, written *atomic.Uint64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(uint64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	c.written.Add(uint64(len(p))) // before the other end can know
	return c.Conn.Write(p)
}

// textServer counts what comes and goes on all connections. A reply passes through
// change, if that is not nil, with its number.
type textServer struct {
	net.Listener
	read, written, messages atomic.Uint64
	change                  func(n uint64, body string) string
}

func (s *textServer) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	return counted{c, &s.read, &s.written}, err
}

func (s *textServer) answer(body string) string {
	if n := s.messages.Add(1); s.change != nil {
		return s.change(n, body)
	}
	return body
}

// startHTTP answers as net/http does, with size bytes.
func (s *textServer) startHTTP(t *testing.T, size int) {
	s.Listener = listen(t, "tcp4")
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := s.answer(r.URL.Path[1:] + strings.Repeat("x", size-hexStamp))
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, body)
	})}
	ended := make(chan error)
	go func() { ended <- server.Serve(s) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
}

// startRESP understands ECHO as Redis does, and nothing else.
func (s *textServer) startRESP(t *testing.T) {
	s.Listener = listen(t, "tcp4")
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				in := bufio.NewReader(c)
				for {
					var arguments, name, size int
					if _, err := fmt.Fscanf(in, "*%d\r\n$%d\r\nECHO\r\n$%d\r\n", &arguments, &name, &size); err != nil || arguments != 2 || name != 4 {
						return
					}
					payload := make([]byte, size+2)
					if _, err := io.ReadFull(in, payload); err != nil || string(payload[size:]) != "\r\n" {
						return
					}
					if _, err := io.WriteString(c, bulk(s.answer(string(payload[:size])))); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = s.Close(); all.Wait() })
}

func (s *textServer) start(t *testing.T, spec *Spec) {
	t.Helper()
	if spec.Workload == HTTP {
		s.startHTTP(t, spec.Reply)
	} else {
		s.startRESP(t)
	}
	spec.Network, spec.Address = "tcp", s.Addr().String()
}

var textSpecs = []Spec{
	{Workload: HTTP, Conns: 1, Depth: 1, Reply: hexStamp},
	{Workload: HTTP, Conns: 7, Depth: 1, Reply: 64},
	{Workload: HTTP, Conns: 3, Depth: 4, Reply: 16 << 10},
	{Workload: HTTP, Conns: 9, Depth: 1, Reply: 64, Rate: 5000},
	{Workload: RESP, Conns: 1, Depth: 1, Request: hexStamp},
	{Workload: RESP, Conns: 5, Depth: 16, Request: 64},
	{Workload: RESP, Conns: 2, Depth: 1, Request: 100_000},
	{Workload: RESP, Conns: 9, Depth: 2, Request: 64, Rate: 5000},
}

// Requests and replies are counted to the byte, and all of them are answered.
func TestTextCounts(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		for _, spec := range textSpecs {
			t.Run(fmt.Sprintf("%s-%d-%d-%d-%v", spec.Workload, spec.Conns, spec.Depth, max(spec.Request, spec.Reply), spec.Rate), func(t *testing.T) {
				s := new(textServer)
				s.start(t, &spec)
				spec.Driver = driver
				g := mustOpen(t, spec)
				total := g.script.result // what it had to find out
				for range 2 {
					r := mustRun(t, g, 4*time.Millisecond)
					request, reply := uint64(len(g.script.text.request)), uint64(len(g.script.text.reply))
					if r.Messages < uint64(min(spec.Conns, 9)) || r.Sent != r.Messages*request || r.Received != r.Messages*reply {
						t.Errorf("%d messages of %d and %d bytes, but %d sent and %d received", r.Messages, request, reply, r.Sent, r.Received)
					}
					if spec.Rate > 0 && r.Messages != uint64(newSchedule(spec.Rate, 4*time.Millisecond, 0).total) {
						t.Errorf("%d messages at %v per second", r.Messages, spec.Rate)
					}
					if spec.Workload == HTTP && reply < uint64(spec.Reply+len("HTTP/1.1 200 OK\r\n")) {
						t.Errorf("a reply has %d bytes, and its body has %d", reply, spec.Reply)
					}
					total.Messages += r.Messages
					total.Sent += r.Sent
					total.Received += r.Received
				}
				if s.messages.Load() != total.Messages || s.read.Load() != total.Sent || s.written.Load() != total.Received {
					t.Errorf("%d messages, %d bytes sent and %d received; the server had %d messages, %d and %d bytes",
						total.Messages, total.Sent, total.Received, s.messages.Load(), s.read.Load(), s.written.Load())
				}
			})
		}
	})
}

// In open loop a latency counts from when its message should have been sent, so a
// server that stops for a while shows in all that it delays.
func TestTextStall(t *testing.T) {
	const stall = 50 * time.Millisecond
	for _, spec := range []Spec{textSpecs[3], textSpecs[7]} {
		t.Run(string(spec.Workload), func(t *testing.T) {
			var until atomic.Int64
			s := &textServer{change: func(n uint64, body string) string {
				if n == 20 {
					until.Store(clock() + int64(stall))
				}
				time.Sleep(time.Duration(until.Load() - clock()))
				return body
			}}
			s.start(t, &spec)
			spec.Conns = 1
			r := mustRun(t, mustOpen(t, spec), 2*stall)
			if r.Messages != 500 || r.Latency.P90 < stall/2 {
				t.Errorf("%d messages, with latencies %+v: half of them were due in a stall of %v", r.Messages, r.Latency, stall)
			}
		})
	}
}

// Whatever is wrong with a reply, the run ends with an error.
func TestTextMistakes(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"another body":      func(body string) string { return body[:len(body)-1] + "?" },
		"another's stamp":   func(body string) string { return "0000000000000000" + body[hexStamp:] },
		"too little":        func(body string) string { return body[:len(body)-1] },
		"more than was due": func(body string) string { return body + "x" },
	} {
		for _, spec := range []Spec{textSpecs[1], textSpecs[5]} {
			t.Run(string(spec.Workload)+"/"+name, func(t *testing.T) {
				const first = 5 // that is wrong
				s := &textServer{change: func(n uint64, body string) string {
					if n < first {
						return body
					}
					return change(body)
				}}
				s.start(t, &spec)
				spec.Conns, spec.Depth = 1, 1
				g := mustOpen(t, spec)
				for s.messages.Load() < first {
					r, err := g.run(time.Millisecond)
					if wrong := s.messages.Load() >= first; wrong != errors.Is(err, errMixedUp) {
						t.Fatalf("%v after %d messages, %+v", err, s.messages.Load(), r)
					}
				}
			})
		}
	}
	for name, change := range map[string]func(string) string{
		"another length": func(body string) string { return body + "x" },
		"no stamp":       func(body string) string { return strings.Repeat("y", len(body)) },
	} {
		spec := textSpecs[1]
		s := &textServer{change: func(_ uint64, body string) string { return change(body) }}
		s.start(t, &spec)
		if g, err := open(spec); err == nil {
			t.Errorf("%s: it begins", name)
			_ = g.close()
		}
	}
}

// What a generator learned by HTTP is what a Caller over another connection checks.
func TestHTTPCaller(t *testing.T) {
	s := &textServer{change: func(n uint64, body string) string {
		if n == 4 {
			return body[:len(body)-1] + "?"
		}
		return body
	}}
	spec := textSpecs[1]
	s.start(t, &spec)
	conn, err := net.Dial(spec.Network, spec.Address)
	if err != nil {
		t.Fatal(err)
	}
	c := NewHTTPCaller(spec, conn, 7)
	for range 3 {
		if err := c.Call(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Call(); !errors.Is(err, errMixedUp) {
		t.Errorf("a reply with another byte: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// slow is a Caller that takes its time, and fails at last.
type slow struct {
	calls  atomic.Uint64
	fails  uint64
	closed atomic.Bool
}

var errSlow = errors.New("too slow")

func (c *slow) Call() error {
	if c.calls.Add(1) == c.fails {
		return errSlow
	}
	time.Sleep(100 * time.Microsecond)
	return nil
}

func (c *slow) Close() error {
	c.closed.Store(true)
	return nil
}

func TestCallers(t *testing.T) {
	all := []*slow{{}, {}, {}}
	c, err := OpenCallers(len(all), func(i int) (Caller, error) { return all[i], nil })
	if err != nil {
		t.Fatal(err)
	}
	before := uint64(len(all))
	r, err := c.Run(20 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	made := all[0].calls.Load() + all[1].calls.Load() + all[2].calls.Load() - before
	if r.Messages != made || r.Latency.Min < 100*time.Microsecond || r.Wall < 20*time.Millisecond {
		t.Errorf("%d calls, and the result is %+v", made, r)
	}
	all[1].fails = all[1].calls.Load() + 3
	if r, err := c.Run(20 * time.Millisecond); !errors.Is(err, errSlow) {
		t.Errorf("a call failed: %v, %+v", err, r)
	}
	if err := c.Close(); err != nil || !all[0].closed.Load() || !all[2].closed.Load() {
		t.Errorf("%v, and not all are closed", err)
	}
	// A first call that fails closes those that were open.
	all = []*slow{{}, {fails: 1}}
	if _, err := OpenCallers(2, func(i int) (Caller, error) { return all[i], nil }); !errors.Is(err, errSlow) || !all[0].closed.Load() || !all[1].closed.Load() {
		t.Errorf("the second cannot begin: %v", err)
	}
}
