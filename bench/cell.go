package bench

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ringfd/ringfd/bench/load"
)

// Cell is one workload, as every target runs it.
type Cell struct {
	Name     string        `json:"name"`
	Workload load.Workload `json:"workload"`
	// Program is a real program that serves, instead of the lab's own server.
	Program string `json:"program,omitempty"`
	// Work is how long its handler computes for each message, about.
	Work time.Duration `json:"work_ns,omitempty"`
	// Network is tcp or unix.
	Network string `json:"network"`
	// Request and Reply are the sizes of messages; of a trace, the least and
	// the greatest.
	Request int `json:"request_bytes"`
	Reply   int `json:"reply_bytes"`
	Conns   int `json:"conns"`
	// Depth is how many messages a connection has in flight.
	Depth int `json:"depth"`
	// Share makes it an open loop: at this share of what the baseline carries
	// in closed loop, which is measured first.
	Share float64 `json:"share_of_saturation,omitempty"`
	// Spin keeps the generator from sleeping.
	Spin bool `json:"spinning_generator,omitempty"`
	// Procs is GOMAXPROCS of the server.
	Procs int `json:"gomaxprocs"`
	// Pinned puts the server on one core and the generator on another.
	Pinned bool `json:"pinned"`
	// BusyPoll is ringfd.Options.BusyPoll of the server.
	BusyPoll time.Duration `json:"busy_poll_ns,omitempty"`
	// Computing is how many goroutines of the server do nothing but compute. What CPU
	// it uses says nothing then.
	Computing int `json:"computing,omitempty"`
	// Window is the length of its rounds; 0 is that of the settings.
	Window time.Duration `json:"window_ns,omitempty"`
	// Targets are those that run it; nil is all.
	Targets []string `json:"targets,omitempty"`
	// Weight multiplies the rounds, for a cell whose figures vary much: where
	// the working set does not fit the cache that neighbours leave.
	// 0 is 1.
	Weight int `json:"weight,omitempty"`
	// Goals are what targets are to reach.
	Goals []Goal `json:"goals,omitempty"`
}

// Traffic returns the cell without what does not change what a round of it is:
// its targets, its weight and its goals.
func (c Cell) Traffic() Cell {
	c.Targets, c.Weight, c.Goals = nil, 0, nil
	return c
}

func (c Cell) weight() int { return max(1, c.Weight) }

// Goal bounds the median ratio of a metric, of one target to another; or the
// median itself.
type Goal struct {
	Metric Metric `json:"metric"`
	// Target is whose goal it is; "" is the first.
	Target string `json:"target,omitempty"`
	// Against is with whom Target is compared; "" is the baseline.
	Against string `json:"against,omitempty"`
	// Itself bounds the metric, in its own unit, and not a ratio.
	Itself bool `json:"itself,omitempty"`
	// AtLeast is the bound where more is better, AtMost everywhere else.
	AtMost  float64 `json:"at_most"`
	AtLeast float64 `json:"at_least,omitempty"`
	// OrChance is reached by a ratio that may be chance, too, where enough rounds ran
	// to tell.
	OrChance bool `json:"or_chance,omitempty"`
}

// String is "io_uring-data: server CPU/msg ≤ 1.05 × c-io_uring".
func (g Goal) String() string { return g.Text(string(g.Metric)) }

// Text is String with another name of the metric.
func (g Goal) Text(metric string) string {
	bound, sign := g.AtMost, "≤"
	if g.AtLeast > 0 {
		bound, sign = g.AtLeast, "≥"
	}
	text := fmt.Sprintf("%s %s %.2f", metric, sign, bound)
	if g.Itself {
		text = fmt.Sprintf("%s %s %s", metric, sign, g.Metric.Text(bound))
	}
	if g.OrChance {
		text += ", or chance"
	}
	if g.Target != "" {
		text = g.Target + ": " + text
	}
	if g.Against != "" {
		text += " × " + g.Against
	}
	return text
}

// reached reports whether a value meets the bound.
func (g Goal) reached(value float64) bool {
	if g.AtLeast > 0 {
		return value >= g.AtLeast
	}
	return value <= g.AtMost
}

// seed is of the random choices in every cell: the same for every target.
const seed = 2026

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
	parts := []string{c.what()}
	if c.Network == "unix" {
		parts = append(parts, "unix sockets")
	}
	if c.Work > 0 {
		parts = append(parts, fmt.Sprintf("a handler that computes for %v", c.Work))
	}
	if c.Depth > 1 {
		parts = append(parts, fmt.Sprintf("%d in flight on each", c.Depth))
	}
	if c.Share > 0 {
		parts = append(parts, fmt.Sprintf("at %.0f%% of the baseline's capacity", 100*c.Share))
	}
	if c.Spin {
		parts = append(parts, "the generator spins")
	}
	if c.Procs > 1 {
		parts = append(parts, fmt.Sprintf("GOMAXPROCS=%d", c.Procs))
	}
	if !c.Pinned {
		parts = append(parts, "not pinned")
	}
	if c.BusyPoll > 0 {
		parts = append(parts, fmt.Sprintf("BusyPoll(%v)", c.BusyPoll))
	}
	if c.Computing > 0 {
		parts = append(parts, fmt.Sprintf("beside %d goroutines that compute", c.Computing))
	}
	return strings.Join(parts, ", ")
}

func (c Cell) what() string {
	conns := fmt.Sprintf("%d connections", c.Conns)
	if c.Conns == 1 {
		conns = "1 connection"
	}
	if c.Program != "" {
		return c.program() + ", " + conns
	}
	switch c.Workload {
	case load.Exchange:
		return fmt.Sprintf("%s in, %s out, %s", sizeText(c.Request), sizeText(c.Reply), conns)
	case load.Churn:
		return fmt.Sprintf("connect, echo %s, close; %d at a time", sizeText(c.Request), c.Conns)
	case load.Fanout:
		return fmt.Sprintf("%s to %s", sizeText(c.Request), conns)
	case load.Idle:
		return fmt.Sprintf("%d idle connections", c.Conns)
	case load.Flood:
		return fmt.Sprintf("echo %s, %d connections beside one that floods with %s", sizeText(c.Request), c.Conns-1, sizeText(c.Reply))
	case load.Trace:
		return fmt.Sprintf("p2p trace, %s to %s, %s", sizeText(c.Request), sizeText(c.Reply), conns)
	}
	return fmt.Sprintf("echo %s, %s", sizeText(c.Request), conns)
}

// program describes what a real program does.
func (c Cell) program() string { return programs[c.Program] + ", " + sizeText(c.Reply) }

func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
