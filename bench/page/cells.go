package page

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/ringfd/ringfd/bench"
)

// cellName leads to a cell's part of the page.
type cellName struct{ ID, Name, About string }

func nameOf(i int, c *bench.CellReport) cellName {
	return cellName{fmt.Sprintf("cell%d", i), c.Cell.Name, c.Cell.String()}
}

// cellView is a cell's part of the page.
type cellView struct {
	cellName
	Notes   []string
	Figures []figureView
	Heads   []targetView
	// Against heads the column of ratios; "" if there are none.
	Against string
	Rows    []metricRow
	Goals   []goalRow
}

// figureView is a plot with its legend.
type figureView struct {
	Title, About string
	Note         string
	Plot         template.HTML
	Legend       []targetView
}

// metricRow has a figure for each target.
type metricRow struct {
	Metric string
	Ratio  heat
	Values []value
}

// value is a median with the extremes, or nothing.
type value struct{ Median, Spread string }

// goalRow is a goal with its verdict.
type goalRow struct {
	Cell    cellName
	Goal    string
	Value   string
	Reached bool
}

// Plots are so small that their text can be read on a phone, and grow on a
// larger screen.
const (
	plotWidth, plotHeight vg.Length = 360, 240
	textSize              vg.Length = 11
)

func figureOf(p *plot.Plot, height vg.Length, title, about, note string, legend []targetView) (figureView, error) {
	// The last label of the X axis needs room to the right of it.
	drawn, err := inline(plotWidth, height, title+", "+about, func(c draw.Canvas) { drawPlot(draw.Crop(c, 0, -textSize*1.2, 0, -textSize/2), p) })
	return figureView{Title: title, About: about, Note: note, Plot: drawn, Legend: legend}, err
}

func seriesFigures(r *bench.Report, styles map[string]look, targets []targetView) ([]figureView, error) {
	var list []figureView
	for _, s := range allSeries(r) {
		for _, m := range s.metrics() {
			p, err := s.plot(m, styles, r.Targets, textSize)
			if err != nil {
				return nil, err
			}
			if p == nil {
				continue
			}
			legend := slices.DeleteFunc(slices.Clone(targets), func(t targetView) bool {
				points, _ := s.points(m, t.Name)
				return len(points) < 2
			})
			figure, err := figureOf(p, plotHeight, s.title(m), s.what, "Medians of the rounds, with the least and the greatest.", legend)
			if err != nil {
				return nil, err
			}
			list = append(list, figure)
		}
	}
	return list, nil
}

func cellViews(r *bench.Report, styles map[string]look, targets []targetView) (list []cellView, err error) {
	for i := range r.Cells {
		c := &r.Cells[i]
		v := cellView{cellName: nameOf(i, c), Notes: cellNotes(c), Goals: goalsOf(i, c)}
		v.Heads = slices.DeleteFunc(slices.Clone(targets), func(t targetView) bool { return !hasRun(c, t.Name) })
		if v.Figures, err = cellFigures(c, styles, v.Heads); err != nil {
			return nil, err
		}
		k := c.Comparison(targets[0].Name, targets[min(1, len(targets)-1)].Name)
		if k != nil {
			v.Against = k.Against
		}
		v.Rows = metricRows(c, v.Heads, k)
		list = append(list, v)
	}
	return list, nil
}

// cellFigures plots the latencies of a cell, and what its targets used.
func cellFigures(c *bench.CellReport, styles map[string]look, targets []targetView) ([]figureView, error) {
	var list []figureView
	add := func(p *plot.Plot, err error, height vg.Length, title, note string, legend []targetView) error {
		if p == nil || err != nil {
			return err
		}
		f, err := figureOf(p, height, title, c.Cell.String(), note, legend)
		list = append(list, f)
		return err
	}
	p, err := distribution(c, styles, textSize)
	legend := slices.DeleteFunc(slices.Clone(targets), func(t targetView) bool {
		h, err := merged(c, t.Name)
		return err != nil || h == nil
	})
	if err := add(p, err, plotHeight, "Latency by percentile", "All rounds together. A line ends where fewer than 10 messages were slower.", legend); err != nil {
		return nil, err
	}
	for _, m := range []bench.Metric{bench.MetricCPU, bench.MetricUserPerConn} {
		p, err := bars(c, m, targets, styles, textSize)
		height := max(140, 40+26*vg.Length(len(targets)))
		if err := add(p, err, height, capital(plain(m)), "Medians of the rounds, with the least and the greatest.", nil); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func hasRun(c *bench.CellReport, target string) bool {
	return slices.ContainsFunc(c.Summaries, func(s bench.Summary) bool { return s.Target == target })
}

func cellNotes(c *bench.CellReport) []string {
	var list []string
	if len(c.Summaries) == 0 {
		list = append(list, "No round was completed.")
	}
	if c.Rate > 0 {
		list = append(list, fmt.Sprintf("Open loop at %.0f messages per second.", c.Rate))
	}
	return list
}

// metricRows has all that was measured, and how busy server and generator were.
func metricRows(c *bench.CellReport, targets []targetView, k *bench.Comparison) []metricRow {
	var rows []metricRow
	for _, m := range bench.Metrics {
		row, some := metricRow{Metric: plain(m)}, false
		if k != nil && shown(c, m) && !negligible(c, m, k) {
			row.Ratio = heatOf(m, k)
		}
		for _, t := range targets {
			spread, ok := figure(c, t.Name, m)
			some = some || ok
			row.Values = append(row.Values, valueOf(spread, ok, func(v float64) string { return long(m, v) }))
		}
		if some {
			rows = append(rows, row)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	server, generator := metricRow{Metric: "server busy"}, metricRow{Metric: "generator busy"}
	late, others := metricRow{Metric: "generator late by"}, metricRow{Metric: "other work on the machine"}
	isLate := false
	for _, t := range targets {
		i := slices.IndexFunc(c.Summaries, func(s bench.Summary) bool { return s.Target == t.Name })
		s := c.Summaries[i]
		server.Values = append(server.Values, value{Median: percent(s.ServerBusy)})
		busy := value{Median: percent(s.LoadBusy)}
		if s.Saturated {
			busy.Spread = "saturated"
		}
		generator.Values = append(generator.Values, busy)
		late.Values = append(late.Values, value{Median: short(bench.MetricP99, float64(s.Late))})
		isLate = isLate || s.Late > 0
		others.Values = append(others.Values, valueOf(s.Others, true, percent))
	}
	rows = append(rows, server, generator, others)
	if isLate {
		rows = append(rows, late)
	}
	return rows
}

// negligible reports whether all that was counted may be the Go runtime's own
// work: the ratio of two such counts says nothing.
func negligible(c *bench.CellReport, m bench.Metric, k *bench.Comparison) bool {
	most, ok := map[bench.Metric]float64{bench.MetricAllocs: 0.05, bench.MetricAllocated: 16}[m]
	if !ok {
		return false
	}
	ours, _ := figure(c, k.Target, m)
	base, _ := figure(c, k.Against, m)
	return ours.Median < most && base.Median < most
}

func valueOf(s bench.Spread, ok bool, text func(float64) string) value {
	if !ok {
		return value{}
	}
	v := value{Median: text(s.Median)}
	if s.Min != s.Max {
		v.Spread = fromTo(text(s.Min), text(s.Max))
	}
	return v
}

// fromTo is "1.5–2.5 µs": the unit once, if it is the same.
func fromTo(least, most string) string {
	number := func(text string) string { return text[:len(text)-len(strings.TrimLeft(text, "0123456789."))] }
	if n := number(least); least[len(n):] == most[len(number(most)):] {
		return n + "–" + most
	}
	return least + " – " + most
}

func goals(r *bench.Report) []goalRow {
	var list []goalRow
	for i := range r.Cells {
		list = append(list, goalsOf(i, &r.Cells[i])...)
	}
	return list
}

func goalsOf(i int, c *bench.CellReport) []goalRow {
	var list []goalRow
	for _, v := range c.Verdicts {
		list = append(list, goalRow{Cell: nameOf(i, c), Goal: v.Goal.Text(plain(v.Goal.Metric)), Value: v.Text(), Reached: v.Reached})
	}
	return list
}
