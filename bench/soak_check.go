package bench

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringfd/ringfd/bench/load"
)

// SoakCheck is whether one figure stayed what it was.
type SoakCheck struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"` // bytes, ns, or none for counts
	// From is what it was after the warm-up, To what it was at the end, and Limit the
	// most that To may be.
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Limit float64 `json:"limit"`
	// Slope is its trend per hour, by Theil and Sen: the median of the slopes of all
	// pairs of samples.
	Slope float64 `json:"slope_per_hour"`
	OK    bool    `json:"ok"`
	// Note says why it is not judged, or what is wrong.
	Note string `json:"note,omitempty"`
}

// The units of a SoakCheck.
const (
	UnitBytes       = "bytes"
	UnitNanoseconds = "ns"
)

const (
	// warmup is the share of the time that is not judged.
	warmup = 1.0 / 6
	// leastIntervals is how many there must be.
	leastIntervals = 12
	// latencyGrowth is by which share latencies may grow, or by latencySpread times
	// their spread, whichever is more. What is more must be none of chance, too.
	latencyGrowth, latencySpread = 0.25, 3
	// coroutinesKept is by how much goroutines may grow: a loop keeps the coroutines
	// of handlers that have returned, as many as there were at a time.
	coroutinesKept = 24
)

// soakFigures are what is judged, in the order of the table.
var soakFigures = []struct {
	name, unit string
	of         func(s *SoakSample) float64
	// level is what is compared: of the samples after the warm-up, and at the end.
	level func(values []float64) float64
	limit func(config *SoakConfig, from []float64) float64
}{
	{"resident memory", UnitBytes, func(s *SoakSample) float64 { return float64(s.Resident) }, medianOf,
		func(c *SoakConfig, from []float64) float64 { return medianOf(from) * (1 + c.Growth) }},
	{"descriptors", "", func(s *SoakSample) float64 { return float64(s.Files) }, least, same},
	{"goroutines", "", func(s *SoakSample) float64 { return float64(s.Goroutines) }, least,
		func(_ *SoakConfig, from []float64) float64 { return least(from) + coroutinesKept }},
	{"connections", "", func(s *SoakSample) float64 { return float64(s.Connections) }, least, same},
	{"requests in flight", "", func(s *SoakSample) float64 { return float64(s.InFlight) }, least, same},
	{"latency, p50", UnitNanoseconds, func(s *SoakSample) float64 { return float64(s.Latency.P50) }, medianOf, noise},
	{"latency, p99", UnitNanoseconds, func(s *SoakSample) float64 { return float64(s.Latency.P99) }, medianOf, noise},
}

// same is the limit of what returns to the same level whenever the server rests.
// What is on its way only adds to it, so the least is the level.
func same(_ *SoakConfig, from []float64) float64 { return least(from) }

func least(values []float64) float64 { return slices.Min(values) }

func medianOf(values []float64) float64 { return median(slices.Sorted(slices.Values(values))) }

// noise is the limit of a latency. Its spread is the median distance to the median,
// scaled to what would be the standard deviation of a normal distribution.
func noise(_ *SoakConfig, from []float64) float64 {
	middle := medianOf(from)
	var distances []float64
	for _, value := range from {
		distances = append(distances, math.Abs(value-middle))
	}
	return middle + max(latencyGrowth*middle, latencySpread*1.4826*medianOf(distances))
}

// judged returns the samples at rest that are judged, and the first and the last
// quarter of them, which are compared.
func (r *SoakReport) judged() (all, first, last []SoakSample) {
	for _, s := range r.Samples {
		if s.Resting && s.At >= r.WarmedUp() {
			all = append(all, s)
		}
	}
	n := max(1, len(all)/4)
	if len(all) < leastIntervals/2 {
		return all, nil, nil
	}
	return all, all[:n], all[len(all)-n:]
}

// WarmedUp is the time of the first sample that counts.
func (r *SoakReport) WarmedUp() time.Duration {
	if len(r.Samples) == 0 {
		return 0
	}
	return time.Duration(warmup * float64(r.Samples[len(r.Samples)-1].At))
}

// OK reports that all checks were passed, and nothing else was wrong.
func (r *SoakReport) OK() bool {
	return r.Failure == "" && len(r.Checks) > 0 && !slices.ContainsFunc(r.Checks, func(c SoakCheck) bool { return !c.OK })
}

// judge makes the checks and the latencies of the whole. There are no checks of a
// soak that ended too early for them.
func (r *SoakReport) judge(latencies []*hdrhistogram.Histogram) {
	all, first, last := r.judged()
	r.Latency = wholeLatency(latencies, len(all))
	r.Checks = nil
	if first == nil && (r.Failure != "" || r.Interrupted) {
		return
	}
	for _, f := range soakFigures {
		c := SoakCheck{Name: f.name, Unit: f.unit}
		if first == nil {
			c.Note = fmt.Sprintf("%d samples at rest after the warm-up are too few to tell", len(all))
			r.Checks = append(r.Checks, c)
			continue
		}
		values := func(samples []SoakSample) (list []float64) {
			for i := range samples {
				list = append(list, f.of(&samples[i]))
			}
			return list
		}
		from, to := values(first), values(last)
		c.From, c.To, c.Limit = f.level(from), f.level(to), f.limit(&r.Config, from)
		c.Slope = slope(all, f.of)
		c.OK = c.To <= c.Limit
		switch {
		case c.From == 0 && c.To == 0:
			c.Note = "this system or backend does not tell"
		case !c.OK && f.unit == UnitNanoseconds:
			// Few samples can differ by chance.
			if p, _ := differ(from, to); p >= 0.01 {
				c.OK, c.Note = true, fmt.Sprintf("may be chance (p=%.2f)", p)
			}
		}
		if !c.OK {
			c.Note = "it grew"
		}
		r.Checks = append(r.Checks, c)
	}
}

// wholeLatency merges the last n intervals.
func wholeLatency(latencies []*hdrhistogram.Histogram, n int) load.Latency {
	if n = min(n, len(latencies)); n == 0 {
		return load.Latency{}
	}
	latencies = latencies[len(latencies)-n:]
	whole := hdrhistogram.Import(latencies[0].Export())
	for _, h := range latencies[1:] {
		whole.Merge(h)
	}
	return load.LatencyOf(whole)
}

// slopePoints is how many samples a slope is made from at most: it takes all pairs.
const slopePoints = 500

// slope is the trend of a figure per hour.
func slope(samples []SoakSample, of func(*SoakSample) float64) float64 {
	step := (len(samples)-1)/slopePoints + 1
	var slopes []float64
	for i := 0; i < len(samples); i += step {
		for j := i + step; j < len(samples); j += step {
			if d := (samples[j].At - samples[i].At).Hours(); d > 0 {
				slopes = append(slopes, (of(&samples[j])-of(&samples[i]))/d)
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	return medianOf(slopes)
}
