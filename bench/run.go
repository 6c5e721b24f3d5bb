package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ringfd/ringfd"
)

// Config says what Run is to do.
type Config struct {
	Settings
	Cells []Cell
	// Targets are interleaved in this order and compared with the last.
	Targets []Target
	// AllowMissing runs without the targets whose backend is not available
	// here; otherwise that is an error.
	AllowMissing bool
	// Portable takes the generator with goroutines on every OS.
	Portable bool
	// ServiceTime makes the servers hold each read for so long.
	ServiceTime time.Duration
	// Progress, if set, is told what is about to run.
	Progress func(done, all int, what string)
}

// Check returns the first mistake in a Config.
func (c Config) Check() error {
	switch {
	case len(c.Cells) == 0:
		return errors.New("no cells to run")
	case len(c.Targets) == 0:
		return errors.New("no backends to run")
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
	r := &runner{Config: c, self: []string{self}}
	r.serverCPU, r.loadCPU, r.cannotPin = pinCPUs()
	started := time.Now()
	r.report = &Report{
		Started: started, Machine: ThisMachine(), Go: goVersion(), Commit: commit(),
		Settings: c.Settings,
	}
	err = r.run(ctx)
	r.report.Took = time.Since(started).Seconds()
	if ctx.Err() != nil {
		r.report.Interrupted = true
		return r.report, nil
	}
	return r.report, err
}

type runner struct {
	Config
	self               []string
	serverCPU, loadCPU int
	cannotPin          error
	report             *Report
	done               int // rounds, for Progress
}

func (r *runner) run(ctx context.Context) error {
	if err := r.choose(ctx); err != nil {
		return err
	}
	for _, cell := range r.Cells {
		r.report.Cells = append(r.report.Cells, CellReport{Cell: cell})
		report := &r.report.Cells[len(r.report.Cells)-1]
		err := r.cell(ctx, report)
		report.summarize(r.report.Targets)
		if err != nil {
			return fmt.Errorf("cell %s: %w", cell.Name, err)
		}
	}
	return nil
}

// choose asks each target, in a process of its own, for its backend.
func (r *runner) choose(ctx context.Context) error {
	ask := func(t Target) (Choice, error) {
		s, err := startServer(ctx, r.command(t), serverSpec{Backend: t.Backend, Buffer: 1}, placement{anyCPU, 1})
		if err != nil {
			return Choice{Target: t.Name, Error: err.Error()}, err
		}
		_, err = s.stop()
		return Choice{Target: t.Name, Kind: string(s.ready.Kind), Why: s.ready.Why}, err
	}
	var err error
	if r.report.Auto, err = ask(Target{Name: string(ringfd.Auto), Backend: ringfd.Auto}); err != nil {
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
		return errors.New("none of the backends is available")
	}
	return nil
}

func (r *runner) command(t Target) []string {
	if t.Command != nil {
		return t.Command
	}
	return r.self
}

// cell runs the rounds of a cell: A B A B …, and then, apart from the timed
// ones, a round of each target in which system calls are counted.
func (r *runner) cell(ctx context.Context, report *CellReport) error {
	if report.Cell.Pinned && r.cannotPin != nil {
		report.Unpinned = r.cannotPin.Error()
	}
	for pair := range r.Rounds {
		for _, t := range r.report.Targets {
			r.progress(fmt.Sprintf("%s, round %d of %d, %s", report.Cell.Name, pair+1, r.Rounds, t.Name))
			round, err := r.round(ctx, report.Cell, t, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
			round.Pair = pair
			report.Rounds = append(report.Rounds, round)
		}
	}
	if !r.Syscalls {
		return nil
	}
	for _, t := range r.report.Targets {
		r.progress(fmt.Sprintf("%s, system calls, %s", report.Cell.Name, t.Name))
		count := SyscallRound{Target: t.Name}
		round, err := r.round(ctx, report.Cell, t, &count)
		if err != nil {
			return fmt.Errorf("%s, counting system calls: %w", t.Name, err)
		}
		count.Messages = round.Load.Messages
		report.Syscalls = append(report.Syscalls, count)
	}
	return nil
}

func (r *runner) progress(what string) {
	if r.Progress != nil {
		perCell := r.Rounds
		if r.Syscalls {
			perCell++
		}
		r.Progress(r.done, perCell*len(r.Cells)*len(r.report.Targets), what)
	}
	r.done++
}

// minBuffer is the least buffer of a connection of the server: more than a
// small message, as a server has that does not know what comes.
const minBuffer = 4 << 10

// round starts a server and a generator, warms up, and measures one window.
// With count it counts the server's system calls in the window too.
func (r *runner) round(ctx context.Context, cell Cell, t Target, count *SyscallRound) (Round, error) {
	serverAt, loadAt := placement{anyCPU, cell.Procs}, placement{anyCPU, loadProcs}
	if cell.Pinned && r.cannotPin == nil {
		serverAt.cpu, loadAt.cpu = r.serverCPU, r.loadCPU
	}
	s, err := startServer(ctx, r.command(t), serverSpec{
		Backend: t.Backend, Buffer: max(cell.Size, minBuffer), BusyPoll: cell.BusyPoll, ServiceTime: r.ServiceTime,
	}, serverAt)
	if err != nil {
		return Round{}, err
	}
	defer s.end()
	spec := loadSpec{Address: s.ready.Address, Conns: cell.Conns, Size: cell.Size, Portable: r.Portable}
	load, err := startLoad(ctx, r.self, spec, loadAt)
	if err != nil {
		return Round{}, err
	}
	defer load.end()

	round := Round{Target: t.Name}
	warmup, err := load.call(request{Do: doRun, Duration: r.Warmup})
	if err != nil {
		return Round{}, err
	}
	round.Warmup = warmup.Load.Messages
	// The server is idle at both marks: all replies are in.
	before, err := s.mark()
	if err != nil {
		return Round{}, err
	}
	counted := count.begin(ctx, s.ready.PID)
	machineBefore, _ := machineCPU()
	window, err := load.call(request{Do: doRun, Duration: r.Window})
	machineAfter, known := machineCPU()
	counted()
	if err != nil {
		return Round{}, err
	}
	after, err := s.mark()
	if err != nil {
		return Round{}, err
	}
	round.Load = *window.Load
	round.ServerCPU = after.CPU.Sub(before.CPU)
	if known {
		others := machineAfter - machineBefore - round.ServerCPU.Total() - round.Load.CPU.Total()
		round.Others = max(0, others.Seconds()/(round.Load.Wall.Seconds()*float64(r.report.Machine.CPUs)))
	}
	round.ServerRead = after.Totals.Read - before.Totals.Read
	if round.Load.Messages == 0 {
		return Round{}, errors.New("no message came back in the window")
	}
	if round.ServerRead != round.Load.Sent || round.Load.Sent != round.Load.Received {
		return Round{}, fmt.Errorf("the counts disagree: in the window the generator sent %d bytes and received %d, the server read %d",
			round.Load.Sent, round.Load.Received, round.ServerRead)
	}
	if _, err := load.call(request{Do: doStop}); err != nil {
		return Round{}, err
	}
	last, err := s.stop()
	if err != nil {
		return Round{}, err
	}
	return round, checkTotals(last.Totals, spec, round.Warmup+round.Load.Messages)
}

// loadProcs is the generator's GOMAXPROCS: with a second P nothing takes the
// only one away from the loop while it waits in epoll.
const loadProcs = 2

// begin starts to count, unless c is nil, and returns what ends it.
func (c *SyscallRound) begin(ctx context.Context, pid int) func() {
	if c == nil {
		return func() {}
	}
	counter, err := countSyscalls(ctx, pid)
	if err != nil {
		c.Error = err.Error()
		return func() {}
	}
	return func() {
		c.Source = counter.name()
		if c.Calls, err = counter.end(); err != nil {
			c.Error = err.Error()
		}
	}
}
