package bench

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteText prints the changes for people, the worst first, and what was not
// compared.
func (c *Changes) WriteText(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "before   %s\nafter    %s\n", c.Before, c.After)
	for _, warning := range c.Warnings {
		fmt.Fprintf(&out, "WARNING  %s\n", warning)
	}
	for _, s := range c.Skipped {
		fmt.Fprintf(&out, "left out %s: %s\n", s.Cell, s.Why)
	}
	worse := 0
	t := table.NewWriter()
	t.SetOutputMirror(&out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"", "cell", "target", "metric", "before", "after", "change", "p"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight}, {Number: 7, Align: text.AlignRight},
	})
	for _, change := range c.List {
		if change.Worse {
			worse++
		}
		t.AppendRow(change.row())
	}
	if len(c.List) > 0 {
		t.Render()
	}
	fmt.Fprintf(&out, "%d of %d figures got worse, %d better. The others did not change, or by no more than chance or a few percent.\n"+
		"Of %.0f figures that did not change one passes the test by chance: run again before you believe a single one.\n",
		worse, c.Compared, len(c.List)-worse, 1/strict)
	_, err := io.WriteString(w, out.String())
	return err
}

func (c Change) row() table.Row {
	verdict, metric, p := "better", string(c.Metric), "exact"
	if c.Worse {
		verdict = "WORSE"
	}
	if c.Against != "" {
		metric += " / " + c.Against
	}
	if c.P > 0 {
		p = fmt.Sprintf("%.3f", c.P)
	}
	factor := "from 0"
	if c.Factor > 0 {
		factor = fmt.Sprintf("%+.1f%%", 100*(c.Factor-1))
	}
	return table.Row{verdict, c.Cell, c.Target, metric, c.spreadText(c.Before), c.spreadText(c.After), factor, p}
}

func (c Change) spreadText(s Spread) string {
	write := c.Metric.Text
	if c.Against != "" {
		write = func(ratio float64) string { return fmt.Sprintf("%.3f", ratio) }
	}
	if s.Min == s.Max {
		return write(s.Median)
	}
	return fmt.Sprintf("%s (%s – %s)", write(s.Median), write(s.Min), write(s.Max))
}
