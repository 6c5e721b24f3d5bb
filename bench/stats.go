package bench

import (
	"slices"
)

// Metric is a figure of a round that targets are compared by.
type Metric string

// The metrics.
const (
	MetricThroughput Metric = "throughput"
	MetricP50        Metric = "p50"
	MetricP99        Metric = "p99"
	MetricP999       Metric = "p99.9"
	MetricCPU        Metric = "server CPU/msg"
	MetricSyscalls   Metric = "syscalls/msg" // counted apart, not in the timed rounds
)

// timed are the metrics of a timed round, in the order of the table.
var timed = []Metric{MetricThroughput, MetricP50, MetricP99, MetricP999, MetricCPU}

// of returns the metric of a round: messages per second, or nanoseconds.
func (m Metric) of(r Round) float64 {
	switch m {
	case MetricThroughput:
		return float64(r.Load.Messages) / r.Load.Wall.Seconds()
	case MetricP50:
		return float64(r.Load.Latency.P50)
	case MetricP99:
		return float64(r.Load.Latency.P99)
	case MetricP999:
		return float64(r.Load.Latency.P999)
	case MetricCPU:
		return float64(r.ServerCPU.Total()) / float64(r.Load.Messages)
	}
	return 0
}

// worse reports whether a ratio of this metric says that the numerator loses.
func (m Metric) worse(ratio float64) bool {
	if m == MetricThroughput {
		return ratio < 1
	}
	return ratio > 1
}

// Spread is a median with the extremes around it.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the Spread of at least one value.
func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	return Spread{Median: median(sorted), Min: sorted[0], Max: sorted[len(sorted)-1]}
}

func median(sorted []float64) float64 {
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// pairRatios divides, pair by pair, the metric of the rounds of one target by
// that of the rounds of another. What the machine did meanwhile was the same
// for both rounds of a pair, or nearly: they ran one after the other. Rounds
// without their other half are left out.
func pairRatios(rounds []Round, m Metric, target, against string) []float64 {
	base := make(map[int]float64)
	for _, r := range rounds {
		if r.Target == against {
			base[r.Pair] = m.of(r)
		}
	}
	var ratios []float64
	for _, r := range rounds {
		if b, ok := base[r.Pair]; ok && r.Target == target && b > 0 {
			ratios = append(ratios, m.of(r)/b)
		}
	}
	return ratios
}
