package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/bench/load"
)

// Config says what Run is to do.
type Config struct {
	Settings
	Cells []Cell
	// Targets are interleaved; the first is compared with all the others, and
	// the last is the baseline.
	Targets []Target
	// AllowMissing runs without the targets that cannot run here; otherwise
	// that is an error.
	AllowMissing bool
	// Progress, if set, is told what is about to run.
	Progress func(Progress)
}

// Progress is where a run is.
type Progress struct {
	// Done of All rounds are complete; Left is an estimate of the time that the
	// others take, 0 while nothing is known.
	Done, All int
	Left      time.Duration
	// What is about to run.
	What string
}

// Check returns the first mistake in a Config.
func (c Config) Check() error {
	switch {
	case len(c.Cells) == 0:
		return errors.New("no cells to run")
	case len(c.Targets) == 0:
		return errors.New("no targets to run")
	case c.Rounds < 1:
		return fmt.Errorf("%d rounds: at least 1 is needed", c.Rounds)
	case c.Window <= 0:
		return fmt.Errorf("a round of %v: a positive duration is needed", c.Window)
	case c.Warmup < 0:
		return fmt.Errorf("a warm-up of %v: a duration cannot be negative", c.Warmup)
	}
	return nil
}

// Run measures every cell on every target. When ctx ends it stops the child
// processes and returns what it has with Interrupted set, and no error. After
// any other failure it returns what it has with the error.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &runner{Config: c, self: []string{self}, started: time.Now()}
	r.serverCPU, r.loadCPU, r.cannotPin = pinCPUs()
	r.report = &Report{
		Started: r.started, Machine: ThisMachine(), Go: goVersion(), Commit: commit(),
		Settings: c.Settings,
	}
	err = r.run(ctx)
	r.report.Took = time.Since(r.started).Seconds()
	if ctx.Err() != nil {
		r.report.Interrupted = true
		return r.report, nil
	}
	return r.report, err
}

type runner struct {
	Config
	self               []string
	started            time.Time
	serverCPU, loadCPU int
	cannotPin          error
	report             *Report
	done               int // rounds, for Progress
}

func (r *runner) run(ctx context.Context) error {
	if err := r.choose(ctx); err != nil {
		return err
	}
	r.started = time.Now() // of the first round
	for _, cell := range r.Cells {
		report := CellReport{Cell: cell}
		if cell.Pinned && r.cannotPin != nil {
			report.Unpinned = r.cannotPin.Error()
		}
		r.report.Cells = append(r.report.Cells, report)
	}
	defer func() {
		for i := range r.report.Cells {
			report := &r.report.Cells[i]
			report.summarize(r.targetsOf(report.Cell))
		}
	}()
	for sweep := range r.Rounds {
		for turn := range r.heaviest() {
			if err := r.each(func(report *CellReport) error {
				weight := report.Cell.weight()
				if turn >= weight {
					return nil
				}
				return r.pair(ctx, report, sweep*weight+turn)
			}); err != nil {
				return err
			}
		}
	}
	if r.Settings.Syscalls {
		if err := r.each(func(report *CellReport) error { return r.countSyscalls(ctx, report) }); err != nil {
			return err
		}
	}
	if r.Settings.CrossCheck {
		return r.each(func(report *CellReport) error { return r.crossCheck(ctx, report) })
	}
	return nil
}

// heaviest is the greatest weight of a cell.
func (r *runner) heaviest() int {
	heaviest := 1
	for _, cell := range r.Cells {
		heaviest = max(heaviest, cell.weight())
	}
	return heaviest
}

// each does f for every cell.
func (r *runner) each(f func(*CellReport) error) error {
	for i := range r.report.Cells {
		if err := f(&r.report.Cells[i]); err != nil {
			return fmt.Errorf("cell %s: %w", r.report.Cells[i].Cell.Name, err)
		}
	}
	return nil
}

// choose asks each target, in a process of its own, for its backend.
func (r *runner) choose(ctx context.Context) error {
	ask := func(t Target) (Choice, error) {
		choice := Choice{Target: t.Name}
		if why := t.missing(); why != "" {
			choice.Error = why
			return choice, fmt.Errorf("%w: %s", errUnavailable, why)
		}
		spec := r.serverSpec(echo(64, 1), t)
		s, err := startServer(ctx, r.command(t), spec, placement{anyCPU, 1})
		if err != nil {
			choice.Error = err.Error()
			return choice, err
		}
		_, err = s.stop()
		choice.Kind, choice.Why = s.ready.Kind, s.ready.Why
		return choice, err
	}
	var err error
	if r.report.Auto, err = ask(Target{Name: string(ringfd.Auto), Server: string(ringfd.Auto)}); err != nil {
		return err
	}
	for _, t := range r.Targets {
		choice, err := ask(t)
		r.report.Choices = append(r.report.Choices, choice)
		switch {
		case err == nil:
			r.report.Targets = append(r.report.Targets, t)
		case !r.AllowMissing || !errors.Is(err, errUnavailable):
			return fmt.Errorf("target %s: %w", t.Name, err)
		}
	}
	if len(r.report.Targets) == 0 {
		return fmt.Errorf("none of the targets can run here: %s", r.report.Choices[0].Error)
	}
	return nil
}

func (r *runner) command(t Target) []string {
	if t.Command != nil {
		return t.Command
	}
	return r.self
}

// targetsOf returns the targets that run a cell: those that it names, or all
// where none of them was chosen.
func (r *runner) targetsOf(cell Cell) []Target {
	if cell.Targets == nil {
		return r.report.Targets
	}
	targets := slices.DeleteFunc(slices.Clone(r.report.Targets), func(t Target) bool {
		return slices.Contains(known, t.Name) && !slices.Contains(cell.Targets, t.Name)
	})
	if len(targets) == 0 {
		return r.report.Targets
	}
	return targets
}

// known are the targets that a cell may leave out.
var known = []string{
	IOUring, IOUringBlocking, IOUringData, Net, NetBlocking, NetData, Gnet, Netpoll, CEpoll, CIOUring, GoNet,
}

// pair runs a round of every target of a cell. The pairs of a cell are spread
// over the whole run, so that all cells meet the same moods of the machine.
func (r *runner) pair(ctx context.Context, report *CellReport, pair int) error {
	targets := r.targetsOf(report.Cell)
	if pair == 0 && report.Cell.Share > 0 {
		if err := r.findRate(ctx, report, targets[len(targets)-1]); err != nil {
			return err
		}
	}
	for _, t := range inTurn(targets, pair) {
		r.progress(fmt.Sprintf("%s, round %d of %d, %s", report.Cell.Name, pair+1, r.Rounds*report.Cell.weight(), t.Name))
		round, err := r.round(ctx, report, t, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		round.Pair = pair
		report.Rounds = append(report.Rounds, round)
	}
	return nil
}

// countSyscalls runs a round of every target of a cell, apart from the timed
// ones, in which system calls are counted.
func (r *runner) countSyscalls(ctx context.Context, report *CellReport) error {
	if report.Cell.Workload == load.Idle {
		return nil
	}
	for _, t := range r.targetsOf(report.Cell) {
		r.progress(fmt.Sprintf("%s, system calls, %s", report.Cell.Name, t.Name))
		count := SyscallRound{Target: t.Name}
		round, err := r.round(ctx, report, t, &count)
		if err != nil {
			return fmt.Errorf("%s, counting system calls: %w", t.Name, err)
		}
		count.Messages = round.Load.Messages
		report.Syscalls = append(report.Syscalls, count)
	}
	return nil
}

// inTurn returns the order of the targets in a pair: the first and the last,
// which matter most, next to each other, and the rest around them. It moves on
// from pair to pair and turns around, so that none always follows another.
func inTurn(targets []Target, pair int) []Target {
	n := len(targets)
	if n == 1 {
		return targets
	}
	circle := append([]Target{targets[n-1]}, targets[:n-1]...) // base, ours, others
	start := pair % (n - 1)
	if start > 0 {
		start++ // not between the first two
	}
	order := append(slices.Clone(circle[start:]), circle[:start]...)
	if pair%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// findRate measures what the baseline carries in closed loop.
func (r *runner) findRate(ctx context.Context, report *CellReport, base Target) error {
	var rates []float64
	probe := &CellReport{Cell: report.Cell}
	if probe.Cell.Workload == load.Flood { // of which a closed loop has no rate
		probe.Cell.Workload, probe.Cell.Depth = load.Echo, 1
	}
	for range 3 {
		round, err := r.round(ctx, probe, base, nil)
		if err != nil {
			return fmt.Errorf("%s, for the rate: %w", base.Name, err)
		}
		rate, _ := MetricThroughput.of(probe.Cell.Workload, &round)
		rates = append(rates, rate)
	}
	report.Rate = spreadOf(rates).Median * report.Cell.Share
	return nil
}

func (r *runner) progress(what string) {
	if r.Config.Progress != nil {
		all := 0
		for _, cell := range r.Cells {
			rounds := r.Rounds * cell.weight()
			if r.Settings.Syscalls && cell.Workload != load.Idle {
				rounds++
			}
			all += rounds * len(r.targetsOf(cell))
			if _, ok := cell.tool(); ok && r.Settings.CrossCheck {
				all += 2 * crossPairs
			}
		}
		var left time.Duration
		if r.done > 0 {
			left = time.Since(r.started) / time.Duration(r.done) * time.Duration(all-r.done)
		}
		r.Config.Progress(Progress{Done: r.done, All: all, Left: left, What: what})
	}
	r.done++
}
