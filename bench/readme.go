package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringfd/ringfd/bench/load"
)

// The markers of a section of the README that a Report fills. %s is the file
// that the report is kept in.
const (
	readmeBegin = "<!-- figures of %s, which `make readme` writes -->\n"
	readmeEnd   = "<!-- end of figures -->"
)

// UpdateReadme returns the text of a README with this report's figures in the
// section of source, the file that the report is kept in. A text without that
// section is an error.
func (r *Report) UpdateReadme(text, source string) (string, error) {
	begin := fmt.Sprintf(readmeBegin, source)
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, readmeEnd)
	if !found || !closed {
		return "", errors.New("there is no section to write: put these two lines in\n" + begin + readmeEnd)
	}
	return before + begin + r.markdown() + readmeEnd + after, nil
}

// markdown is the section: where it was measured, how ours compares with the
// baseline in every cell, and with the others where they ran. Ours is the first
// target; every style, where those of Serve are what was judged.
func (r *Report) markdown() string {
	var out strings.Builder
	ran := r.ran()
	base := ran[len(ran)-1]
	m := r.Machine
	fmt.Fprintf(&out, "Measured on %d CPUs (%s), Linux %s, %s, TCP congestion control %s, on %s, commit %.12s: %d rounds of %v for each target in each cell.\n",
		m.CPUs, m.CPU, m.Kernel, r.Go, m.Congestion, r.Started.Format(time.DateOnly), r.Commit, r.Settings.Rounds, r.Settings.Window)
	for _, ours := range ran {
		style := ours == IOUring || ours == IOUringBlocking || ours == IOUringData
		if ours == ran[0] || style && slices.Contains(ran, IOUringBlocking) {
			r.markdownOurs(&out, ours, base)
		}
	}
	r.markdownCross(&out)
	r.markdownIdle(&out, ran)
	return out.String()
}

// ran returns the targets that ran in some cell.
func (r *Report) ran() []string {
	var names []string
	for _, t := range r.Targets {
		for _, c := range r.Cells {
			if slices.ContainsFunc(c.Summaries, func(s Summary) bool { return s.Target == t.Name }) {
				names = append(names, t.Name)
				break
			}
		}
	}
	return names
}

// markdownOurs compares one of our targets.
func (r *Report) markdownOurs(out *strings.Builder, ours, base string) {
	fmt.Fprintf(out, "\nRatios are of %s over %s, medians of the ratios pair by pair with the least and the greatest; below 1 is better, but for throughput. **Bold** is worse, and ~ may be chance.\n\n", ours, base)
	if r.runsPrograms() {
		r.markdownPrograms(out, ours, base)
		return
	}
	fmt.Fprintf(out, "| cell | server CPU per message | p50 | p99 | throughput | system calls per message, %s / %s | allocations per message |\n|---|---|---|---|---|---|---|\n", ours, base)
	for i := range r.Cells {
		c := &r.Cells[i]
		k := c.Comparison(ours, base)
		if k == nil || c.Cell.Workload == load.Idle {
			continue
		}
		cpu := markdownRatio(MetricCPU, k)
		if c.Cell.Computing > 0 {
			cpu = "n/a" // it is that of computing
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s |\n", c.Cell,
			cpu, markdownRatio(MetricP50, k), markdownRatio(MetricP99, k), markdownRatio(MetricThroughput, k),
			c.figure(ours, MetricSyscalls, "%.2f")+" / "+c.figure(base, MetricSyscalls, "%.2f"), c.figure(ours, MetricAllocs, "%.2f"))
	}
	r.markdownOthers(out, ours, base)
}

// markdownPrograms is the table of one of our targets where the cells are of real
// programs, which allocate as they like.
func (r *Report) markdownPrograms(out *strings.Builder, ours, base string) {
	fmt.Fprintf(out, "| cell | server CPU per message | p50 | p99 | p99.9 | throughput | system calls per message, %s / %s |\n|---|---|---|---|---|---|---|\n", ours, base)
	for i := range r.Cells {
		c := &r.Cells[i]
		if k := c.Comparison(ours, base); k != nil {
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s |\n", c.Cell,
				markdownRatio(MetricCPU, k), markdownRatio(MetricP50, k), markdownRatio(MetricP99, k), markdownRatio(MetricP999, k),
				markdownRatio(MetricThroughput, k), c.figure(ours, MetricSyscalls, "%.2f")+" / "+c.figure(base, MetricSyscalls, "%.2f"))
		}
	}
	if value, cells := r.medianOfCells(MetricCPU, ours, base); cells > 0 {
		fmt.Fprintf(out, "\nServer CPU per message of %s over %s, the median of these %d cells: **%.2f**.\n", ours, base, cells, value)
	}
}

// markdownCross is a table of what other generators found.
func (r *Report) markdownCross(out *strings.Builder) {
	head := "\nThroughput over that of the baseline, by another generator and by the lab's own:\n\n| cell | by | its ratio | the lab's | the baseline's rate by it | by the lab |\n|---|---|---|---|---|---|\n"
	r.crossRatios(func(c *CellReport, own Ratio, rate Spread) {
		fmt.Fprintf(out, "%s| %s | %s | %s | %s | %.0f/s | %.0f/s |\n", head, c.Cell, c.CrossCheck.Tool,
			c.CrossCheck.Ratio.text(), own.text(), c.CrossCheck.Rate.Median, rate.Median)
		head = ""
	})
}

// markdownIdle is a table of what idle connections cost.
func (r *Report) markdownIdle(out *strings.Builder, targets []string) {
	var rows []string
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Cell.Workload != load.Idle {
			continue
		}
		for _, part := range []struct {
			name   string
			metric Metric
		}{{"user", MetricUserPerConn}, {"kernel, both ends", MetricKernelConn}} {
			row := fmt.Sprintf("| %s: %s |", c.Cell, part.name)
			for _, t := range targets {
				row += " " + c.figure(t, part.metric, "%.0f") + " |"
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(out, "\nBytes of memory per connection:\n\n| cell | %s |\n|---|%s\n%s\n",
		strings.Join(targets, " | "), strings.Repeat("---|", len(targets)), strings.Join(rows, "\n"))
}

// markdownOthers is a table of the cells that more targets than ours ran.
func (r *Report) markdownOthers(out *strings.Builder, ours, base string) {
	var others []string
	for _, name := range r.ran() {
		if name != ours && name != base {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return
	}
	head := fmt.Sprintf("\nServer CPU per message of %s over that of the others:\n\n| cell | %s |\n|---|%s\n",
		ours, strings.Join(others, " | "), strings.Repeat("---|", len(others)))
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Cell.Computing > 0 {
			continue
		}
		row, some := "", false
		for _, other := range others {
			k := c.Comparison(ours, other)
			if k == nil {
				row += " |"
				continue
			}
			some = true
			row += " " + markdownRatio(MetricCPU, k) + " |"
		}
		if some {
			fmt.Fprintf(out, "%s| %s |%s\n", head, c.Cell, row)
			head = ""
		}
	}
}

// markdownRatio is "0.88 (0.84–0.93)".
func markdownRatio(m Metric, k *Comparison) string {
	r, ok := k.Ratios[m]
	if !ok {
		return "n/a"
	}
	text := r.text()
	switch {
	case !r.Different:
		return "~ " + text
	case m.Worse(r.Median):
		return "**" + text + "**"
	}
	return text
}

// figure is the median of a target's metric.
func (c *CellReport) figure(target string, m Metric, form string) string {
	for _, s := range c.Summaries {
		if spread, ok := s.Metrics[m]; ok && s.Target == target {
			return fmt.Sprintf(form, spread.Median)
		}
	}
	return "n/a"
}
