// Package load is the load generator of the bench lab. It runs in a process of
// its own, on a core of its own, drives the connections of one Spec, and
// measures what comes back.
package load

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ringfd/ringfd/bench/control"
)

// Spec is what a generator does.
type Spec struct {
	// Network is tcp or unix, Address where the server listens. It may listen at
	// More addresses: the connections go to all of them in turns.
	Network  string   `json:"network"`
	Address  string   `json:"address"`
	More     []string `json:"more_addresses,omitempty"`
	Workload Workload `json:"workload"`
	// Program is that of a server that is a real program, for its own client.
	Program string `json:"program,omitempty"`
	Conns   int    `json:"conns"`
	// Depth is how many messages a connection has in flight, at most: a group of
	// connections in Trace, and 1 in Churn.
	Depth int `json:"depth"`
	// Request and Reply are sizes in bytes, at least control.StampSize. Only
	// Exchange has a Reply of its own, and Flood, where it is the size of the
	// flood's messages; Trace chooses all sizes.
	Request int `json:"request_bytes"`
	Reply   int `json:"reply_bytes"`
	// Rate is how many messages are sent per second, on all connections
	// together, whatever comes back (open loop). 0 sends a message when the
	// reply of the one before it is there (closed loop). In open loop a message
	// whose connection has Depth in flight waits, and its latency counts.
	Rate float64 `json:"rate,omitempty"`
	// Seed determines the random choices of Trace.
	Seed uint64 `json:"seed,omitempty"`
	// Whole checks every byte of a reply, which costs the generator; see message.
	Whole bool `json:"whole,omitempty"`
	// Spin never sleeps while replies are due. The portable driver cannot.
	Spin bool `json:"spin,omitempty"`
	// Driver is how the sockets are driven; "" chooses the cheapest there is:
	// on Linux Epoll, or Ring to spin.
	Driver Driver `json:"driver,omitempty"`
}

// Workload is what is sent.
type Workload string

// The workloads.
const (
	// Echo sends Request bytes and expects them back.
	Echo Workload = "echo"
	// Exchange sends Request bytes and expects Reply bytes. With one of them
	// large and Depth above 1 it is a bulk stream one way.
	Exchange Workload = "exchange"
	// Churn connects, sends one message, expects it back, and closes. Conns of
	// these run at a time. The latency begins before the connect.
	Churn Workload = "churn"
	// Fanout sends Request bytes on one connection and expects them on all,
	// Depth of these at a time. A message is one that arrived. Before the first
	// run, messages are sent until all connections get them.
	Fanout Workload = "fanout"
	// Idle sends one message on each connection before the first run, and then
	// nothing.
	Idle Workload = "idle"
	// Trace is a p2p node's day: one connection of 16 is busy with messages of
	// 64 B to 128 KiB, whose logarithms are evenly spread; but one message in 64
	// is 64 B on one of the 15 that are idle. Seed decides, and every run is the
	// same.
	Trace Workload = "trace"
	// Flood has echoes at Rate on all connections but the last. In the second
	// half of a run that one keeps Depth echoes of Reply bytes in flight. Messages
	// and latencies are of the others, and of that half; Result.Quiet is of the
	// first.
	Flood Workload = "flood"
	// HTTP asks for paths by HTTP/1.1, and expects bodies of Reply bytes that begin
	// with the path, which is a stamp. Request is nothing here: Sent and Received are
	// of whole messages, heads included.
	HTTP Workload = "http"
	// RESP has ECHO commands of Request bytes, as clients of Redis send them.
	RESP Workload = "resp"
	// Calls is for the client that a Program has of its own, in closed loop. The
	// lab's generator does not know it.
	Calls Workload = "calls"
	// Inside is for a Program that has both ends in the server's process.
	Inside Workload = "inside"
)

// replies reports whether the size of a reply is not that of its request.
func (w Workload) replies() bool { return w == Exchange || w == HTTP || w == RESP }

// Service returns what a server must do for the workload.
func (w Workload) Service() control.Service {
	switch w {
	case Exchange:
		return control.Exchange
	case Fanout:
		return control.Fanout
	case HTTP, RESP, Calls, Inside:
		return control.Program
	}
	return control.Echo
}

// Driver is how a generator drives its sockets.
type Driver string

// The drivers.
const (
	// Epoll is one epoll loop on one thread. Linux.
	Epoll Driver = "epoll"
	// Ring is one io_uring on one thread. Linux, where io_uring works.
	Ring Driver = "io_uring"
	// Portable has a goroutine for each connection, on Go's net.
	Portable Driver = "portable"
)

// Result is what a generator measured in one run.
type Result struct {
	Driver Driver `json:"driver"`
	// Messages is how many were sent and answered. All that were sent are
	// answered when a run ends.
	Messages uint64 `json:"messages"`
	Sent     uint64 `json:"sent_bytes"`
	Received uint64 `json:"received_bytes"`
	// Opened is how many connections were made in the run.
	Opened uint64        `json:"opened,omitempty"`
	Wall   time.Duration `json:"wall_ns"`
	Usage  control.Usage `json:"usage"`
	// Busy is the share of the wall time in which the generator's core worked:
	// its CPU time, without the turns of a thread that spins, or looks at the
	// clock before a send, that found nothing to do.
	Busy float64 `json:"busy"`
	// Late is by how much a send was behind its schedule because the generator
	// itself came late, at most. Open loop.
	Late time.Duration `json:"late_ns,omitempty"`
	// LeastShare is what the connection that got the fewest answers in a second got, of
	// the mean: the least of all whole seconds of a closed loop in which each connection
	// has its own messages. 0 where there was no such second, or one got none.
	LeastShare float64 `json:"least_share,omitempty"`
	// Latency is from before a message's send, or from when it should have been
	// sent in open loop, to the receipt of its last byte.
	Latency Latency `json:"latency"`
	// Quiet is that of the messages before the flood; nil but in Flood.
	Quiet *Latency `json:"quiet,omitempty"`
	// Histogram has all latencies, in nanoseconds: HdrHistogram's compressed
	// encoding (V2), in base64.
	Histogram string `json:"histogram,omitempty"`
}

// Latency holds the percentiles of a run.
type Latency struct {
	Min  time.Duration `json:"min_ns"`
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p99_9_ns"`
	Max  time.Duration `json:"max_ns"`
	Mean time.Duration `json:"mean_ns"`
}

// StallLimit is how long no reply at all may come before a run is given up.
const StallLimit = 10 * time.Second

// MessageLimit is the largest message, in bytes.
const MessageLimit = 64 << 20

// Check returns the first mistake in a Spec.
func (s Spec) Check() error {
	request, reply := s.Request, s.Request
	switch s.Workload {
	case Exchange, Flood:
		reply = s.Reply
	case HTTP:
		request, reply = s.Reply, s.Reply
	}
	least := control.StampSize
	if s.Workload == HTTP || s.Workload == RESP {
		least = hexStamp
	}
	switch {
	case s.Network != "tcp" && s.Network != "unix":
		return fmt.Errorf("the network %q: it must be tcp or unix", s.Network)
	case !slices.Contains([]Workload{Echo, Exchange, Churn, Fanout, Idle, Trace, Flood, HTTP, RESP}, s.Workload):
		return fmt.Errorf("there is no workload %q", s.Workload)
	case s.Conns < 1:
		return fmt.Errorf("%d connections: at least 1 is needed", s.Conns)
	case s.Depth < 1:
		return fmt.Errorf("a depth of %d: at least 1 message must be in flight", s.Depth)
	case s.Depth > 1 && s.Workload == Churn:
		return fmt.Errorf("a depth of %d in %s: a connection has one message there, use more connections", s.Depth, Churn)
	case s.Workload != Trace && min(request, reply) < least:
		return fmt.Errorf("messages of %d and %d bytes: at least %d are needed to tell them apart", request, reply, least)
	case s.Workload != Trace && max(request, reply) > MessageLimit:
		return fmt.Errorf("messages of %d and %d bytes: at most %d are possible", request, reply, MessageLimit)
	case !(s.Rate >= 0 && s.Rate <= 1e9):
		return fmt.Errorf("a rate of %v messages per second: it must be between 0, for closed loop, and 1e9", s.Rate)
	case s.Rate > 0 && s.Workload == Idle:
		return fmt.Errorf("a rate of %v messages per second in %s: nothing is sent there", s.Rate, Idle)
	case s.Workload == Flood && (s.Rate == 0 || s.Conns < 2):
		return fmt.Errorf("%d connections and a rate of %v messages per second in %s: it needs a rate, and a connection that floods beside the others", s.Conns, s.Rate, Flood)
	}
	return nil
}

// addresses are all that the server listens at.
func (s Spec) addresses() []string { return append([]string{s.Address}, s.More...) }

// Child is the process of a generator. It turns the garbage collector off: what
// little there is to collect is collected between runs.
func Child(in io.Reader, out io.Writer) error {
	debug.SetGCPercent(-1)
	var g *generator
	return control.Child(in, out, func(r control.Request) (control.Reply, error) {
		switch {
		case r.Do == control.DoStart && g == nil:
			var spec Spec
			if err := json.Unmarshal(r.Load, &spec); err != nil {
				return control.Reply{}, err
			}
			var err error
			if g, err = open(spec); err != nil {
				return control.Reply{}, err
			}
			// What was said before the first run, for the sums.
			encoded, err := json.Marshal(g.script.result)
			return control.Reply{Load: encoded}, err
		case r.Do == control.DoRun && g != nil:
			result, err := g.run(r.Duration)
			if err != nil {
				return control.Reply{}, err
			}
			encoded, err := json.Marshal(result)
			return control.Reply{Load: encoded}, err
		case r.Do == control.DoStop && g == nil:
			return control.Reply{}, nil
		case r.Do == control.DoStop:
			return control.Reply{}, g.close()
		}
		return control.Reply{}, fmt.Errorf("a generator cannot %q now", r.Do)
	})
}
