package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
)

// Report is all that Run found out: what was run where, every round with its
// histogram, and the statistics made from the rounds.
type Report struct {
	Started  time.Time `json:"started"`
	Took     float64   `json:"took_seconds"`
	Machine  Machine   `json:"machine"`
	Go       string    `json:"go"`
	Commit   string    `json:"commit"`
	Settings Settings  `json:"settings"`
	// Targets are those that ran: the first is ours, the last the baseline.
	Targets []Target `json:"targets"`
	// Auto says what a user gets who forces nothing.
	Auto Choice `json:"auto"`
	// Choices say what each target that was asked for runs on, or why it cannot.
	Choices []Choice     `json:"choices"`
	Cells   []CellReport `json:"cells"`
	// Interrupted says that the rounds are not complete.
	Interrupted bool `json:"interrupted,omitempty"`
}

// Settings are the flags of a run.
type Settings struct {
	Rounds   int           `json:"rounds"`
	Warmup   time.Duration `json:"warmup_ns"`
	Window   time.Duration `json:"window_ns"`
	Syscalls bool          `json:"syscalls"`
	// CrossCheck lets other generators check the lab's own.
	CrossCheck bool        `json:"cross_check,omitempty"`
	Driver     load.Driver `json:"driver,omitempty"`
	Args       []string    `json:"args,omitempty"`
}

// Choice is what a target runs on and why, or why it cannot run.
type Choice struct {
	Target string `json:"target"`
	Kind   string `json:"kind,omitempty"`
	Why    string `json:"why,omitempty"`
	Error  string `json:"error,omitempty"`
}

// CellReport is the outcome of one cell.
type CellReport struct {
	Cell Cell `json:"cell"`
	// Unpinned says why a cell that was to be pinned was not.
	Unpinned string `json:"unpinned,omitempty"`
	// Rate is that of an open loop, in messages per second.
	Rate     float64        `json:"rate,omitempty"`
	Rounds   []Round        `json:"rounds"`
	Syscalls []SyscallRound `json:"syscall_rounds,omitempty"`
	// CrossCheck is by another generator; nil where none speaks the protocol.
	CrossCheck *CrossCheck `json:"cross_check,omitempty"`
	// Summaries and Comparisons are made from the rounds.
	Summaries   []Summary    `json:"summaries"`
	Comparisons []Comparison `json:"comparisons"`
	// Verdicts are on the goals whose targets ran.
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// Round is one timed round of one target.
type Round struct {
	Target string `json:"target"`
	// Pair numbers the rounds of a target; rounds of one pair ran in a row.
	Pair int         `json:"pair"`
	Load load.Result `json:"load"`
	// Server is what the server used in the window.
	Server control.Usage `json:"server"`
	// Read and Written are what the server counted in the window. Read equals
	// what the generator sent, or the round fails; Written may lag behind a little,
	// and equals what was received at the end of the round.
	Read    uint64 `json:"server_read_bytes"`
	Written uint64 `json:"server_written_bytes"`
	// Go is what the Go runtime of the server did in the window, nil if it is
	// not in Go.
	Go     *control.GoUsage `json:"go,omitempty"`
	Memory Memory           `json:"memory"`
	// Engine is what the server counted of itself in its life.
	Engine json.RawMessage `json:"engine,omitempty"`
	// Others is what else ran in the window: its share of all the machine's CPUs.
	// Zero where the system does not tell.
	Others float64 `json:"others_busy"`
	// Warmup is how many messages were sent before the window.
	Warmup uint64 `json:"warmup_messages"`
}

// SyscallRound is a round in which the server's system calls were counted.
type SyscallRound struct {
	Target   string `json:"target"`
	Calls    uint64 `json:"calls"`
	Messages uint64 `json:"messages"`
	// Source is the program that counted.
	Source string `json:"source,omitempty"`
	// Error says why there is no count.
	Error string `json:"error,omitempty"`
}

// Summary is what the rounds of a target come to.
type Summary struct {
	Target  string            `json:"target"`
	Metrics map[Metric]Spread `json:"metrics"`
	// ServerBusy and LoadBusy are the processes' share of one CPU, as medians.
	ServerBusy float64 `json:"server_busy"`
	LoadBusy   float64 `json:"load_busy"`
	// Late is how far the generator was behind its schedule at the worst: the
	// median of the rounds. Open loop.
	Late time.Duration `json:"late_ns,omitempty"`
	// Others is what else ran on the machine, its share of all CPUs.
	Others Spread `json:"others_busy"`
	// Saturated says that the generator was at the end of its means, and the
	// server perhaps not: throughput and latency are then the generator's too.
	Saturated bool `json:"generator_saturated"`
}

// Comparison sets a target against another.
type Comparison struct {
	Target  string           `json:"target"`
	Against string           `json:"against"`
	Ratios  map[Metric]Ratio `json:"ratios"`
}

// Verdict says whether a goal was reached.
type Verdict struct {
	Goal Goal `json:"goal"`
	// Value is the median of what the goal bounds: a ratio, or the metric itself.
	Value   float64 `json:"value"`
	Reached bool    `json:"reached"`
}

// Text writes the value as the goal writes its bound, but finer.
func (v Verdict) Text() string {
	if v.Goal.Itself {
		return v.Goal.Metric.Text(v.Value)
	}
	return fmt.Sprintf("%.3f", v.Value)
}

// saturation is the share of a CPU from which a generator of one thread counts
// as saturated, unless the server is as busy.
const saturation = 0.95

// disturbance is the share of the machine from which other work counts as a
// disturbance of the figures.
const disturbance = 0.05

// Disturbed returns what share of all the machine's CPUs other work took in the
// rounds, and whether that is enough to doubt the figures.
func (r *Report) Disturbed() (others Spread, disturbed bool) {
	var all []float64
	for _, c := range r.Cells {
		for _, round := range c.Rounds {
			all = append(all, round.Others)
		}
	}
	if len(all) == 0 {
		return Spread{}, false
	}
	others = spreadOf(all)
	return others, others.Median > disturbance
}

// summarize makes Summaries, and Comparisons of the first target with every
// other and of every other with the baseline, the last.
func (c *CellReport) summarize(targets []Target) {
	c.Summaries, c.Comparisons, c.Verdicts = nil, nil, nil
	for _, t := range targets {
		if s, ok := c.summary(t.Name); ok {
			c.Summaries = append(c.Summaries, s)
		}
	}
	if len(c.Summaries) == 0 {
		return
	}
	ours, base := c.Summaries[0].Target, c.Summaries[len(c.Summaries)-1].Target
	if ours != targets[0].Name || base != targets[len(targets)-1].Name {
		return // there is nothing yet to compare, or to compare with
	}
	for _, s := range c.Summaries[1:] {
		c.compare(ours, s.Target)
	}
	for _, s := range c.Summaries[1:max(1, len(c.Summaries)-1)] {
		c.compare(s.Target, base)
	}
	for _, goal := range c.Cell.Goals {
		if value, chance, ok := c.valueOf(goal, cmp.Or(goal.Target, ours), cmp.Or(goal.Against, base)); ok {
			c.Verdicts = append(c.Verdicts, Verdict{goal, value, goal.reached(value) || goal.OrChance && chance})
		}
	}
}

// valueOf is what a goal bounds, if the targets that it takes ran. chance says that
// it is a ratio of rounds that may be of equal targets, though there were enough of them.
func (c *CellReport) valueOf(g Goal, target, against string) (value float64, chance, ok bool) {
	if g.Itself {
		s, ok := c.plain(g.Metric, target)
		return s.Median, false, ok
	}
	r, ok := c.ratios(target, against)[g.Metric]
	return r.Median, !r.Different && len(c.values(g.Metric, target)) >= enoughRounds, ok && target != against
}

// Comparison returns a comparison that was made, or nil.
func (c *CellReport) Comparison(target, against string) *Comparison {
	i := slices.IndexFunc(c.Comparisons, func(k Comparison) bool { return k.Target == target && k.Against == against })
	if i < 0 {
		return nil
	}
	return &c.Comparisons[i]
}

func (c *CellReport) summary(target string) (Summary, bool) {
	values := make(map[Metric][]float64)
	var serverBusy, loadBusy, late, others []float64
	for i := range c.Rounds {
		r := &c.Rounds[i]
		if r.Target != target {
			continue
		}
		for _, m := range Metrics {
			if value, ok := m.of(c.Cell.Workload, r); ok {
				values[m] = append(values[m], value)
			}
		}
		serverBusy = append(serverBusy, r.Server.CPU.Total().Seconds()/r.Load.Wall.Seconds())
		loadBusy = append(loadBusy, r.Load.Busy)
		late = append(late, float64(r.Load.Late))
		others = append(others, r.Others)
	}
	if len(serverBusy) == 0 {
		return Summary{}, false
	}
	s := Summary{Target: target, Metrics: make(map[Metric]Spread)}
	for m, list := range values {
		s.Metrics[m] = spreadOf(list)
	}
	if perMessage, ok := c.syscallsPerMessage(target); ok {
		s.Metrics[MetricSyscalls] = spreadOf([]float64{perMessage})
	}
	s.ServerBusy, s.LoadBusy = spreadOf(serverBusy).Median, spreadOf(loadBusy).Median
	s.Late = time.Duration(spreadOf(late).Median)
	s.Others = spreadOf(others)
	s.Saturated = s.LoadBusy >= saturation && s.ServerBusy < saturation
	return s, true
}

func (c *CellReport) syscallsPerMessage(target string) (float64, bool) {
	for _, r := range c.Syscalls {
		if r.Target == target && r.Error == "" && r.Messages > 0 {
			return float64(r.Calls) / float64(r.Messages), true
		}
	}
	return 0, false
}

func (c *CellReport) compare(target, against string) {
	if ratios := c.ratios(target, against); len(ratios) > 0 {
		c.Comparisons = append(c.Comparisons, Comparison{Target: target, Against: against, Ratios: ratios})
	}
}

func (c *CellReport) ratios(target, against string) map[Metric]Ratio {
	ratios := make(map[Metric]Ratio)
	for _, m := range Metrics {
		if ratio, ok := ratioOf(c.Cell.Workload, c.Rounds, m, target, against); ok {
			ratios[m] = ratio
		}
	}
	ours, ok := c.syscallsPerMessage(target)
	theirs, ok2 := c.syscallsPerMessage(against)
	if ok && ok2 && theirs > 0 {
		ratios[MetricSyscalls] = Ratio{Spread: spreadOf([]float64{ours / theirs}), Different: ours != theirs}
	}
	return ratios
}

// runsPrograms reports whether its cells are of real programs.
func (r *Report) runsPrograms() bool {
	return slices.ContainsFunc(r.Cells, func(c CellReport) bool { return c.Cell.Program != "" })
}

// medianOfCells is the median, over the cells, of a target's median ratio; cells is
// of how many.
func (r *Report) medianOfCells(m Metric, target, against string) (value float64, cells int) {
	var ratios []float64
	for i := range r.Cells {
		if k := r.Cells[i].Comparison(target, against); k != nil {
			if ratio, ok := k.Ratios[m]; ok {
				ratios = append(ratios, ratio.Median)
			}
		}
	}
	if len(ratios) == 0 {
		return 0, 0
	}
	return spreadOf(ratios).Median, len(ratios)
}

// commit returns the version control revision that the program was built from.
func commit() string {
	info, _ := debug.ReadBuildInfo()
	settings := make(map[string]string)
	if info != nil {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	revision := settings["vcs.revision"]
	switch {
	case revision == "" && info != nil && info.Main.Version != "":
		return info.Main.Version
	case revision == "":
		return "unknown"
	case settings["vcs.modified"] == "true":
		return revision + " (modified)"
	}
	return revision
}

func goVersion() string { return runtime.Version() }
