package bench

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringfd/ringfd/bench/control"
	"github.com/ringfd/ringfd/bench/load"
)

// oursAndBase are the targets that run every cell; some cells leave out the
// others, whose figures take time and say nothing there.
var oursAndBase = []string{IOUring, Net, GoNet}

// Headline returns the cells of the main comparison, with their goals. They
// take about two minutes.
func Headline() []Cell {
	goals := func(cpu, p99 float64) []Goal {
		return []Goal{{Metric: MetricCPU, AtMost: cpu}, {Metric: MetricP99, AtMost: p99}}
	}
	one := only(goals(1.00, 1.10), echo(64, 1))
	two := only(goals(0.88, 1.00), unpinned(echo(64, 64)))
	busy := only([]Goal{{Metric: MetricP50, AtMost: 0.50}}, echo(64, 1))
	busy.Name, busy.BusyPoll = busy.Name+"-busypoll", 50*time.Microsecond
	busy.Targets = []string{IOUring, GoNet}
	thousand := with(goals(0.92, 1.00), echo(64, 1000))
	large := only(goals(1.00, 1.10), echo(64<<10, 16))
	thousand.Weight, two.Weight, large.Weight = 2, 2, 2
	return []Cell{
		one,
		with(goals(0.92, 1.00), echo(64, 64)),
		thousand,
		two,
		only(goals(1.00, 1.10), echo(16<<10, 16)),
		large,
		only(nil, open(echo(64, 1000), 0.5)),
		busy,
	}
}

// Full returns the whole matrix, which takes an hour or more.
func Full() []Cell {
	cells := []Cell{}
	for _, c := range Headline() {
		c.Targets = nil
		cells = append(cells, c)
	}
	for _, size := range []int{64, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for _, conns := range []int{1, 16, 64, 256, 1000, 4000} {
			if size*conns <= 64<<20 { // or the sockets' buffers are what is measured
				cells = append(cells, echo(size, conns))
			}
		}
	}
	for _, conns := range []int{1, 16, 64} {
		cells = append(cells, pipelined(64, conns, 16), pipelined(1<<10, conns, 16))
	}
	for _, conns := range []int{1, 8, 64} {
		cells = append(cells, upload(conns), download(conns), exchange(64, 16<<10, conns), exchange(16<<10, 64, conns))
	}
	for _, conns := range []int{64, 256, 1000} {
		cells = append(cells, unpinned(echo(64, conns)))
	}
	for _, share := range []float64{0.5, 0.8} {
		cells = append(cells, open(echo(64, 64), share), open(echo(64, 1000), share))
	}
	// At two Ps a closed loop tells of the generator too, which shares the two cores.
	for _, conns := range []int{64, 1000} {
		cells = append(cells, unpinned(open(echo(64, conns), 0.5)))
	}
	cells = append(cells,
		spinning(echo(64, 1)), churn(1), churn(64), fanout(1<<10, 100), fanout(1<<10, 1000),
		idle(1000), idle(10_000), trace(512), trace(2048))
	for _, c := range []Cell{
		echo(64, 1), echo(64, 64), echo(64, 1000), echo(16<<10, 16), echo(64<<10, 16),
		upload(8), download(8), churn(64), trace(512),
	} {
		cells = append(cells, overUnix(c))
	}
	return unique(cells)
}

// unique leaves out a cell of a name that was there before.
func unique(cells []Cell) []Cell {
	seen := make(map[string]bool)
	var list []Cell
	for _, c := range cells {
		if !seen[c.Name] {
			list = append(list, c)
		}
		seen[c.Name] = true
	}
	return list
}

func cell(w load.Workload, request, reply, conns int) Cell {
	return Cell{
		Name:     fmt.Sprintf("%s-%s-%d", w, strings.ReplaceAll(sizeText(request), " ", ""), conns),
		Workload: w, Network: "tcp", Request: request, Reply: reply, Conns: conns, Depth: 1, Procs: 1, Pinned: true,
	}
}

func echo(size, conns int) Cell { return cell(load.Echo, size, size, conns) }

func named(c Cell, name string, depth int) Cell {
	c.Name, c.Depth = fmt.Sprintf("%s-%d", name, c.Conns), depth
	return c
}

// pipelined has messages told apart by the server: one Write for each.
func pipelined(size, conns, depth int) Cell {
	return named(cell(load.Exchange, size, size, conns), "pipelined-"+strings.ReplaceAll(sizeText(size), " ", ""), depth)
}

func exchange(request, reply, conns int) Cell {
	name := strings.ReplaceAll(sizeText(request)+"-"+sizeText(reply), " ", "")
	return named(cell(load.Exchange, request, reply, conns), "exchange-"+name, 1)
}

// upload and download are streams: the next messages are always under way.
func upload(conns int) Cell {
	return named(cell(load.Exchange, 1<<20, control.StampSize, conns), "upload", 4)
}

func download(conns int) Cell {
	return named(cell(load.Exchange, control.StampSize, 1<<20, conns), "download", 4)
}

func churn(conns int) Cell        { return cell(load.Churn, 64, 64, conns) }
func fanout(size, conns int) Cell { return cell(load.Fanout, size, size, conns) }
func idle(conns int) Cell         { return named(cell(load.Idle, 64, 64, conns), "idle", 1) }

// flood is a connection that keeps as much under way as it can, beside quiet ones.
func flood(conns int, share float64) Cell {
	c := named(cell(load.Flood, 64, 64<<10, conns+1), "flood", 8)
	c.Share = share
	return c
}

func trace(conns int) Cell {
	return named(cell(load.Trace, load.TraceSmallest, load.TraceLargest, conns), "trace", 1)
}

func only(goals []Goal, c Cell) Cell {
	c.Targets = oursAndBase
	return with(goals, c)
}

func with(goals []Goal, c Cell) Cell {
	c.Goals = goals
	return c
}

func unpinned(c Cell) Cell {
	c.Name, c.Procs, c.Pinned = c.Name+"-procs2", 2, false
	return c
}

func overUnix(c Cell) Cell {
	c.Name, c.Network = c.Name+"-unix", "unix"
	return c
}

func open(c Cell, share float64) Cell {
	c.Name, c.Share = fmt.Sprintf("%s-open%.0f", c.Name, 100*share), share
	return c
}

func spinning(c Cell) Cell {
	c.Name, c.Spin = c.Name+"-spin", true
	return c
}
