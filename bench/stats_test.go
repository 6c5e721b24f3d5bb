package bench

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
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
		Target: target, Pair: pair,
		Server: control.Usage{CPU: control.CPU{User: cpu / 4, System: cpu - cpu/4}, Voluntary: 10, Involuntary: 5},
		Load: load.Result{
			Messages: messages, Wall: time.Second,
			Latency: load.Latency{P50: p99 / 2, P90: p99 * 3 / 4, P99: p99, P999: 2 * p99, Max: 3 * p99},
		},
	}
}

func TestMetrics(t *testing.T) {
	r := roundOf("a", 0, 1000, 80*time.Microsecond, 5*time.Millisecond)
	r.Go = &control.GoUsage{Mallocs: 500, Allocated: 2000, GCPause: 10 * time.Millisecond}
	r.Memory = Memory{Resident: 7, UserPerConn: 8, KernelPerConn: 9}
	check := func(w load.Workload, want map[Metric]float64) {
		t.Helper()
		for _, m := range Metrics {
			got, ok := m.of(w, &r)
			if value, known := want[m]; ok != known || ok && got != value {
				t.Errorf("%s of %s: got %v, %v; want %v, %v", m, w, got, ok, value, known)
			}
		}
	}
	check(load.Echo, map[Metric]float64{
		MetricThroughput: 1000, MetricP50: 40_000, MetricP90: 60_000, MetricP99: 80_000, MetricP999: 160_000,
		MetricCPU: 5000, MetricUserCPU: 1250, MetricSystemCPU: 3750, MetricSwitches: 0.015,
		MetricAllocs: 0.5, MetricAllocated: 2, MetricGCPause: 0.01, MetricResident: 7,
	})
	check(load.Idle, map[Metric]float64{MetricResident: 7, MetricUserPerConn: 8, MetricKernelConn: 9, MetricIdleCPU: 0.005})
	r.Go, r.Memory = nil, Memory{} // a server in C, where the system does not tell
	if _, ok := MetricAllocs.of(load.Echo, &r); ok {
		t.Error("a server without Go allocates")
	}
	if _, ok := MetricResident.of(load.Echo, &r); ok {
		t.Error("memory is known that nobody told")
	}
	if !MetricThroughput.Worse(0.9) || MetricThroughput.Worse(1.1) || !MetricCPU.Worse(1.1) || MetricCPU.Worse(1) {
		t.Error("a loss is less throughput, or more of anything else")
	}
}

func TestRatio(t *testing.T) {
	rounds := []Round{
		roundOf("a", 0, 300, 1, 1), roundOf("b", 0, 100, 1, 1),
		roundOf("b", 1, 200, 1, 1), roundOf("a", 1, 100, 1, 1),
		roundOf("a", 2, 999, 1, 1), // cut off before its other half
	}
	if got, ok := ratioOf(load.Echo, rounds, MetricThroughput, "a", "b"); !ok || got.Spread != (Spread{1.75, 0.5, 3}) || got.Different {
		t.Errorf("got %+v, %v", got, ok)
	}
	if got, ok := ratioOf(load.Echo, rounds, MetricThroughput, "a", "c"); ok {
		t.Errorf("against a target without rounds: %v", got)
	}
}

// A difference is one only when chance does not explain it.
func TestDiffer(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want bool
	}{
		{[]float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, true},
		{[]float64{1, 2, 3, 4, 9}, []float64{2, 3, 4, 5, 1}, false}, // mixed
		{[]float64{1, 1, 1}, []float64{2, 2, 2}, false},             // too few to tell
		{[]float64{5, 5, 5, 5, 5}, []float64{5, 5, 5, 5, 5}, false}, // equal
	} {
		if p, got := differ(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: p = %v, different: %v", c.a, c.b, p, got)
		}
	}
}

// The median of the ratios, not the ratio of the medians, is compared.
func TestSummarize(t *testing.T) {
	c := CellReport{
		Cell: Cell{Goals: []Goal{
			{Metric: MetricCPU, AtMost: 0.92}, {Metric: MetricP99, AtMost: 1},
			{Metric: MetricThroughput, Target: "ring", Against: "net", AtLeast: 1}, {Metric: MetricThroughput, AtLeast: 1.01},
			{Metric: MetricP99, Target: "c", Against: "ring", AtMost: 0.5}, {Metric: MetricSyscalls, Target: "net", AtMost: 3, Itself: true},
			{Metric: MetricSyscalls, AtMost: 0.4, Itself: true},
			{Metric: MetricCPU, Target: "absent", AtMost: 9}, {Metric: MetricCPU, Target: "absent", AtMost: 9, Itself: true},
			{Metric: MetricCPU, Target: "net", AtMost: 9}, // against itself
		}},
		Rounds: []Round{
			roundOf("ring", 0, 1000, 110, 800), roundOf("net", 0, 1000, 100, 1000), roundOf("c", 0, 1000, 55, 1000),
			roundOf("ring", 1, 1000, 330, 1800), roundOf("net", 1, 1000, 300, 2000),
			roundOf("ring", 2, 1000, 990, 2800), roundOf("net", 2, 1000, 900, 4000),
		},
		Syscalls: []SyscallRound{
			{Target: "ring", Calls: 50, Messages: 100}, {Target: "net", Calls: 300, Messages: 100},
		},
	}
	targets := []Target{{Name: "ring"}, {Name: "c"}, {Name: "net"}}
	c.summarize(targets)
	if len(c.Summaries) != 3 || len(c.Comparisons) != 3 {
		t.Fatalf("%d summaries and %d comparisons", len(c.Summaries), len(c.Comparisons))
	}
	k := c.Comparison("ring", "net")
	if got, want := k.Ratios[MetricCPU].Spread, (Spread{0.8, 0.7, 0.9}); got != want {
		t.Errorf("CPU: got %v, want %v", got, want)
	}
	if got := k.Ratios[MetricSyscalls].Median; got != 0.5/3 {
		t.Errorf("system calls: got %v, want 1/6", got)
	}
	want := []struct {
		value   float64
		reached bool
	}{{0.8, true}, {1.1, false}, {1, true}, {1, false}, {0.5, true}, {3, true}, {0.5, false}}
	for i, v := range c.Verdicts {
		if len(c.Verdicts) != len(want) || math.Abs(v.Value-want[i].value) > 1e-9 || v.Reached != want[i].reached || v.Goal != c.Cell.Goals[i] {
			t.Errorf("verdict %d of %d is %+v", i, len(c.Verdicts), v)
		}
	}
	if other := c.Comparison("ring", "c"); other.Ratios[MetricP99].Median != 2 {
		t.Errorf("ring against c: %+v", other)
	}
	if c.Comparison("c", "net") == nil || c.Comparison("net", "ring") != nil {
		t.Error("the others are compared with the baseline, and it with nothing")
	}
	// Without ours, or without the baseline, there is nothing to compare.
	c.Rounds = c.Rounds[1:3]
	c.summarize(targets)
	if len(c.Summaries) != 2 || c.Comparisons != nil {
		t.Errorf("%d summaries and comparisons %v", len(c.Summaries), c.Comparisons)
	}
}

// The generator is the limit where it is at its end and the server is not.
func TestSaturation(t *testing.T) {
	for _, c := range []struct {
		load   float64
		server time.Duration
		want   bool
	}{
		{0.97, 700 * time.Millisecond, true},
		{0.97, 990 * time.Millisecond, false},
		{0.80, 700 * time.Millisecond, false},
	} {
		r := roundOf("a", 0, 10, 1, c.server)
		r.Load.Busy = c.load
		cell := CellReport{Rounds: []Round{r}}
		if s, _ := cell.summary("a"); s.Saturated != c.want {
			t.Errorf("generator %v, server %v: saturated %v", c.load, c.server, s.Saturated)
		}
	}
}
