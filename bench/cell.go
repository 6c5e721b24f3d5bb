package bench

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Cell is one workload: an echo of Size bytes on each of Conns connections, in
// closed loop (a connection sends its next message when it has the reply).
type Cell struct {
	Name  string `json:"name"`
	Size  int    `json:"size_bytes"`
	Conns int    `json:"conns"`
	// Procs is GOMAXPROCS of the server.
	Procs int `json:"gomaxprocs"`
	// Pinned puts the server on one core and the generator on another.
	Pinned bool `json:"pinned"`
	// BusyPoll is ringfd.Options.BusyPoll of the server.
	BusyPoll time.Duration `json:"busy_poll_ns"`
	// Goals are what the first target is to reach against the last.
	Goals []Goal `json:"goals,omitempty"`
}

// Goal bounds the median ratio of a metric.
type Goal struct {
	Metric Metric  `json:"metric"`
	AtMost float64 `json:"at_most"`
}

// String is "p99 ≤ 1.00".
func (g Goal) String() string { return fmt.Sprintf("%s ≤ %.2f", g.Metric, g.AtMost) }

// Cells returns the cells of the main comparison, with their goals.
func Cells() []Cell {
	goals := func(cpu, p99 float64) []Goal {
		return []Goal{{MetricCPU, cpu}, {MetricP99, p99}}
	}
	return []Cell{
		{Name: "64B-1", Size: 64, Conns: 1, Procs: 1, Pinned: true, Goals: goals(1.00, 1.10)},
		{Name: "64B-64-pinned", Size: 64, Conns: 64, Procs: 1, Pinned: true, Goals: goals(0.92, 1.00)},
		{Name: "64B-1000-pinned", Size: 64, Conns: 1000, Procs: 1, Pinned: true, Goals: goals(0.92, 1.00)},
		{Name: "64B-64-procs2", Size: 64, Conns: 64, Procs: 2, Goals: goals(0.88, 1.00)},
		{Name: "64B-1000-procs2", Size: 64, Conns: 1000, Procs: 2, Goals: goals(0.88, 1.00)},
		{Name: "16KiB-16", Size: 16 << 10, Conns: 16, Procs: 1, Pinned: true, Goals: goals(1.00, 1.10)},
		{Name: "64KiB-16", Size: 64 << 10, Conns: 16, Procs: 1, Pinned: true, Goals: goals(1.00, 1.10)},
		{
			Name: "64B-1-busypoll", Size: 64, Conns: 1, Procs: 1, Pinned: true,
			BusyPoll: 50 * time.Microsecond, Goals: []Goal{{MetricP50, 0.50}},
		},
	}
}

// Select returns the cells whose whole name one of the patterns, regular
// expressions, matches, in their order; all of them without patterns. A pattern
// that matches none is an error that lists the names.
func Select(cells []Cell, patterns []string) ([]Cell, error) {
	if len(patterns) == 0 {
		return cells, nil
	}
	chosen := make([]bool, len(cells))
	for _, pattern := range patterns {
		re, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			return nil, fmt.Errorf("cell %q is not a regular expression: %w", pattern, err)
		}
		found := false
		for i, c := range cells {
			if re.MatchString(c.Name) {
				chosen[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown cell %q: choose from %s", pattern, strings.Join(names(cells), ", "))
		}
	}
	var selected []Cell
	for i, c := range cells {
		if chosen[i] {
			selected = append(selected, c)
		}
	}
	return selected, nil
}

func names(cells []Cell) []string {
	var list []string
	for _, c := range cells {
		list = append(list, c.Name)
	}
	return list
}

// String describes the cell in words.
func (c Cell) String() string {
	text := fmt.Sprintf("%s × %d conns, GOMAXPROCS=%d", sizeText(c.Size), c.Conns, c.Procs)
	if c.Conns == 1 {
		text = fmt.Sprintf("%s × 1 conn, GOMAXPROCS=%d", sizeText(c.Size), c.Procs)
	}
	if c.Pinned {
		text += " pinned"
	} else {
		text += " unpinned"
	}
	if c.BusyPoll > 0 {
		text += fmt.Sprintf(", BusyPoll(%v)", c.BusyPoll)
	}
	return text
}

func sizeText(n int) string {
	if n >= 1<<10 && n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
