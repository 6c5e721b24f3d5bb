package bench

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench/control"
)

// figures are those of a target, from which run makes rounds.
type figures struct {
	rate   float64
	p99    time.Duration
	cpu    time.Duration // per message
	allocs float64       // per message
	calls  float64       // per message
}

// normal is what most targets of the tests do.
var normal = figures{rate: 100_000, p99: 500 * time.Microsecond, cpu: 8 * time.Microsecond, calls: 3}

// run makes a report of one cell and seven rounds, in which the machine's speed
// changes by half and every figure besides by up to noise.
func run(seed uint64, noise float64, targets map[string]figures, names ...string) *Report {
	random := rand.New(rand.NewPCG(seed, 1))
	r := &Report{
		Go: "go1", Commit: "abc", Machine: Machine{OS: "linux", Kernel: "6.1", CPUs: 2},
		Settings: Settings{Rounds: 7, Window: time.Second},
	}
	c := CellReport{Cell: echo(64, 64)}
	for _, name := range names {
		r.Targets = append(r.Targets, Target{Name: name})
	}
	for pair := range r.Settings.Rounds {
		mood := 1 + random.Float64()/2
		for _, name := range names {
			f := targets[name]
			slower := func() float64 { return mood * (1 + noise*random.Float64()) }
			messages := uint64(f.rate / slower())
			p99 := time.Duration(float64(f.p99) * slower())
			round := roundOf(name, pair, messages, p99, time.Duration(float64(messages)*float64(f.cpu)*slower()))
			round.Go = &control.GoUsage{Mallocs: uint64(f.allocs * float64(messages))}
			c.Rounds = append(c.Rounds, round)
		}
	}
	for _, name := range names {
		c.Syscalls = append(c.Syscalls, SyscallRound{Target: name, Calls: uint64(1e4 * targets[name].calls), Messages: 1e4})
	}
	c.summarize(r.Targets)
	r.Cells = []CellReport{c}
	return r
}

// both is a run of ring and of the baseline net.
func both(seed uint64, ring figures) *Report {
	return run(seed, 0.02, map[string]figures{"ring": ring, "net": normal}, "ring", "net")
}

func compared(t *testing.T, before, after *Report) *Changes {
	t.Helper()
	changes, err := Compare(before, after)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(changes); err != nil {
		t.Error(err)
	}
	if changes.Compared == 0 {
		t.Error("nothing was compared")
	}
	return changes
}

// metrics lists what changed, with - for worse and + for better.
func (c *Changes) metrics() string {
	var list []string
	for _, change := range c.List {
		mark := "+"
		if change.Worse {
			mark = "-"
		}
		list = append(list, mark+change.Target+" "+string(change.Metric))
	}
	return strings.Join(list, ", ")
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*figures)
		want   string
		worse  bool
	}{
		{"same", func(f *figures) {}, "", false},
		{"more CPU", func(f *figures) { f.cpu += f.cpu / 5 }, "-ring server CPU/msg", true},
		{"less CPU", func(f *figures) { f.cpu -= f.cpu / 5 }, "+ring server CPU/msg", false},
		{"a little more CPU", func(f *figures) { f.cpu += f.cpu * 3 / 100 }, "", false},
		{"less throughput", func(f *figures) { f.rate *= 0.8 }, "-ring throughput", true},
		{"more throughput", func(f *figures) { f.rate *= 1.3 }, "+ring throughput", false},
		{"longer waits", func(f *figures) { f.p99 *= 2 }, "-ring p50, -ring p99, -ring p99.9", true},
		{"one allocation", func(f *figures) { f.allocs = 1 }, "-ring allocations/msg", true},
		{"a rare allocation", func(f *figures) { f.allocs = 0.1 }, "", false},
		{"fewer calls", func(f *figures) { f.calls = 0.15 }, "+ring syscalls/msg", false},
		{"other batches", func(f *figures) { f.calls = 3.4 }, "", false},
		{"worst first", func(f *figures) { f.cpu, f.calls, f.allocs = f.cpu/2, f.calls*1.5, 2 },
			"-ring allocations/msg, -ring syscalls/msg, +ring server CPU/msg", true},
	} {
		changed := normal
		c.change(&changed)
		changes := compared(t, both(1, normal), both(2, changed))
		got := changes.metrics()
		if c.name == "longer waits" { // three changes of about one size
			for _, metric := range strings.Split(c.want, ", ") {
				if !strings.Contains(got, metric) {
					t.Errorf("%s: got %q, want %q in it", c.name, got, metric)
				}
			}
		} else if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if changes.Worse() != c.worse {
			t.Errorf("%s: worse is %v", c.name, changes.Worse())
		}
		var text strings.Builder
		if err := changes.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text.String(), "WORSE") != c.worse || strings.Contains(text.String(), "WARNING") {
			t.Errorf("%s:\n%s", c.name, text.String())
		}
	}
}

// Where rounds differ much, a difference of the medians is none; and what slows
// all targets alike is no change, but only with a baseline.
func TestCompareNoise(t *testing.T) {
	targets := map[string]figures{"ring": normal, "net": normal}
	wrong := 0
	for seed := range uint64(20) {
		wrong += len(compared(t, run(seed, 0.5, targets, "ring", "net"), run(seed+100, 0.5, targets, "ring", "net")).List)
	}
	t.Logf("%d changes in noise", wrong)
	if wrong > 3 { // of 20 runs of 5 tested figures, 1 in 100 may pass the test
		t.Errorf("%d changes in noise", wrong)
	}
	slow := normal
	slow.rate, slow.p99, slow.cpu = slow.rate/2, 2*slow.p99, 2*slow.cpu
	after := run(2, 0.02, map[string]figures{"ring": slow, "net": slow}, "ring", "net")
	if changes := compared(t, both(1, normal), after); len(changes.List) != 0 {
		t.Errorf("on a slower machine: %s", changes.metrics())
	}
	alone := run(2, 0.02, map[string]figures{"ring": slow}, "ring")
	changes := compared(t, both(1, normal), alone)
	if got := changes.metrics(); !strings.Contains(got, "-ring throughput") || !strings.Contains(got, "-ring server CPU/msg") {
		t.Errorf("without a common baseline: %q", got)
	}
	if changes.List[0].Against != "" || !strings.Contains(strings.Join(changes.Warnings, "\n"), "baseline") {
		t.Errorf("without a common baseline: %+v", changes)
	}
}

func TestCompareWarnings(t *testing.T) {
	before, after := both(1, normal), both(2, normal)
	after.Machine.Kernel, after.Machine.Load, after.Go = "6.18", 3, "go2"
	after.Machine.Mitigations = map[string]string{"spectre_v2": "on"}
	after.Settings.Rounds, after.Interrupted = 3, true
	for i := range after.Cells[0].Rounds {
		after.Cells[0].Rounds[i].Others = 0.2
	}
	changes := compared(t, before, after)
	for _, want := range []string{
		"machine: kernel: 6.1 before, 6.18 after", "mitigations: none before, map[spectre_v2:on] after",
		"settings: rounds: 7 before, 3 after", "go: go1 before, go2 after", "disturbed after: other work took 20%",
		"interrupted after", "with fewer than 5",
	} {
		if !strings.Contains(strings.Join(changes.Warnings, "\n"), want) {
			t.Errorf("no warning of %q in\n%s", want, strings.Join(changes.Warnings, "\n"))
		}
	}
	if len(changes.Warnings) != 7 {
		t.Errorf("%d warnings:\n%s", len(changes.Warnings), strings.Join(changes.Warnings, "\n"))
	}
	var text strings.Builder
	if err := changes.WriteText(&text); err != nil || !strings.Contains(text.String(), "6.18") {
		t.Errorf("%v:\n%s", err, text.String())
	}
}

func TestCompareCells(t *testing.T) {
	before, after := both(1, normal), both(2, normal)
	after.Cells[0].Cell.Goals = []Goal{{Metric: MetricCPU, AtMost: 0.5}} // goals do not change the work
	if got := compared(t, before, after); len(got.Skipped) != 0 {
		t.Errorf("skipped %v", got.Skipped)
	}
	more := both(3, normal).Cells[0]
	more.Cell.Name = "more"
	after.Cells = append(after.Cells, more)
	if got := compared(t, before, after); len(got.Skipped) != 1 || got.Skipped[0].Cell != "more" {
		t.Errorf("skipped %v", got.Skipped)
	}
	for _, spoil := range []func(*CellReport){
		func(c *CellReport) { c.Cell.Conns++ },
		func(c *CellReport) { c.Cell.Name = "other" },
		func(c *CellReport) { c.Rounds = nil },
	} {
		after := both(2, normal)
		spoil(&after.Cells[0])
		if changes, err := Compare(before, after); err == nil || !strings.Contains(err.Error(), before.Cells[0].Cell.Name) {
			t.Errorf("nothing in common: got %v, %v", changes, err)
		}
	}
	// Open loops at other rates are other work.
	open := func(rate float64) *Report {
		r := both(1, normal)
		r.Cells[0].Rate = rate
		return r
	}
	if _, err := Compare(open(1000), open(1080)); err != nil {
		t.Error(err)
	}
	if _, err := Compare(open(1000), open(1200)); err == nil || !strings.Contains(err.Error(), "1200") {
		t.Errorf("open loops at two rates: got %v", err)
	}
}

// Counts of rounds that overlap have not changed, however far their medians.
func TestCompareCounts(t *testing.T) {
	var changes Changes
	allocs := rule{metric: MetricAllocs, least: 0.02, exact: 0.2}
	changes.exact(Change{}, allocs, Spread{1, 0.5, 3}, Spread{4, 2.5, 5})
	if len(changes.List) != 0 {
		t.Errorf("rounds that overlap: %+v", changes.List)
	}
	changes.exact(Change{Metric: MetricAllocs}, allocs, Spread{1, 0.5, 3}, Spread{4, 3.5, 5})
	if len(changes.List) != 1 || !changes.Worse() {
		t.Errorf("rounds that are apart: %+v", changes.List)
	}
}
