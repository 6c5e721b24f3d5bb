package bench

import (
	"slices"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{5, 1}, Spread{3, 1, 5}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9}},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4}},
	} {
		before := slices.Clone(c.values)
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("spread of %v: got %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(c.values, before) {
			t.Errorf("spreadOf changed its argument to %v", c.values)
		}
	}
}

// roundOf is a round of one second with the given messages, p99 and CPU.
func roundOf(target string, pair int, messages uint64, p99, cpu time.Duration) Round {
	return Round{
		Target: target, Pair: pair, ServerCPU: CPU{User: cpu / 4, System: cpu - cpu/4},
		Load: LoadResult{Messages: messages, Wall: time.Second, Latency: Latency{P50: p99 / 2, P99: p99, P999: 2 * p99}},
	}
}

func TestMetrics(t *testing.T) {
	r := roundOf("a", 0, 1000, 80*time.Microsecond, 5*time.Millisecond)
	for m, want := range map[Metric]float64{
		MetricThroughput: 1000, MetricP50: 40_000, MetricP99: 80_000, MetricP999: 160_000, MetricCPU: 5000,
	} {
		if got := m.of(r); got != want {
			t.Errorf("%s: got %v, want %v", m, got, want)
		}
	}
	if !MetricThroughput.worse(0.9) || MetricThroughput.worse(1.1) || !MetricCPU.worse(1.1) || MetricCPU.worse(1) {
		t.Error("a loss is less throughput, or more of anything else")
	}
}

func TestPairRatios(t *testing.T) {
	rounds := []Round{
		roundOf("a", 0, 300, 1, 1), roundOf("b", 0, 100, 1, 1),
		roundOf("b", 1, 200, 1, 1), roundOf("a", 1, 100, 1, 1),
		roundOf("a", 2, 999, 1, 1), // cut off before its other half
	}
	if got, want := pairRatios(rounds, MetricThroughput, "a", "b"), []float64{3, 0.5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := pairRatios(rounds, MetricThroughput, "a", "c"); got != nil {
		t.Errorf("against a target without rounds: %v", got)
	}
}

// The median of the ratios, not the ratio of the medians, is compared.
func TestSummarize(t *testing.T) {
	c := CellReport{
		Cell: Cell{Goals: []Goal{{MetricCPU, 0.92}, {MetricP99, 1}}},
		Rounds: []Round{
			roundOf("ring", 0, 1000, 110, 800), roundOf("net", 0, 1000, 100, 1000),
			roundOf("ring", 1, 1000, 330, 1800), roundOf("net", 1, 1000, 300, 2000),
			roundOf("ring", 2, 1000, 990, 2800), roundOf("net", 2, 1000, 900, 4000),
		},
		Syscalls: []SyscallRound{
			{Target: "ring", Calls: 50, Messages: 100}, {Target: "net", Calls: 300, Messages: 100},
		},
	}
	c.Rounds[0].Load.CPU.User = 2 * time.Second // saturates two rounds of three
	c.Rounds[2].Load.CPU.User = 960 * time.Millisecond
	c.summarize([]Target{{Name: "ring"}, {Name: "net"}})
	if len(c.Summaries) != 2 || len(c.Comparisons) != 1 {
		t.Fatalf("%d summaries and %d comparisons", len(c.Summaries), len(c.Comparisons))
	}
	k := c.Comparisons[0]
	if got, want := k.Ratios[MetricCPU], (Spread{0.8, 0.7, 0.9}); got != want {
		t.Errorf("CPU: got %v, want %v", got, want)
	}
	if got := k.Ratios[MetricSyscalls].Median; got != 0.5/3 {
		t.Errorf("system calls: got %v, want 1/6", got)
	}
	if !k.Verdicts[0].Reached || k.Verdicts[1].Reached {
		t.Errorf("the CPU goal is reached and the p99 goal is not: %v", k.Verdicts)
	}
	if !c.Summaries[0].Saturated || c.Summaries[1].Saturated {
		t.Error("the generator was saturated in the rounds of ring only")
	}
}
