package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
	"github.com/ringfd/ringfd/bench/soak"
)

// SoakConfig says what Soak does. All of it is in the report.
type SoakConfig struct {
	// Time is how long the peers are at work, in all; Interval how long until
	// they rest for a sample, of which there must be some. Zero is a sixtieth of
	// Time, but between a second and five.
	Time     time.Duration `json:"time_ns"`
	Interval time.Duration `json:"interval_ns"`
	// Backend is io_uring or net.
	Backend string `json:"backend"`
	// Conns is how many connections have the trace.
	Conns int `json:"conns"`
	// Growth is the share by which memory may grow after the warm-up.
	Growth float64 `json:"growth"`
	Seed   uint64  `json:"seed"`
	// Flaw is what the server does wrong on purpose, for tests: see package
	// server.
	Flaw string `json:"flaw,omitempty"`
	// Command is how to start the child processes; nil is this executable.
	Command []string `json:"-"`
	// Progress, if not nil, is called with each sample.
	Progress func(SoakSample) `json:"-"`
}

// The load beside the trace, whose share of the work is what is left.
const (
	soakMembers = 48   // of each group of broadcasts
	soakChurn   = 300  // connections per second
	soakMessage = 1024 // bytes of a broadcast
	soakFaulty  = 8    // peers that misbehave at a time
)

// Check returns the first mistake, and fills in what was left to choose.
func (c *SoakConfig) Check() error {
	if c.Interval == 0 {
		c.Interval = min(max(c.Time/60, time.Second), 5*time.Second)
	}
	switch {
	case c.Backend != IOUring && c.Backend != Net:
		return fmt.Errorf("the backend %q: choose %s or %s", c.Backend, IOUring, Net)
	case c.Time <= 0 || c.Interval <= 0:
		return fmt.Errorf("a soak of %v with samples every %v: both must be more than 0", c.Time, c.Interval)
	case c.Time < leastIntervals*c.Interval:
		return fmt.Errorf("a soak of %v with samples every %v: at least %d samples are needed", c.Time, c.Interval, leastIntervals)
	case c.Conns < 1:
		return fmt.Errorf("%d connections: at least 1 is needed", c.Conns)
	case !(c.Growth > 0):
		return fmt.Errorf("a growth of %v: memory is never quite the same", c.Growth)
	}
	return nil
}

// SoakSample is what was found at one time.
type SoakSample struct {
	// At is the time since the start. Resting says that nothing was under way: all
	// peers that come and go were gone. Else it is of the midst of an interval.
	At      time.Duration `json:"at_ns"`
	Resting bool          `json:"resting"`
	// Of the server's process. Zero where the system does not tell.
	Resident   uint64 `json:"resident_bytes"`
	Heap       uint64 `json:"heap_in_use_bytes"`
	Files      int    `json:"descriptors"`
	Goroutines int    `json:"goroutines"`
	// Of its backend: connections; requests that the kernel has, of goroutines
	// and of the loops; and provided buffers.
	Connections int `json:"connections"`
	InFlight    int `json:"in_flight"`
	Buffers     int `json:"buffers"`
	// What was done in the interval that ended, of a sample at rest: messages of the
	// trace and their latency, connections that came and went, broadcasts that
	// arrived, faults, bytes that came back right.
	Messages uint64        `json:"messages,omitempty"`
	Latency  load.Latency  `json:"latency"`
	Churned  uint64        `json:"churned,omitempty"`
	Told     uint64        `json:"broadcasts_received,omitempty"`
	Faults   uint64        `json:"faults,omitempty"`
	Checked  uint64        `json:"checked_bytes,omitempty"`
	Wall     time.Duration `json:"interval_ns,omitempty"`
}

// SoakReport is all that Soak found out.
type SoakReport struct {
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Machine Machine       `json:"machine"`
	Go      string        `json:"go"`
	Commit  string        `json:"commit"`
	Config  SoakConfig    `json:"config"`
	Kind    string        `json:"kind"`
	Why     string        `json:"why"`
	Samples []SoakSample  `json:"samples"`
	// Faults counts them by name, Ends the connections by how they ended.
	Faults map[string]uint64 `json:"faults"`
	Ends   map[string]uint64 `json:"ends"`
	// Latency is of all messages of the trace after the warm-up.
	Latency load.Latency `json:"latency"`
	// Failure is what ended the soak early, or went wrong at its end.
	Failure     string      `json:"failure,omitempty"`
	Interrupted bool        `json:"interrupted,omitempty"`
	Checks      []SoakCheck `json:"checks"`
}

// Soak has a server of all styles under load for long, with peers that come and go
// and that misbehave, and tells whether anything grew. The error is of a soak that
// did not begin. One that ctx ends is judged by what there is.
func Soak(ctx context.Context, config SoakConfig) (*SoakReport, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	if config.Command == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		config.Command = []string{self}
	}
	s := &soaking{config: config, report: &SoakReport{
		Started: time.Now(), Machine: ThisMachine(), Go: goVersion(), Commit: commit(), Config: config,
		Faults: make(map[string]uint64),
	}}
	// The children go on to the end of an interval when ctx has ended.
	live, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	if err := s.start(live); err != nil {
		s.abandon()
		return nil, err
	}
	// What hangs is made to say where, on standard error.
	s.hung = time.AfterFunc(config.Interval+stuckLimit, func() {
		for _, p := range []*process{s.server.process, s.peers} {
			_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		}
		time.AfterFunc(control.DrainLimit, kill)
	})
	err := errors.Join(s.work(ctx), s.end())
	s.hung.Stop()
	s.abandon()
	if err != nil {
		s.report.Failure = err.Error()
	}
	s.report.Took = time.Since(s.report.Started)
	s.report.judge(s.latencies)
	return s.report, nil
}

// stuckLimit is how much longer than it should an interval may take, or the end.
const stuckLimit = time.Minute

// soaking is a soak at work.
type soaking struct {
	config    SoakConfig
	report    *SoakReport
	server    *serverProcess
	peers     *process
	spec      soak.Spec
	hung      *time.Timer
	latencies []*hdrhistogram.Histogram // of the trace, in each interval
}

func (s *soaking) start(live context.Context) error {
	// More than one loop, so that they have to do with each other.
	procs := max(2, runtime.NumCPU())
	var err error
	s.server, err = startServer(live, s.config.Command, control.ServerSpec{
		Target: s.config.Backend, Network: "tcp", Address: "127.0.0.1:0", Service: control.Soak,
		Request: soakMessage, Reply: soakMessage, Buffer: maxBuffer, Flaw: s.config.Flaw,
	}, placement{anyCPU, procs})
	if err != nil {
		return err
	}
	s.report.Kind, s.report.Why = s.server.ready.Kind, s.server.ready.Why
	s.spec = soak.Spec{
		Groups: s.server.ready.Groups, Conns: s.config.Conns, Members: soakMembers, Churn: soakChurn,
		Message: soakMessage, Faulty: soakFaulty, Seed: s.config.Seed,
	}
	encoded, err := json.Marshal(s.spec)
	if err != nil {
		return err
	}
	if s.peers, err = startProcess(live, s.config.Command, control.RoleSoak, placement{anyCPU, procs}); err != nil {
		return err
	}
	_, err = s.peers.call(control.Request{Do: control.DoStart, Load: encoded})
	return err
}

// work has the peers at work, interval by interval, until it is time or ctx ends.
func (s *soaking) work(ctx context.Context) error {
	for n := 0; n < leastIntervals || time.Since(s.report.Started) < s.config.Time; n++ {
		s.hung.Reset(s.config.Interval + stuckLimit)
		if ctx.Err() != nil {
			s.report.Interrupted = true
			return nil
		}
		if err := s.interval(); err != nil {
			return err
		}
	}
	return nil
}

// interval has the peers at work once, with a sample in their midst, and one when
// they rest.
func (s *soaking) interval() error {
	midst := make(chan error, 1)
	go func() {
		time.Sleep(s.config.Interval / 2)
		sample, err := s.sample()
		if err == nil {
			s.report.Samples = append(s.report.Samples, sample)
			s.tell(sample)
		}
		midst <- err
	}()
	begun := time.Now()
	answer, err := s.peers.call(control.Request{Do: control.DoRun, Duration: s.config.Interval})
	wall := time.Since(begun)
	if err = errors.Join(err, <-midst); err != nil {
		return err
	}
	var result soak.Result
	if err := json.Unmarshal(answer.Load, &result); err != nil {
		return err
	}
	latencies, err := hdrhistogram.Decode([]byte(result.Trace.Histogram))
	if err != nil {
		return err
	}
	s.latencies = append(s.latencies, latencies)
	sample, err := s.rest()
	if err != nil {
		return err
	}
	sample.Messages, sample.Latency, sample.Churned, sample.Checked, sample.Wall =
		result.Trace.Messages, result.Trace.Latency, result.Churn.Opened, result.Received(), wall
	for _, f := range result.Fanout {
		sample.Told += f.Messages
	}
	for name, n := range result.Faults {
		s.report.Faults[name] += n
		sample.Faults += n
	}
	s.report.Samples = append(s.report.Samples, sample)
	s.tell(sample)
	return nil
}

func (s *soaking) tell(sample SoakSample) {
	if s.config.Progress != nil {
		s.config.Progress(sample)
	}
}

// A server that was left alone has so long to come to rest: connections whose peer
// has vanished are found by keepalive. What is else on its way has a moment.
const (
	restLimit  = 5 * time.Second
	restMoment = 500 * time.Millisecond // or half an interval, if that is less
)

// rest waits until the server is as it was when it rested last, for as long as that
// may take, and takes a sample.
func (s *soaking) rest() (SoakSample, error) {
	var last SoakSample // at rest
	for _, sample := range s.report.Samples {
		if sample.Resting {
			last = sample
		}
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		sample, err := s.sample()
		if err != nil {
			return sample, err
		}
		sample.Resting = true
		waited := time.Since(began)
		switch {
		case waited >= restLimit:
			return sample, nil
		case sample.Connections > s.spec.Standing():
		case waited >= min(restMoment, s.config.Interval/2), last.Files > 0 && sample.Files <= last.Files &&
			sample.Goroutines <= last.Goroutines && sample.InFlight <= last.InFlight:
			return sample, nil
		}
	}
}

// sample looks at the server once.
func (s *soaking) sample() (SoakSample, error) {
	mark, err := s.server.mark()
	if err != nil {
		return SoakSample{}, err
	}
	var stats ringfd.Stats
	if err := json.Unmarshal(mark.Engine, &stats); err != nil {
		return SoakSample{}, err
	}
	s.report.Ends = mark.Totals.Ends
	pid := s.server.ready.PID
	sample := SoakSample{
		At: time.Since(s.report.Started), Resident: memoryOf(pid).Resident, Heap: mark.Go.HeapInUse,
		Files: descriptors(pid), Goroutines: mark.Go.Goroutines, Connections: stats.Sockets, InFlight: stats.InFlight,
	}
	for _, loop := range stats.Loops {
		sample.InFlight += loop.InFlight
		sample.Buffers += loop.Buffers
	}
	return sample, nil
}

// descriptors counts those of a process; 0 where the system does not tell.
func descriptors(pid int) int {
	list, _ := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	return len(list)
}

// end ends the peers, then the server, which says if anything is left.
func (s *soaking) end() error {
	s.hung.Reset(stuckLimit)
	_, peersErr := s.peers.call(control.Request{Do: control.DoStop})
	last, err := s.server.stop()
	if err == nil {
		s.report.Ends = last.Totals.Ends
		if last.Totals.Live > 0 {
			err = fmt.Errorf("at the end the server had %d connections", last.Totals.Live)
		}
	}
	return errors.Join(peersErr, err)
}

// abandon makes sure that nothing is left.
func (s *soaking) abandon() {
	for _, p := range []*process{s.peers, s.processOfServer()} {
		if p != nil {
			p.end()
		}
	}
}

func (s *soaking) processOfServer() *process {
	if s.server == nil {
		return nil
	}
	return s.server.process
}
