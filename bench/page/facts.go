package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringfd/ringfd/bench"
)

// fact is a line on what was run and where.
type fact struct{ Name, Value string }

func facts(r *bench.Report) []fact {
	m := r.Machine
	list := []fact{
		{"date", r.Started.Format("2006-01-02 15:04 MST")},
		{"machine", strings.Join(known(m.CPU, fmt.Sprintf("%d CPUs", m.CPUs), memory(m.MemoryKiB), m.OS+"/"+m.Arch), ", ")},
		{"kernel", strings.Join(known(m.Kernel, prefixed("clock ", m.Clock), prefixed("TCP congestion control ", m.Congestion)), ", ")},
		{"load average", fmt.Sprintf("%.2f in the minute before", m.Load)},
		{"build", fmt.Sprintf("%s, commit %s", r.Go, r.Commit)},
		{"rounds", fmt.Sprintf("%d of %v for each target after %v of warm-up, targets in turns", r.Settings.Rounds, r.Settings.Window, r.Settings.Warmup)},
		{"took", time.Duration(r.Took * float64(time.Second)).Round(time.Second).String()},
		{"flags", strings.Join(r.Settings.Args, " ")},
		{"generator", string(r.Settings.Driver)},
	}
	if r.Auto.Kind != "" {
		list = append(list, fact{"chosen by default", strings.Join(known(r.Auto.Kind, strings.ReplaceAll(r.Auto.Why, ",", ", ")), ": ")})
	}
	var mitigations []string
	for _, flaw := range slices.Sorted(maps.Keys(m.Mitigations)) {
		mitigations = append(mitigations, strings.ReplaceAll(flaw, "_", " ")+": "+strings.TrimPrefix(m.Mitigations[flaw], "Mitigation: "))
	}
	list = append(list, fact{"mitigations", strings.Join(mitigations, ". ")})
	return slices.DeleteFunc(list, func(f fact) bool { return f.Value == "" })
}

// known leaves out what is empty.
func known(parts ...string) []string {
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" })
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func memory(kib uint64) string {
	if kib == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
}

// note is what the reader must know of the figures.
type note struct {
	// Warning is what makes the figures doubtful.
	Warning bool
	Text    string
}

// telling is the least number of rounds in which the test can tell a difference
// from chance: of three rounds each, the extremest have p = 0.1.
const telling = 4

func notes(r *bench.Report) []note {
	var list []note
	add := func(warning bool, format string, args ...any) {
		n := note{warning, fmt.Sprintf(format, args...)}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	if others, disturbed := r.Disturbed(); disturbed {
		add(true, "DISTURBED: other work took %s of this machine's CPUs in the median round, and up to %s. Run this on a quiet machine.",
			percent(others.Median), percent(others.Max))
	}
	if r.Interrupted {
		add(true, "Interrupted: the rounds are not complete.")
	}
	if r.Settings.Rounds < telling {
		add(true, "With fewer than %d rounds no difference can be told from chance.", telling)
	}
	saturated := make(map[string][]string)
	var cells []string
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, s := range c.Summaries {
			if s.Saturated {
				saturated[c.Cell.Name] = append(saturated[c.Cell.Name], s.Target)
			}
		}
		if targets := saturated[c.Cell.Name]; targets != nil {
			cells = append(cells, fmt.Sprintf("%s (%s)", c.Cell.Name, strings.Join(targets, ", ")))
		}
	}
	if cells != nil {
		add(true, "The generator was saturated in %s: throughput and latency are its own there as much as the server's. CPU per message stands.", strings.Join(cells, ", "))
	}
	for _, c := range r.Cells {
		if c.Unpinned != "" {
			add(true, "Not pinned: %s", c.Unpinned)
		}
		for _, s := range c.Syscalls {
			if s.Error != "" {
				add(false, "System calls were not counted: %s", s.Error)
			} else if s.Source != "" {
				add(false, "System calls were counted by %s, in rounds of their own.", s.Source)
			}
		}
	}
	return list
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
