package load

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringfd/ringfd/bench/control"
)

var workloads = []Spec{
	{Workload: Echo, Conns: 1, Depth: 1, Request: control.StampSize},
	{Workload: Echo, Conns: 7, Depth: 1, Request: 64},
	{Workload: Echo, Conns: 5, Depth: 5, Request: 100},
	{Workload: Echo, Conns: 2, Depth: 2, Request: 3 << 20},
	{Workload: Exchange, Conns: 4, Depth: 1, Request: 17, Reply: 9000},
	{Workload: Exchange, Conns: 2, Depth: 4, Request: 1 << 20, Reply: 8},
	{Workload: Exchange, Conns: 2, Depth: 4, Request: 8, Reply: 1 << 20},
	{Workload: Exchange, Conns: 3, Depth: 16, Request: 64, Reply: 64},
	{Workload: Churn, Conns: 3, Depth: 1, Request: 64},
	{Workload: Churn, Conns: 1, Depth: 1, Request: 200_000},
	{Workload: Fanout, Conns: 20, Depth: 1, Request: 1 << 10},
	{Workload: Fanout, Conns: 9, Depth: 4, Request: 64},
	{Workload: Idle, Conns: 50, Depth: 1, Request: 64},
	{Workload: Trace, Conns: 40, Depth: 1},
	{Workload: Trace, Conns: 3, Depth: 3},
	{Workload: Flood, Conns: 9, Depth: 4, Request: 64, Reply: 4 << 10, Rate: 20_000},
}

func TestCountsAreTheServers(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		for _, network := range []string{"tcp4", "tcp6", "unix"} {
			for _, spec := range workloads {
				name := fmt.Sprintf("%s/%s-%d-%d-%d-%d", network, spec.Workload, spec.Conns, spec.Depth, spec.Request, spec.Reply)
				t.Run(name, func(t *testing.T) {
					spec.Driver = driver
					countsAreTheServers(t, network, spec)
				})
			}
		}
	})
}

func countsAreTheServers(t *testing.T, network string, spec Spec) {
	const d = 4 * time.Millisecond
	s := serveWorkload(t, network, &spec)
	g, err := open(spec)
	if err != nil {
		t.Fatal(err)
	}
	total := g.script.result // of what was sent before the first run
	for range 2 {
		before := s.Totals()
		r, err := g.run(d)
		if err != nil {
			t.Fatal(err)
		}
		if read := s.Totals().Read - before.Read; read != r.Sent {
			t.Errorf("sent %d bytes, the server read %d", r.Sent, read)
		}
		if r.Driver != spec.Driver || r.Wall < d || r.Wall > d+StallLimit {
			t.Errorf("%s ran for %v", r.Driver, r.Wall)
		}
		checkSums(t, spec, r)
		total.Sent += r.Sent
		total.Received += r.Received
		total.Opened += r.Opened
	}
	if spec.Workload != Churn {
		total.Opened = uint64(spec.Conns)
	}
	if err := g.close(); err != nil {
		t.Error(err)
	}
	s.Drain(StallLimit)
	got := s.Totals()
	if got.Read != total.Sent || got.Written != total.Received {
		t.Errorf("sent %d bytes and received %d, the server read %d and wrote %d", total.Sent, total.Received, got.Read, got.Written)
	}
	if got.Accepted != total.Opened || closedByPeer(got) != total.Opened || got.Live != 0 {
		t.Errorf("%d connections, the server has %+v", total.Opened, got)
	}
}

// checkSums checks what must be so in the result of any server.
func checkSums(t *testing.T, spec Spec, r *Result) {
	t.Helper()
	encoded, err := hdrhistogram.Decode([]byte(r.Histogram))
	if err != nil {
		t.Fatal(err)
	}
	if encoded.TotalCount() != int64(r.Messages) || LatencyOf(encoded) != r.Latency {
		t.Errorf("%d messages with %+v, but the histogram has %d with %+v", r.Messages, r.Latency, encoded.TotalCount(), LatencyOf(encoded))
	}
	if spec.Workload == Idle {
		if r.Messages != 0 || r.Sent != 0 || r.Received != 0 {
			t.Errorf("not idle: %+v", r)
		}
		return
	}
	if spec.Workload == Flood {
		checkFlood(t, spec, r)
		return
	}
	if r.Messages < uint64(len(newScript(spec, nil).authors)*spec.Depth) {
		t.Errorf("only %d messages", r.Messages)
	}
	sent, received := r.Messages*uint64(spec.Request), r.Messages*uint64(spec.Request)
	opened := uint64(0)
	switch spec.Workload {
	case Exchange:
		received = r.Messages * uint64(spec.Reply)
	case Fanout:
		sent /= uint64(spec.Conns)
	case Churn:
		opened = r.Messages
	case Trace:
		sent, received = r.Sent, r.Sent
	}
	if r.Sent != sent || r.Received != received || r.Opened != opened {
		t.Errorf("%d messages, but %d bytes sent, %d received, %d connections opened", r.Messages, r.Sent, r.Received, r.Opened)
	}
	if l := r.Latency; l.Min <= 0 || l.Min > l.P50 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max || l.Max > r.Wall+r.Wall/100 {
		t.Errorf("latencies %+v", l)
	}
}

// checkFlood: the messages of the flood are sent, and not measured.
func checkFlood(t *testing.T, spec Spec, r *Result) {
	t.Helper()
	all := uint64(newSchedule(spec.Rate, 4*time.Millisecond, 0).total)
	flood := r.Sent - all*uint64(spec.Request)
	if r.Messages == 0 || r.Messages > all/2+1 || r.Sent != r.Received || flood == 0 || flood%uint64(spec.Reply) != 0 || r.Quiet == nil {
		t.Fatalf("%d messages of %d, %d bytes sent, %d received, quiet %+v", r.Messages, all, r.Sent, r.Received, r.Quiet)
	}
}

func TestMistakesInSpec(t *testing.T) {
	good := Spec{Network: "tcp", Address: "127.0.0.1:1", Workload: Echo, Conns: 1, Depth: 1, Request: 64}
	for _, c := range []struct {
		what   string
		change func(*Spec)
	}{
		{`network "udp"`, func(s *Spec) { s.Network = "udp" }},
		{`workload "talk"`, func(s *Spec) { s.Workload = "talk" }},
		{"0 connections", func(s *Spec) { s.Conns = 0 }},
		{"depth of 0", func(s *Spec) { s.Depth = 0 }},
		{"depth of 2 in churn", func(s *Spec) { s.Depth, s.Workload = 2, Churn }},
		{"of 7 and 7 bytes", func(s *Spec) { s.Request = 7 }},
		{"of 64 and 0 bytes", func(s *Spec) { s.Workload = Exchange }},
		{"at most 67108864", func(s *Spec) { s.Request = MessageLimit + 1 }},
		{"rate of -1", func(s *Spec) { s.Rate = -1 }},
		{"rate of 1 messages per second in idle", func(s *Spec) { s.Rate, s.Workload = 1, Idle }},
		{"0 messages per second in flood", func(s *Spec) { s.Workload, s.Conns, s.Reply = Flood, 2, 64 }},
		{"1 connections and a rate of 5", func(s *Spec) { s.Workload, s.Rate, s.Reply = Flood, 5, 64 }},
		{`driver "camel"`, func(s *Spec) { s.Driver = "camel" }},
		{"cannot spin", func(s *Spec) { s.Driver, s.Spin = Portable, true }},
	} {
		spec := good
		c.change(&spec)
		if _, err := open(spec); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(c.what, "driver ")) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestNobodyListens(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		for _, network := range []string{"tcp4", "unix"} {
			l := listen(t, network)
			spec := Spec{Network: l.Addr().Network(), Address: l.Addr().String(), Workload: Echo, Conns: 2, Depth: 1, Request: 64, Driver: driver}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := open(spec); err == nil || !strings.Contains(err.Error(), spec.Address) {
				t.Errorf("%s: %v", network, err)
			}
			spec.Workload = Churn // which finds out in the run
			g := mustOpen(t, spec)
			if _, err := g.run(time.Second); err == nil {
				t.Errorf("%s: no error in churn", network)
			}
		}
	})
}

func TestDriverThatIsChosen(t *testing.T) {
	spec := Spec{Workload: Echo, Conns: 1, Depth: 1, Request: 64}
	serveWorkload(t, "tcp4", &spec)
	want := Portable
	if native := nativeDrivers(t); len(native) > 0 {
		want = Epoll
		spec.Spin = true
		if r := mustRun(t, mustOpen(t, spec), time.Millisecond); r.Driver != native[0] {
			t.Errorf("%s to spin, not %s", r.Driver, native[0])
		}
		spec.Spin = false
	}
	if r := mustRun(t, mustOpen(t, spec), time.Millisecond); r.Driver != want {
		t.Errorf("%s, not %s", r.Driver, want)
	}
}

// A driver may not read the rest of a reply with the beginning of the next, or
// in one piece.
func TestRepliesInPieces(t *testing.T) {
	onAllDrivers(t, func(t *testing.T, driver Driver) {
		address := serve(t, func(conn net.Conn) {
			echoInPieces(conn, 3)
		})
		for _, depth := range []int{1, 4} {
			g := mustOpen(t, Spec{
				Network: "tcp", Address: address, Workload: Echo, Conns: 2, Depth: depth, Request: 40, Driver: driver,
			})
			r := mustRun(t, g, 10*time.Millisecond)
			checkSums(t, g.script.spec, r)
		}
	})
}

func echoInPieces(conn net.Conn, size int) {
	buffer := make([]byte, 1000)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		for p := buffer[:n]; len(p) > 0; p = p[min(size, len(p)):] {
			if _, err := conn.Write(p[:min(size, len(p))]); err != nil {
				return
			}
		}
	}
}
