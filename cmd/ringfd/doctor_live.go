package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/cockroachdb/errors"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/ringfd/ringfd"
	"github.com/ringfd/ringfd/live"
)

// liveReport is what doctor --live prints at one time. The counters of the
// snapshot are since the start; all others are of the last Seconds.
type liveReport struct {
	*live.Snapshot
	// First says that there was no report before, so that Seconds begin with the
	// start of the process.
	First    bool         `json:"first"`
	Seconds  float64      `json:"seconds"`
	Interval ringfd.Stats `json:"interval"`
	Loops    []loopReport `json:"loops"`
}

// loopReport is a row of the table.
type loopReport struct {
	Loop           int     `json:"loop"`
	Connections    int     `json:"connections"`
	TurnsPerSecond float64 `json:"turns_per_second"`
	// TurnLength is in nanoseconds, Batch in completions.
	TurnLength quantiles `json:"turn_length_ns"`
	Batch      quantiles `json:"batch"`
	// SyscallsPerCompletion is missing where nothing was completed.
	SyscallsPerCompletion *float64 `json:"syscalls_per_completion,omitempty"`
	Rearms                uint64   `json:"rearms"`
	NoBuffers             uint64   `json:"no_buffers"`
	Overflows             uint64   `json:"overflows"`
	Wakeups               uint64   `json:"wakeups"`
	SpinsPaid             uint64   `json:"spins_paid"`
	SpinsLost             uint64   `json:"spins_lost"`
	Held                  uint64   `json:"held"`
	Panics                uint64   `json:"panics"`
	Offloads              uint64   `json:"offloads"`
	Copied                uint64   `json:"copied_bytes"`
}

// quantiles are bounds that so many of the values do not exceed; missing where
// there were no values.
type quantiles struct {
	P50 *bound `json:"p50,omitempty"`
	P99 *bound `json:"p99,omitempty"`
	Max *bound `json:"max,omitempty"`
}

// bound is one of a histogram: the largest value of a bucket. The last bucket
// has none, which is null in JSON.
type bound uint64

const unbounded bound = math.MaxUint64

func (b bound) MarshalJSON() ([]byte, error) {
	if b == unbounded {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(b), 10), nil
}

func quantilesOf(h ringfd.Histogram) quantiles {
	if h.Count() == 0 {
		return quantiles{}
	}
	at := func(q float64) *bound { return new(bound(h.Quantile(q))) }
	return quantiles{at(0.5), at(0.99), at(1)}
}

const defaultInterval = time.Second

// watch prints reports until ctx ends, or there were enough.
func (c *doctorCommand) watch(ctx context.Context, out io.Writer) error {
	switch {
	case c.Interval < 0:
		return usageError{fmt.Errorf("--interval is %v: give a positive duration", c.Interval)}
	case c.Count < 0:
		return usageError{fmt.Errorf("--count is %d: give a positive number, or none to go on until interrupted", c.Count)}
	case c.Interval == 0:
		c.Interval = defaultInterval
	}
	client, err := live.Dial(ctx, c.Live)
	if err != nil {
		return usageError{err}
	}
	err = c.reports(ctx, client, out)
	if ctx.Err() != nil {
		err = nil // that is how it ends
	}
	return errors.Join(err, client.Close())
}

func (c *doctorCommand) reports(ctx context.Context, client *live.Client, out io.Writer) error {
	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()
	var earlier *live.Snapshot
	for n := 1; ; n++ {
		now, err := client.Read(ctx)
		if err != nil {
			return err
		}
		report := newLiveReport(now, earlier)
		if c.JSON {
			err = json.NewEncoder(out).Encode(report)
		} else {
			err = report.write(out)
		}
		if err != nil || n == c.Count {
			return err
		}
		earlier = now
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// newLiveReport reports on the time from earlier to now; from the start if
// earlier is nil.
func newLiveReport(now, earlier *live.Snapshot) liveReport {
	first := earlier == nil
	if first {
		earlier = new(live.Snapshot)
	}
	r := liveReport{
		Snapshot: now,
		First:    first,
		Seconds:  (now.Uptime - earlier.Uptime).Seconds(),
		Interval: now.Stats.Sub(earlier.Stats),
		Loops:    []loopReport{},
	}
	for i, loop := range r.Interval.Loops {
		r.Loops = append(r.Loops, loopReport{
			Loop:           i,
			Connections:    loop.Connections,
			TurnsPerSecond: rate(loop.Turns, r.Seconds),
			TurnLength:     quantilesOf(loop.TurnLength),
			Batch:          quantilesOf(loop.Batch),
			Rearms:         loop.Rearms,
			NoBuffers:      loop.NoBuffers,
			Overflows:      loop.Overflows,
			Wakeups:        loop.Wakeups,
			SpinsPaid:      loop.Spins,
			SpinsLost:      loop.SpinsLost,
			Held:           loop.Held,
			Panics:         loop.Panics,
			Offloads:       loop.Offloads,
			Copied:         loop.Copied,

			SyscallsPerCompletion: ratio(loop.Enters, loop.Completed),
		})
	}
	return r
}

// rate is 0 where the clock has not moved.
func rate(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// ratio returns nil where there is none.
func ratio(a, b uint64) *float64 {
	if b == 0 {
		return nil
	}
	return new(float64(a) / float64(b))
}

// write prints the report: who it is about the first time only.
func (r liveReport) write(w io.Writer) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	merged := table.RowConfig{AutoMerge: true, AutoMergeAlign: text.AlignLeft}
	const turn, batch, spins = "turn shorter than", "batch up to", "spins"
	t.AppendHeader(table.Row{"", "connec-", "turns", turn, turn, turn, batch, batch, "syscalls/", "re-", "ENO-", "over-", "wake-", spins, spins, "", "", "off-", ""}, merged)
	t.AppendHeader(table.Row{"loop", "tions", "/s", "p50", "p99", "max", "p50", "p99", "completion", "arms", "BUFS", "flows", "ups", "paid", "lost", "held", "panics", "loads", "copied"})
	for _, l := range r.Loops {
		t.AppendRow(table.Row{l.Loop, l.Connections, fmt.Sprintf("%.0f", l.TurnsPerSecond),
			l.TurnLength.P50.duration(), l.TurnLength.P99.duration(), l.TurnLength.Max.duration(), l.Batch.P50.number(), l.Batch.P99.number(),
			optional(l.SyscallsPerCompletion), l.Rearms, l.NoBuffers, l.Overflows, l.Wakeups, l.SpinsPaid, l.SpinsLost, l.Held, l.Panics, l.Offloads, size(l.Copied)})
	}
	columns := make([]table.ColumnConfig, 19)
	for i := range columns {
		columns[i] = table.ColumnConfig{Number: i + 1, Align: text.AlignRight}
	}
	t.SetColumnConfigs(columns)

	p := printer{w: w}
	if r.First {
		p.line("%s, process %d: ringfd %s, %s", r.Program, r.PID, r.Version, r.Go)
		p.line("backend %s: %s", r.Backend, r.Why)
	}
	when := "in " + short(time.Duration(r.Seconds*float64(time.Second)))
	if r.First {
		when += ", since " + r.Started.Local().Format(time.DateTime)
	}
	s := r.Interval
	p.line("%s: sockets %d, listeners %d", when, s.Sockets, s.Listeners)
	if r.Backend == ringfd.IOUring {
		p.line("pollers: wake-ups %d, calls made for goroutines %d, syscalls/call %s, spins paid %d, lost %d, rings lost %d",
			s.Wakeups, s.Completed, optional(ratio(s.Enters, s.Completed)), s.Spins, s.SpinsLost, s.RingsLost)
	}
	if len(r.Loops) == 0 {
		p.line("no loops: they begin with the first connection of Serve on io_uring")
	} else {
		p.line("%s", t.Render())
	}
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// none stands for what there is no value of.
const none = "-"

func optional(v *float64) string {
	if v == nil {
		return none
	}
	return fmt.Sprintf("%.2f", *v)
}

// number prints a bound that the values may reach.
func (b *bound) number() string {
	return b.text(func(n uint64) string { return strconv.FormatUint(n, 10) })
}

// duration prints the power of two that nanoseconds stay below.
func (b *bound) duration() string {
	return b.text(func(n uint64) string { return short(time.Duration(n + 1)) })
}

func (b *bound) text(format func(uint64) string) string {
	switch {
	case b == nil:
		return none
	case *b == unbounded:
		return "more"
	}
	return format(uint64(*b))
}

// short prints three digits of d.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// size prints a number of bytes.
func size(n uint64) string {
	const step = 1 << 10
	if n < step {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, unit := float64(n)/step, 0
	for ; v >= step; unit++ {
		v /= step
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit])
}
