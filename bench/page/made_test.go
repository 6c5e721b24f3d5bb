package page

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/load"
)

// hostile is a name that must not become markup.
const hostile = `<script>alert("x")</script>&'`

// messages are in each round that is made up.
const messages = 2020

// madeUp is a report with all that a page must cope with: won, lost and
// undecided cells, an idle one, one that only some targets ran, one without
// rounds, series along both axes, a target not in Go, names that are markup.
func madeUp() *bench.Report {
	var r bench.Report
	if err := json.Unmarshal(made(), &r); err != nil {
		panic(err)
	}
	return &r
}

// made is encoded, so that each test has one of its own to spoil.
var made = sync.OnceValue(func() []byte {
	encoded, err := json.Marshal(makeUp())
	if err != nil {
		panic(err)
	}
	return encoded
})

func makeUp() *bench.Report {
	r := &bench.Report{
		Started: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), Took: 125, Go: "go1.26.8", Commit: "0123abcd",
		Machine: bench.Machine{
			OS: "linux", Arch: "amd64", Kernel: "6.18.0", CPU: "A Processor <b>of</b> 2 GHz", CPUs: 2, MemoryKiB: 8 << 20, Clock: "tsc", Load: 0.2,
			Mitigations: map[string]string{"spectre_v2": "Mitigation: Retpolines; IBPB: conditional; STIBP: disabled; RSB filling; PBRSB-eIBRS: Not affected", "meltdown": "Mitigation: PTI"},
		},
		Settings: bench.Settings{Rounds: 5, Warmup: 50 * time.Millisecond, Window: time.Second, Driver: load.Epoll, Args: []string{"--cell", hostile}},
		Targets: []bench.Target{
			{Name: "io_uring", About: "ringfd on io_uring, a goroutine for each connection"},
			{Name: "net", About: "ringfd on Go's net"}, {Name: "gnet", About: "gnet v2"}, {Name: "netpoll", About: "cloudwego/netpoll"},
			{Name: "c-epoll", About: "a floor: epoll in C"}, {Name: hostile, About: hostile}, {Name: "go-net", About: "Go's net without ringfd: the baseline"},
		},
		Auto: bench.Choice{Kind: "io_uring", Why: "it works here"},
	}
	for _, t := range r.Targets {
		r.Choices = append(r.Choices, bench.Choice{Target: t.Name, Kind: t.Name, Why: "asked for"})
	}
	r.Choices = append(r.Choices, bench.Choice{Target: "c-io_uring", Error: "no compiler: `make peers` builds what this machine can build"})
	cells := []bench.Cell{
		{Name: "echo-64B-1", Conns: 1, Request: 64}, {Name: "echo-64B-64", Conns: 64, Request: 64}, {Name: "echo-64B-1000", Conns: 1000, Request: 64},
		{Name: "echo-16KiB-64", Conns: 64, Request: 16 << 10}, {Name: "echo-64KiB-64", Conns: 64, Request: 64 << 10},
		{Name: "echo-64B-1000-open50", Conns: 1000, Request: 64, Share: 0.5},
		{Name: "echo-64B-1-busypoll", Conns: 1, Request: 64, BusyPoll: 50 * time.Microsecond},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i, cell := range cells {
		cell.Workload, cell.Network, cell.Reply, cell.Depth, cell.Procs, cell.Pinned = load.Echo, "tcp", cell.Request, 1, 1, true
		targets := r.Targets
		if cell.BusyPoll > 0 {
			targets = []bench.Target{r.Targets[0], r.Targets[len(r.Targets)-1]}
		}
		if i < 3 {
			cell.Goals = []bench.Goal{{Metric: bench.MetricCPU, AtMost: 0.92}, {Metric: bench.MetricP99, AtMost: 1}}
		}
		r.Cells = append(r.Cells, madeUpCell(random, cell, targets, r.Settings.Rounds))
	}
	r.Cells[1].Summaries[0].Saturated = true
	idle := bench.Cell{Name: "idle-1000", Workload: load.Idle, Network: "tcp", Conns: 1000, Request: 64, Reply: 64, Depth: 1, Procs: 1, Pinned: true}
	r.Cells = append(r.Cells, madeUpIdle(idle, r.Targets), bench.CellReport{Cell: bench.Cell{Name: hostile, Workload: load.Churn, Conns: 8, Request: 64, Reply: 64}})
	return r
}

// madeUpCell has targets that are the slower the later they are, with the first
// worse than the last where the cell has one connection.
func madeUpCell(random *rand.Rand, cell bench.Cell, targets []bench.Target, rounds int) bench.CellReport {
	c := bench.CellReport{Cell: cell}
	if cell.Share > 0 {
		c.Rate = 60_000
	}
	base := 1.0
	for i, t := range targets {
		slow := 0.7 + 0.06*float64(i)
		if cell.Conns == 1 && i == 0 {
			slow = 1.3
		}
		values := make(map[bench.Metric][]float64)
		for pair := range rounds {
			h := hdrhistogram.New(1, int64(100*time.Second), 3)
			for range messages {
				us := (20 + 0.2*float64(cell.Conns)) * slow * (1 + random.ExpFloat64()/3)
				if random.Float64() < 0.002 {
					us *= 20
				}
				if err := h.RecordValue(int64(us * 1000)); err != nil {
					panic(err)
				}
			}
			encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
			if err != nil {
				panic(err)
			}
			c.Rounds = append(c.Rounds, bench.Round{Target: t.Name, Pair: pair, Load: load.Result{Messages: messages, Histogram: string(encoded)}, Others: 0.01})
			us := 1000 * slow * (1 + 0.05*random.Float64())
			for m, value := range map[bench.Metric]float64{
				bench.MetricThroughput: 1e8 / us * (1 + float64(cell.Conns)/1000), bench.MetricP50: float64(h.ValueAtPercentile(50)),
				bench.MetricP99: float64(h.ValueAtPercentile(99)), bench.MetricP999: float64(h.ValueAtPercentile(99.9)),
				bench.MetricCPU: us * (5 + float64(cell.Request)/4096), bench.MetricSystemCPU: us * 4,
			} {
				values[m] = append(values[m], value)
			}
			if t.Name != "c-epoll" { // which is not in Go
				values[bench.MetricAllocs] = append(values[bench.MetricAllocs], 0)
			}
		}
		s := bench.Summary{Target: t.Name, Metrics: make(map[bench.Metric]bench.Spread), ServerBusy: 0.98, LoadBusy: 0.7, Others: bench.Spread{Median: 0.01, Max: 0.02}}
		for m, list := range values {
			s.Metrics[m] = spread(list)
		}
		c.Summaries = append(c.Summaries, s)
	}
	for i, t := range targets[1:] {
		k := bench.Comparison{Target: targets[0].Name, Against: t.Name, Ratios: make(map[bench.Metric]bench.Ratio)}
		for m, ours := range c.Summaries[0].Metrics {
			theirs, ok := c.Summaries[i+1].Metrics[m]
			if ok && theirs.Median > 0 {
				base = ours.Median / theirs.Median
				k.Ratios[m] = bench.Ratio{Spread: bench.Spread{Median: base, Min: base * 0.95, Max: base * 1.08}, Different: base < 0.9 || base > 1.1, P: 0.008}
			}
		}
		if i == len(targets)-2 {
			for _, g := range cell.Goals {
				c.Verdicts = append(c.Verdicts, bench.Verdict{Goal: g, Value: k.Ratios[g.Metric].Median, Reached: k.Ratios[g.Metric].Median <= g.AtMost})
			}
		}
		c.Comparisons = append(c.Comparisons, k)
	}
	return c
}

func madeUpIdle(cell bench.Cell, targets []bench.Target) bench.CellReport {
	c := bench.CellReport{Cell: cell}
	for i, t := range targets {
		perConn := 3000 + 500*float64(i)
		c.Rounds = append(c.Rounds, bench.Round{Target: t.Name})
		c.Summaries = append(c.Summaries, bench.Summary{Target: t.Name, Metrics: map[bench.Metric]bench.Spread{
			bench.MetricUserPerConn: {Median: perConn, Min: perConn, Max: perConn + 100}, bench.MetricIdleCPU: {},
		}})
		if i > 0 {
			c.Comparisons = append(c.Comparisons, bench.Comparison{Target: targets[0].Name, Against: t.Name, Ratios: map[bench.Metric]bench.Ratio{
				bench.MetricUserPerConn: {Spread: bench.Spread{Median: 3000 / perConn, Min: 3000 / perConn, Max: 3000 / perConn}, Different: true},
			}})
		}
	}
	return c
}

func spread(values []float64) bench.Spread {
	slices.Sort(values)
	return bench.Spread{Median: values[len(values)/2], Min: values[0], Max: values[len(values)-1]}
}
