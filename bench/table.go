package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/ringfd/ringfd/bench/load"
)

// WriteText prints a Report for people: what ran and why, the table with a
// block for each cell, and the goals.
func (r *Report) WriteText(w io.Writer) error {
	var out strings.Builder
	r.writeHead(&out)
	if len(r.Targets) > 0 {
		r.writeTable(&out)
		r.writeNotes(&out)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (r *Report) writeHead(out *strings.Builder) {
	m := r.Machine
	fmt.Fprintf(out, "machine  %s/%s, %d CPUs", m.OS, m.Arch, m.CPUs)
	for _, part := range []string{m.CPU, m.Kernel} {
		if part != "" {
			fmt.Fprintf(out, ", %s", part)
		}
	}
	fmt.Fprintf(out, ", load average %.2f\n", m.Load)
	if m.Congestion != "" {
		fmt.Fprintf(out, "         TCP congestion control %s, clock %s\n", m.Congestion, m.Clock)
	}
	for _, flaw := range slices.Sorted(maps.Keys(m.Mitigations)) {
		fmt.Fprintf(out, "         %s: %s\n", flaw, m.Mitigations[flaw])
	}
	fmt.Fprintf(out, "build    %s, commit %s\n", r.Go, r.Commit)
	fmt.Fprintf(out, "rounds   %d of %v after %v of warm-up, targets in turns; the generator drives %s\n", r.Settings.Rounds, r.Settings.Window, r.Settings.Warmup, r.driver())
	fmt.Fprintf(out, "auto     chooses %s: %s\n", r.Auto.Kind, r.Auto.Why)
	for _, c := range r.Choices {
		if c.Error != "" {
			fmt.Fprintf(out, "left out %s: %s\n", c.Target, c.Error)
		} else {
			fmt.Fprintf(out, "target   %s runs on %s: %s\n", c.Target, c.Kind, c.Why)
		}
	}
}

// driver is what the generator drove its sockets with.
func (r *Report) driver() load.Driver {
	for i := range r.Cells {
		for j := range r.Cells[i].Rounds {
			return r.Cells[i].Rounds[j].Load.Driver
		}
	}
	return "nothing"
}

func (r *Report) writeTable(out *strings.Builder) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	header := table.Row{"cell", "target"}
	shown := r.columns()
	for _, c := range shown {
		header = append(header, c.title)
	}
	t.AppendHeader(append(header, "server", "load", "CPU ratio", "p99 ratio"))
	var configs []table.ColumnConfig
	for n := 3; n <= len(shown)+6; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for i := range r.Cells {
		c := &r.Cells[i]
		t.AppendSeparator()
		if len(c.Summaries) == 0 {
			t.AppendRow(table.Row{c.Cell.Name, "no round was completed"})
		}
		for n, s := range c.Summaries {
			t.AppendRow(c.row(n, s, shown))
		}
	}
	t.Render()
}

// column is a figure of a target.
type column struct {
	title  string
	metric Metric
	form   string
	unit   float64
}

var columns = []column{
	{"msg/s", MetricThroughput, "%.0f", 1},
	{"p50 µs", MetricP50, "%.1f", 1e3},
	{"p99 µs", MetricP99, "%.1f", 1e3},
	{"p99.9 µs", MetricP999, "%.1f", 1e3},
	{"CPU µs/msg", MetricCPU, "%.2f", 1e3},
	{"syscalls/msg", MetricSyscalls, "%.3f", 1},
	{"allocs/msg", MetricAllocs, "%.2f", 1},
	{"user B/conn", MetricUserPerConn, "%.0f", 1},
	{"kernel B/conn", MetricKernelConn, "%.0f", 1},
	{"least share", MetricLeastShare, "%.2f", 1},
}

// columns leaves out those without a figure.
func (r *Report) columns() []column {
	known := make(map[Metric]bool)
	for i := range r.Cells {
		for _, s := range r.Cells[i].Summaries {
			for m := range s.Metrics {
				known[m] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return !known[c.metric] })
}

// row is the line of a target: its figures, and how the first target compares
// with it.
func (c *CellReport) row(n int, s Summary, shown []column) table.Row {
	row := table.Row{"", s.Target}
	if n == 0 {
		row[0] = c.Cell.Name
	}
	for _, column := range shown {
		spread, ok := s.Metrics[column.metric]
		if !ok {
			row = append(row, "")
			continue
		}
		row = append(row, fmt.Sprintf(column.form, spread.Median/column.unit))
	}
	row = append(row, percent(s.ServerBusy), when(s.Saturated, "* ")+percent(s.LoadBusy))
	if k := c.Comparison(c.Summaries[0].Target, s.Target); k != nil {
		row = append(row, ratioText(MetricCPU, k.Ratios), ratioText(MetricP99, k.Ratios))
	}
	return row
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

func when(yes bool, mark string) string {
	if yes {
		return mark
	}
	return ""
}

// ratioText is the median with the extremes, with a mark where the first target
// loses, or where the difference may be chance.
func ratioText(m Metric, ratios map[Metric]Ratio) string {
	r, ok := ratios[m]
	if !ok {
		return ""
	}
	text := fmt.Sprintf("%.2f", r.Median)
	if r.Min != r.Max {
		text += fmt.Sprintf(" (%.2f–%.2f)", r.Min, r.Max)
	}
	switch {
	case !r.Different:
		return "~ " + text
	case m.Worse(r.Median):
		return "! " + text
	}
	return text
}

// writeNotes explains the marks, says why figures are missing, and judges the
// goals.
func (r *Report) writeNotes(out *strings.Builder) {
	fmt.Fprintf(out, "Medians of the rounds. Ratios are %s over the target of the row: medians of the ratios pair by pair, with the least and the greatest.\n", r.Targets[0].Name)
	fmt.Fprintf(out, "!  %s is worse.  ~  The difference may be chance: the Mann-Whitney U test gives p ≥ %.2f.\n", r.Targets[0].Name, alpha)
	var notes []string
	saturated := false
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, s := range c.Summaries {
			saturated = saturated || s.Saturated
		}
		if c.Rate > 0 {
			notes = append(notes, fmt.Sprintf("%s: open loop at %.0f messages per second.", c.Cell.Name, c.Rate))
		}
		if c.Unpinned != "" {
			notes = append(notes, "not pinned: "+c.Unpinned)
		}
		for _, s := range c.Syscalls {
			if s.Error != "" {
				notes = append(notes, "syscalls/msg n/a: "+s.Error)
			} else {
				notes = append(notes, "System calls were counted by "+s.Source+", in rounds of their own.")
			}
		}
	}
	if saturated {
		fmt.Fprintln(out, "*  The generator was saturated: throughput and latency are its own as much as the server's. CPU per message stands.")
	}
	if others, disturbed := r.Disturbed(); disturbed {
		fmt.Fprintf(out, "DISTURBED: other work took %s of this machine's CPUs in the median round, and up to %s. Run this on a quiet machine.\n",
			percent(others.Median), percent(others.Max))
	}
	said := make(map[string]bool)
	for _, note := range notes {
		if !said[note] {
			fmt.Fprintln(out, note)
			said[note] = true
		}
	}
	for _, note := range r.crossNotes() {
		fmt.Fprintln(out, note)
	}
	r.writeGoals(out)
	if r.runsPrograms() {
		base := r.Targets[len(r.Targets)-1].Name
		for i, t := range r.Targets[:len(r.Targets)-1] {
			if value, cells := r.medianOfCells(MetricCPU, t.Name, base); cells > 0 {
				fmt.Fprintf(out, "CPU ratio of %s over %s, the median of %d cells: %.3f%s\n", t.Name, base, cells, value, when(i == 0, r.medianGoal(value)))
			}
		}
	}
	if r.Interrupted {
		fmt.Fprintln(out, "Interrupted: the rounds are not complete.")
	}
}

// medianGoal judges the median of all cells.
func (r *Report) medianGoal(value float64) string {
	return fmt.Sprintf(" (goal: ≤ %.2f, %s)", medianCPU, r.verdict(value <= medianCPU))
}

// verdict says whether a goal was reached, unless rounds are missing.
func (r *Report) verdict(reached bool) string {
	switch {
	case r.Interrupted:
		return "not judged"
	case reached:
		return "reached"
	}
	return "MISSED"
}

// crossNotes says what other generators found, or why they did not.
func (r *Report) crossNotes() []string {
	var notes []string
	r.crossRatios(func(c *CellReport, own Ratio, rate Spread) {
		notes = append(notes, fmt.Sprintf("%s: the throughput's ratio is %s by %s, %s by the lab's generator; the baseline's is %.0f/s and %.0f/s.",
			c.Cell.Name, c.CrossCheck.Ratio.text(), c.CrossCheck.Tool, own.text(), c.CrossCheck.Rate.Median, rate.Median))
	})
	for i := range r.Cells {
		if check := r.Cells[i].CrossCheck; check != nil && check.Error != "" {
			if note := "no cross-check: " + check.Error; !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

func (r *Report) writeGoals(out *strings.Builder) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"cell", "workload", "goal", "value", ""})
	rows := 0
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, v := range c.Verdicts {
			t.AppendRow(table.Row{c.Cell.Name, c.Cell.String(), v.Goal, v.Text(), r.verdict(v.Reached)})
			rows++
		}
	}
	if rows > 0 {
		t.Render()
	}
}
