package load

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringfd/ringfd/bench/control"
)

// generator has connections, and runs a script on them.
type generator struct {
	script *script
	driver driver
	kind   Driver
	failed error // of a run: messages may be under way for ever
}

// Generator is a generator in this process, beside others.
type Generator struct{ g *generator }

// Open connects, and does what must be done before the first run.
func Open(spec Spec) (*Generator, error) {
	g, err := open(spec)
	if err != nil {
		return nil, err
	}
	return &Generator{g}, nil
}

// Run measures one run. Usage and Busy are of the whole process. After a run that
// failed there is no other.
func (g *Generator) Run(d time.Duration) (*Result, error) { return g.g.run(d) }

// Close closes the connections.
func (g *Generator) Close() error { return g.g.close() }

// driver moves the bytes of a script on its connections.
type driver interface {
	// drive runs the script from the beginning of a phase that lasts for d to
	// its end: no message is under way afterwards.
	drive(p phase, d time.Duration) error
	// close closes the connections.
	close() error
}

// open connects, and does what must be done before the first run.
func open(spec Spec) (*generator, error) { return openWith(spec, StallLimit) }

func openWith(spec Spec, stall time.Duration) (*generator, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	text, learned, err := newText(spec)
	if err != nil {
		return nil, err
	}
	s := newScript(spec, text)
	s.stall, s.result = stall, learned
	driver, kind, err := openDriver(spec.Driver, s)
	if err != nil {
		return nil, err
	}
	g := &generator{script: s, driver: driver, kind: kind}
	switch spec.Workload {
	case Fanout:
		err = driver.drive(joining, 0)
	case Idle:
		err = driver.drive(greeting, 0)
	}
	if err != nil {
		return nil, errors.Join(err, driver.close())
	}
	return g, nil
}

// run measures one run.
func (g *generator) run(d time.Duration) (*Result, error) {
	if g.failed != nil {
		return nil, fmt.Errorf("an earlier run failed: %w", g.failed)
	}
	runtime.GC() // of the run before; see Child
	usage, start := control.ThisProcess(), time.Now()
	g.failed = g.driver.drive(running, d)
	wall := time.Since(start)
	usage = control.ThisProcess().Sub(usage)
	if g.failed != nil {
		return nil, g.failed
	}
	result, s := g.script.result, g.script
	result.Driver, result.Wall, result.Usage = g.kind, wall, usage
	result.Busy = max(0, (usage.CPU.Total()-s.idle).Seconds()/wall.Seconds())
	result.Latency, result.LeastShare = LatencyOf(s.latencies), s.shares.least
	if s.quiet != nil {
		quiet := LatencyOf(s.quiet)
		result.Quiet = &quiet
	}
	encoded, err := s.latencies.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	result.Histogram = string(encoded)
	return &result, err
}

func (g *generator) close() error { return g.driver.close() }

// epoch is when clock was 0.
var epoch = time.Now()

// clock returns the monotonic time in nanoseconds.
func clock() int64 { return int64(time.Since(epoch)) }

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(10*StallLimit), 3)
}

// record leaves out what is above the histogram's range by lowering it to the
// highest value: a run that slow is given up anyway.
func record(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 1), h.HighestTrackableValue()))
}

// LatencyOf returns the percentiles of a Result's histogram, or of several merged.
func LatencyOf(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(percentile float64) time.Duration { return time.Duration(h.ValueAtQuantile(percentile)) }
	return Latency{
		Min: time.Duration(h.Min()), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9),
		Max: time.Duration(h.Max()), Mean: time.Duration(h.Mean()),
	}
}
