package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// loadSpec is what a load generator is started with.
type loadSpec struct {
	Address string `json:"address"`
	Conns   int    `json:"conns"`
	Size    int    `json:"size_bytes"`
	// Portable takes the generator that every OS has, with a goroutine for
	// each connection, also where there is a cheaper one.
	Portable bool `json:"portable"`
}

// LoadResult is what a generator measured in one run.
type LoadResult struct {
	// Messages is how many were sent and came back.
	Messages uint64        `json:"messages"`
	Sent     uint64        `json:"sent_bytes"`
	Received uint64        `json:"received_bytes"`
	Wall     time.Duration `json:"wall_ns"`
	CPU      CPU           `json:"cpu"`
	// Latency is from before a message's send to the receipt of its last byte.
	Latency Latency `json:"latency"`
}

// Latency holds the percentiles of a run.
type Latency struct {
	Min  time.Duration `json:"min_ns"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p99_9_ns"`
	Max  time.Duration `json:"max_ns"`
	Mean time.Duration `json:"mean_ns"`
}

// stallLimit is how long no reply at all may come before a run is given up.
const stallLimit = 10 * time.Second

// minSize has room for the stamp that tells messages apart.
const minSize = 8

// generator drives the connections that it holds. run sends on all of them in
// closed loop for d, then waits for the replies still due: no message is in
// flight between runs. It counts into r and records nanoseconds.
type generator interface {
	run(d time.Duration, r *LoadResult, latencies *hdrhistogram.Histogram) error
	close() error
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(10*stallLimit), 3)
}

// record leaves out what is above the histogram's range by lowering it to the
// highest value: a run that slow is given up anyway.
func record(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 1), h.HighestTrackableValue()))
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(percentile float64) time.Duration { return time.Duration(h.ValueAtQuantile(percentile)) }
	return Latency{
		Min: time.Duration(h.Min()), P50: at(50), P99: at(99), P999: at(99.9),
		Max: time.Duration(h.Max()), Mean: time.Duration(h.Mean()),
	}
}

// loadChild is the generator's process.
type loadChild struct {
	generator generator
}

func (c *loadChild) serve(r request) (reply, error) {
	switch r.Do {
	case doStart:
		if r.Load.Size < minSize {
			return reply{}, fmt.Errorf("messages of %d bytes: at least %d are needed to tell them apart", r.Load.Size, minSize)
		}
		open := openGenerator
		if r.Load.Portable {
			open = openGoroutines
		}
		var err error
		c.generator, err = open(*r.Load)
		return reply{}, err
	case doRun:
		var result LoadResult
		latencies := newHistogram()
		cpu, start := processCPU(), time.Now()
		err := c.generator.run(r.Duration, &result, latencies)
		result.Wall = time.Since(start)
		result.CPU = processCPU().Sub(cpu)
		result.Latency = latencyOf(latencies)
		return reply{Load: &result}, err
	case doStop:
		if c.generator == nil {
			return reply{}, nil
		}
		return reply{}, c.generator.close()
	}
	return reply{}, fmt.Errorf("unknown request %q", r.Do)
}

var (
	errStalled = errors.New("no reply came for " + stallLimit.String())
	errMixedUp = errors.New("a reply is not the echo of its message")
)
