package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteText prints a SoakReport for people: what ran, what was done, and the
// checks.
func (r *SoakReport) WriteText(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "machine  %s/%s, %d CPUs, %s\n", r.Machine.OS, r.Machine.Arch, r.Machine.CPUs, r.Machine.Kernel)
	fmt.Fprintf(&out, "build    %s, commit %s\n", r.Go, r.Commit)
	fmt.Fprintf(&out, "backend  %s: %s\n", r.Kind, r.Why)
	fmt.Fprintf(&out, "soaked   %v with a sample at rest every %v; the first %v are the warm-up\n",
		r.Took.Round(time.Second), r.Config.Interval, r.WarmedUp().Round(time.Second))
	sum := r.sum()
	fmt.Fprintf(&out, "moved    %d messages of the trace, %d connections that came and went, %d broadcasts received; %s came back, each byte checked\n",
		sum.Messages, sum.Churned, sum.Told, bytesText(float64(sum.Checked)))
	fmt.Fprintf(&out, "faults   %s\n", counts(r.Faults))
	fmt.Fprintf(&out, "ends     %s\n", counts(r.Ends))
	l := r.Latency
	fmt.Fprintf(&out, "latency  of the trace: p50 %v, p99 %v, p99.9 %v, max %v\n", micro(l.P50), micro(l.P99), micro(l.P999), micro(l.Max))

	t := table.NewWriter()
	t.SetOutputMirror(&out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"at rest", "after the warm-up", "at the end", "at most", "trend per hour", ""})
	for _, c := range r.Checks {
		verdict := "ok"
		if !c.OK {
			verdict = "FAILED"
		}
		if c.Note != "" {
			verdict += ": " + c.Note
		}
		t.AppendRow(table.Row{c.Name, c.text(c.From), c.text(c.To), c.text(c.Limit), signed(c, c.Slope), verdict})
	}
	if r.Checks == nil {
		t.AppendRow(table.Row{"it ended before the samples were enough to compare"})
	}
	var columns []table.ColumnConfig
	for n := 2; n <= 5; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.Render()
	if r.Failure != "" {
		fmt.Fprintf(&out, "FAILED: %s\n", r.Failure)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// WhyNot says in one line what is wrong, if anything is.
func (r *SoakReport) WhyNot() string {
	var reasons []string
	if r.Failure != "" {
		reasons = append(reasons, r.Failure)
	}
	for _, c := range r.Checks {
		if c.OK {
			continue
		}
		reason := c.Name + ": " + c.Note
		if c.Limit > 0 {
			reason += fmt.Sprintf(", from %s to %s, and may be %s", c.text(c.From), c.text(c.To), c.text(c.Limit))
		}
		reasons = append(reasons, reason)
	}
	return strings.Join(reasons, "; ")
}

// sum adds up what was done.
func (r *SoakReport) sum() (sum SoakSample) {
	for _, s := range r.Samples {
		sum.Messages += s.Messages
		sum.Churned += s.Churned
		sum.Told += s.Told
		sum.Checked += s.Checked
	}
	return sum
}

// String is the sample on a line.
func (s SoakSample) String() string {
	return fmt.Sprintf("%7s  resident %s, heap %s, %d descriptors, %d goroutines, %d connections, %d in flight; p50 %v, p99 %v, p99.9 %v; %.0f messages/s, %d faults",
		s.At.Round(time.Second), bytesText(float64(s.Resident)), bytesText(float64(s.Heap)), s.Files, s.Goroutines, s.Connections, s.InFlight,
		micro(s.Latency.P50), micro(s.Latency.P99), micro(s.Latency.P999), float64(s.Messages)/s.Wall.Seconds(), s.Faults)
}

func counts(all map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, fmt.Sprintf("%d %s", all[name], name))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (c SoakCheck) text(value float64) string {
	switch c.Unit {
	case UnitBytes:
		return bytesText(value)
	case UnitNanoseconds:
		return micro(time.Duration(value)).String()
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

func signed(c SoakCheck, value float64) string {
	text := "+" + c.text(value)
	if value < 0 {
		text = "-" + c.text(-value)
	}
	if c.Unit == "" {
		text = fmt.Sprintf("%+.1f", value)
	}
	return text
}

func micro(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

func bytesText(value float64) string {
	switch {
	case value >= 1<<30:
		return fmt.Sprintf("%.2f GiB", value/(1<<30))
	case value >= 1<<20:
		return fmt.Sprintf("%.2f MiB", value/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", value/(1<<10))
}

// WriteCSV writes the samples, a line for each.
func (r *SoakReport) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{
		"seconds", "resting", "resident_bytes", "heap_in_use_bytes", "descriptors", "goroutines", "connections", "in_flight", "buffers",
		"messages", "p50_us", "p99_us", "p99_9_us", "max_us", "churned", "broadcasts_received", "faults", "checked_bytes", "interval_seconds",
	})
	for _, s := range r.Samples {
		line := []string{strconv.FormatFloat(s.At.Seconds(), 'f', 3, 64), strconv.FormatBool(s.Resting)}
		for _, n := range []uint64{s.Resident, s.Heap, uint64(s.Files), uint64(s.Goroutines), uint64(s.Connections), uint64(s.InFlight), uint64(s.Buffers), s.Messages} {
			line = append(line, strconv.FormatUint(n, 10))
		}
		for _, d := range []time.Duration{s.Latency.P50, s.Latency.P99, s.Latency.P999, s.Latency.Max} {
			line = append(line, strconv.FormatFloat(float64(d)/1e3, 'f', 1, 64))
		}
		for _, n := range []uint64{s.Churned, s.Told, s.Faults, s.Checked} {
			line = append(line, strconv.FormatUint(n, 10))
		}
		_ = out.Write(append(line, strconv.FormatFloat(s.Wall.Seconds(), 'f', 3, 64)))
	}
	out.Flush()
	return out.Error()
}
