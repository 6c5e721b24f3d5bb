package bench

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
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
	fmt.Fprintf(out, "build    %s, commit %s\n", r.Go, r.Commit)
	fmt.Fprintf(out, "rounds   %d of %v after %v of warm-up, targets in turns\n", r.Settings.Rounds, r.Settings.Window, r.Settings.Warmup)
	fmt.Fprintf(out, "auto     chooses %s: %s\n", r.Auto.Kind, r.Auto.Why)
	for _, c := range r.Choices {
		if c.Error != "" {
			fmt.Fprintf(out, "missing  %s: %s\n", c.Target, c.Error)
		} else {
			fmt.Fprintf(out, "target   %s runs on %s: %s\n", c.Target, c.Kind, c.Why)
		}
	}
}

func (r *Report) writeTable(out *strings.Builder) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"cell", "backend", "msg/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs/msg", "syscalls/msg", "server", "load"})
	var columns []table.ColumnConfig
	for n := 3; n <= 10; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for i := range r.Cells {
		c := &r.Cells[i]
		t.AppendSeparator()
		if len(c.Summaries) == 0 {
			t.AppendRow(table.Row{c.Cell.Name, "no round was completed"})
		}
		for n, s := range c.Summaries {
			row := table.Row{"", s.Target}
			if n == 0 {
				row[0] = c.Cell.Name
			}
			t.AppendRow(append(row,
				fmt.Sprintf("%.0f", s.Metrics[MetricThroughput].Median),
				micros(s.Metrics[MetricP50]), micros(s.Metrics[MetricP99]), micros(s.Metrics[MetricP999]),
				micros(s.Metrics[MetricCPU]), c.syscallText(s.Target),
				percent(s.ServerBusy), when(s.Saturated, "* ")+percent(s.LoadBusy)))
		}
		for _, k := range c.Comparisons {
			row := table.Row{"", k.Target + "/" + k.Against}
			for _, m := range append(append([]Metric(nil), timed...), MetricSyscalls) {
				row = append(row, ratioText(m, k.Ratios))
			}
			t.AppendRow(append(row, "", ""))
		}
	}
	t.Render()
}

func micros(s Spread) string { return fmt.Sprintf("%.2f", s.Median/float64(time.Microsecond)) }

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

func when(yes bool, mark string) string {
	if yes {
		return mark
	}
	return ""
}

// ratioText is the median, with a mark where the first target loses, and below
// it "0.88–0.95", the extremes.
func ratioText(m Metric, ratios map[Metric]Spread) string {
	s, ok := ratios[m]
	if !ok {
		return ""
	}
	median := when(m.worse(s.Median), "! ") + fmt.Sprintf("%.2f", s.Median)
	if s.Min == s.Max {
		return median
	}
	return fmt.Sprintf("%s\n%.2f–%.2f", median, s.Min, s.Max)
}

func (c *CellReport) syscallText(target string) string {
	if perMessage, ok := c.syscallsPerMessage(target); ok {
		return fmt.Sprintf("%.3f", perMessage)
	}
	return "n/a"
}

// writeNotes explains the marks, says why figures are missing, and judges the
// goals.
func (r *Report) writeNotes(out *strings.Builder) {
	fmt.Fprintln(out, "Medians of the rounds; ratios are medians of the ratios pair by pair, with the least and the greatest.")
	if len(r.Targets) > 1 {
		fmt.Fprintf(out, "!  %s is worse than %s.\n", r.Targets[0].Name, r.Targets[len(r.Targets)-1].Name)
	}
	var notes []string
	saturated := false
	var others []float64 // of all rounds
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, s := range c.Summaries {
			saturated = saturated || s.Saturated
		}
		for _, round := range c.Rounds {
			others = append(others, round.Others)
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
	if len(others) > 0 {
		if s := spreadOf(others); s.Median > disturbance {
			fmt.Fprintf(out, "DISTURBED: other work took %s of this machine's CPUs in the median round, and up to %s. Run this on a quiet machine.\n",
				percent(s.Median), percent(s.Max))
		}
	}
	said := make(map[string]bool)
	for _, note := range notes {
		if !said[note] {
			fmt.Fprintln(out, note)
			said[note] = true
		}
	}
	r.writeGoals(out)
	if r.Interrupted {
		fmt.Fprintln(out, "Interrupted: the rounds are not complete.")
	}
}

func (r *Report) writeGoals(out *strings.Builder) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"cell", "workload", "goal", "ratio", ""})
	rows := 0
	for i := range r.Cells {
		c := &r.Cells[i]
		for _, k := range c.Comparisons {
			for _, v := range k.Verdicts {
				verdict := "reached"
				if !v.Reached {
					verdict = "MISSED"
				}
				t.AppendRow(table.Row{
					c.Cell.Name, c.Cell.String(),
					v.Goal, fmt.Sprintf("%.3f", v.Ratio), verdict,
				})
				rows++
			}
		}
	}
	if rows > 0 {
		t.Render()
	}
}
