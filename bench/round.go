package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
)

// round starts a server and a generator, warms up, and measures one window.
// With count it counts the server's system calls in the window too.
func (r *runner) round(ctx context.Context, report *CellReport, t Target, count *SyscallRound) (Round, error) {
	b, err := r.begin(ctx, report, t)
	if err != nil {
		return Round{}, err
	}
	defer b.abandon()
	round, err := r.window(ctx, b, count)
	if err != nil {
		return Round{}, err
	}
	round.Target = t.Name
	return round, b.end()
}

// bout is a server and a generator at work on each other.
type bout struct {
	cell   Cell
	server *serverProcess
	load   *loadProcess
	dir    string  // with the unix socket, if there is one
	life   traffic // of the generator
	// What the server and the kernel held before there was a connection.
	before       Memory
	kernelBefore uint64
}

// begin starts a server and connects a generator to it.
func (r *runner) begin(ctx context.Context, report *CellReport, t Target) (*bout, error) {
	b := &bout{cell: report.Cell}
	if err := r.connect(ctx, b, report.Rate, t); err != nil {
		b.abandon()
		return nil, err
	}
	return b, nil
}

// loadProcs is the generator's GOMAXPROCS: with a second P nothing takes the
// only one away from the loop while it waits.
const loadProcs = 2

func (r *runner) connect(ctx context.Context, b *bout, rate float64, t Target) error {
	cell := b.cell
	serverAt, loadAt := placement{anyCPU, cell.Procs}, placement{anyCPU, loadProcs}
	if cell.Pinned && r.cannotPin == nil {
		serverAt.cpu, loadAt.cpu = r.serverCPU, r.loadCPU
	}
	spec := r.serverSpec(cell, t)
	var err error
	if cell.Network == "unix" {
		if b.dir, err = os.MkdirTemp("", "ringfd-bench-"); err != nil {
			return err
		}
		spec.Address = filepath.Join(b.dir, "socket")
	}
	if b.server, err = startServer(ctx, r.command(t), spec, serverAt); err != nil {
		return err
	}
	b.before, b.kernelBefore = memoryOf(b.server.ready.PID), kernelMemory()
	var greeting load.Result
	if cell.Workload == load.Inside {
		b.load = &loadProcess{b.server.process}
		// It has made its connections, and a first call on each.
		b.life.conns, b.life.messages = uint64(cell.Conns), uint64(cell.Conns)
		return nil
	}
	generator := r.self
	if cell.Workload == load.Calls {
		generator = r.command(t)
	}
	b.load, greeting, err = startLoad(ctx, generator, load.Spec{
		Network: cell.Network, Address: b.server.ready.Address, Workload: cell.Workload, Program: cell.Program, Conns: cell.Conns, Depth: cell.Depth,
		Request: cell.Request, Reply: cell.Reply, Rate: rate, Seed: seed, Spin: cell.Spin, Driver: r.Driver,
	}, loadAt)
	if cell.Workload != load.Churn {
		b.life.conns = uint64(cell.Conns)
	}
	b.life.add(greeting)
	return err
}

// A server that does not know what comes gives a connection more than a small
// message, and not all of a great one.
const (
	minBuffer = 4 << 10
	maxBuffer = 64 << 10
)

func (r *runner) serverSpec(cell Cell, t Target) control.ServerSpec {
	spec := control.ServerSpec{
		Target: t.Server, Network: cell.Network, Address: "127.0.0.1:0",
		Service: cell.Workload.Service(), Request: cell.Request, Reply: cell.Reply,
		Buffer:   min(max(cell.Request, minBuffer), maxBuffer),
		BusyPoll: cell.BusyPoll, Computing: cell.Computing, Work: cell.Work,
	}
	if cell.Program != "" {
		spec.Service, spec.Program, spec.Conns = control.Program, cell.Program, cell.Conns
	}
	if cell.Program != "" {
		spec.Service, spec.Program, spec.Conns, spec.Work = control.Program, cell.Program, cell.Conns, cell.Work
	}
	if cell.Workload == load.Trace {
		spec.Buffer = maxBuffer
	}
	return spec
}

// window warms up and measures. The server is idle at both of its marks: all
// replies are in.
func (r *runner) window(ctx context.Context, b *bout, count *SyscallRound) (Round, error) {
	warmup, err := b.run(r.Warmup)
	if err != nil {
		return Round{}, err
	}
	before, err := b.server.mark()
	if err != nil {
		return Round{}, err
	}
	counted := count.begin(ctx, b.server.ready.PID)
	machineBefore, _ := machineCPU()
	result, err := b.run(cmp.Or(b.cell.Window, r.Window))
	machineAfter, knowsCPU := machineCPU()
	counted()
	if err != nil {
		return Round{}, err
	}
	after, err := b.server.mark()
	if err != nil {
		return Round{}, err
	}
	round := Round{
		Load: result, Server: after.Usage.Sub(before.Usage), Warmup: warmup.Messages,
		Read: after.Totals.Read - before.Totals.Read, Written: after.Totals.Written - before.Totals.Written,
		Memory: memoryOf(b.server.ready.PID), Engine: after.Engine,
	}
	if after.Go != nil && before.Go != nil {
		used := after.Go.Sub(*before.Go)
		round.Go = &used
	}
	if b.cell.Workload == load.Idle {
		round.Memory.perConn(b.before, b.kernelBefore, kernelMemory(), b.cell.Conns)
	}
	if knowsCPU {
		others := machineAfter - machineBefore - round.Server.CPU.Total() - result.Usage.CPU.Total()
		round.Others = max(0, others.Seconds()/(result.Wall.Seconds()*float64(r.report.Machine.CPUs)))
	}
	answered := after.Totals.Messages - before.Totals.Messages
	switch {
	case result.Messages == 0 && b.cell.Workload != load.Idle:
		return Round{}, errors.New("no message came back in the window")
	case b.cell.Program != "" && answered != result.Messages:
		return Round{}, fmt.Errorf("the counts disagree: in the window %d messages came back, the server answered %d", result.Messages, answered)
	case b.cell.Program == "" && round.Read != result.Sent: // Written is known for certain at the end only
		return Round{}, fmt.Errorf("the counts disagree: in the window the generator sent %d bytes, the server read %d", result.Sent, round.Read)
	}
	return round, nil
}

func (b *bout) run(d time.Duration) (load.Result, error) {
	result, err := b.load.run(d)
	b.life.add(result)
	return result, err
}

// end lets the generator close its connections and then the server end, and
// compares what they counted in their lives.
func (b *bout) end() error {
	if b.load.process != b.server.process {
		if err := b.load.stop(); err != nil {
			return err
		}
	}
	last, err := b.server.stop()
	if err != nil {
		return err
	}
	if b.cell.Program != "" {
		return b.life.checkMessages(last.Totals)
	}
	return b.life.check(last.Totals)
}

// abandon makes sure that nothing of a bout is left.
func (b *bout) abandon() {
	if b.load != nil {
		b.load.process.end()
	}
	if b.server != nil {
		b.server.process.end()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

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
