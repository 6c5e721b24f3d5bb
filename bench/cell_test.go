package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfd/ringfd/bench/load"
)

func TestSelect(t *testing.T) {
	all := Headline()
	for _, c := range []struct {
		patterns []string
		want     []string
	}{
		{nil, names(all)},
		{[]string{"echo-64B-1"}, []string{"echo-64B-1"}}, // and not the others that begin so
		{[]string{"echo-64KiB-16", "echo-64B-1"}, []string{"echo-64B-1", "echo-64KiB-16"}},
		{[]string{".*-procs2", "echo-64B-64"}, []string{"echo-64B-64", "echo-64B-64-procs2"}},
	} {
		got, err := Select(all, c.patterns)
		if err != nil || !slices.Equal(names(got), c.want) {
			t.Errorf("%v: got %v, %v; want %v", c.patterns, names(got), err, c.want)
		}
	}
	for _, pattern := range []string{"64B", "(", "nothing|"} {
		if got, err := Select(all, []string{"echo-64B-1", pattern}); err == nil || !strings.Contains(err.Error(), pattern) {
			t.Errorf("%q: got %v, %v; want an error that names it", pattern, names(got), err)
		}
	}
}

func TestCellsCanRun(t *testing.T) {
	for name, cells := range map[string][]Cell{"headline": Headline(), "full": Full(), "serve": Serve(), "apps": Apps()} {
		seen := make(map[string]bool)
		for _, c := range cells {
			spec := load.Spec{Network: c.Network, Workload: c.Workload, Conns: c.Conns, Depth: c.Depth, Request: c.Request, Reply: c.Reply}
			if c.Share > 0 {
				spec.Rate = 1000 * c.Share // of what the baseline turns out to carry
			}
			err := spec.Check()
			switch {
			case c.Program != "" && programs[c.Program] == "":
				t.Errorf("%s: nothing says what %s is", name, c.Program)
			case c.Workload == load.Calls || c.Workload == load.Inside: // which the lab's generator does not run
				err = nil
			}
			if err != nil || seen[c.Name] || c.Procs < 1 || c.Network == "" {
				t.Errorf("%s: cell %+v: %v", name, c, err)
			}
			seen[c.Name] = true
			for _, target := range c.Targets {
				if !slices.Contains(known, target) {
					t.Errorf("%s: cell %s is for a target %q that there is not", name, c.Name, target)
				}
			}
		}
	}
}

// The cells of the headline are in the full matrix too, for every target.
func TestFullHoldsHeadline(t *testing.T) {
	full := names(Full())
	for _, c := range Headline() {
		if !slices.Contains(full, c.Name) {
			t.Errorf("%s is not in the full matrix", c.Name)
		}
	}
}

func ExampleGoal_String() {
	for _, g := range []Goal{
		{Metric: MetricP99, AtMost: 1},
		{Metric: MetricCPU, Target: IOUringData, Against: CIOUring, AtMost: 1.05},
		{Metric: MetricThroughput, Target: IOUringData, AtLeast: 3},
		{Metric: MetricUserPerConn, Itself: true, AtMost: 700},
		{Metric: MetricCPU, Target: IOUring, AtMost: 1, OrChance: true},
	} {
		fmt.Println(g)
	}
	// Output:
	// p99 ≤ 1.00
	// io_uring-data: server CPU/msg ≤ 1.05 × c-io_uring
	// io_uring-data: throughput ≥ 3.00
	// user memory/idle conn ≤ 700 B
	// io_uring: server CPU/msg ≤ 1.00, or chance
}

func ExampleCell_String() {
	for _, c := range []Cell{
		program("http", load.HTTP, 64, 16<<10, 512), unpinned(working(program("fasthttp", load.HTTP, 64, 64, 64), 100*time.Microsecond)), deep(program("resp", load.RESP, 64, 64, 64), 16),
	} {
		fmt.Println(c.Name+":", c)
	}
	for _, c := range []Cell{echo(64, 1), overUnix(pipelined(64, 16, 8)), open(unpinned(echo(1<<20, 4)), 0.5), upload(8), churn(64), fanout(1<<10, 1000), idle(10)} {
		fmt.Println(c.Name+":", c)
	}
	// Output:
	// http-16KiB-512: net/http, 16 KiB, 512 connections
	// fasthttp-64B-64-work100us-procs2: fasthttp, 64 B, 64 connections, a handler that computes for 100µs, GOMAXPROCS=2, not pinned
	// resp-64B-64-depth16: a RESP server, 64 B, 64 connections, 16 in flight on each
	// echo-64B-1: echo 64 B, 1 connection
	// pipelined-64B-16-unix: 64 B in, 64 B out, 16 connections, unix sockets, 8 in flight on each
	// echo-1MiB-4-procs2-open50: echo 1 MiB, 4 connections, at 50% of the baseline's capacity, GOMAXPROCS=2, not pinned
	// upload-8: 1 MiB in, 8 B out, 8 connections, 4 in flight on each
	// churn-64B-64: connect, echo 64 B, close; 64 at a time
	// fanout-1KiB-1000: 1 KiB to 1000 connections
	// idle-10: 10 idle connections
}
