package page

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/ringfd/ringfd/bench"
	"github.com/ringfd/ringfd/bench/load"
)

// series are cells that differ in one thing only: the connections, or the size
// of messages.
type series struct {
	axis axis
	// what all the cells have in common, in words.
	what  string
	cells []*bench.CellReport
}

// axis is what differs along a series.
type axis struct {
	name  string
	value func(bench.Cell) float64
	label func(float64) string
	// without returns the cell without its value.
	without func(bench.Cell) bench.Cell
}

var axes = []axis{
	{
		"connections",
		func(c bench.Cell) float64 { return float64(c.Conns) },
		number,
		func(c bench.Cell) bench.Cell { c.Conns = 0; return c },
	},
	{
		"size",
		func(c bench.Cell) float64 { return float64(c.Request) },
		sizeText,
		func(c bench.Cell) bench.Cell {
			if c.Reply == c.Request {
				c.Reply = 0
			}
			c.Request = 0
			return c
		},
	},
}

// allSeries finds the series of at least two cells.
func allSeries(r *bench.Report) []series {
	var list []series
	for _, axis := range axes {
		from := len(list)
		for i := range r.Cells {
			c := &r.Cells[i]
			if len(c.Summaries) == 0 {
				continue
			}
			n := slices.IndexFunc(list[from:], func(s series) bool { return same(axis, s.cells[0].Cell, c.Cell) })
			if n < 0 {
				list = append(list, series{axis: axis, cells: []*bench.CellReport{c}})
			} else if s := &list[from+n]; !slices.ContainsFunc(s.cells, func(o *bench.CellReport) bool {
				return axis.value(o.Cell) == axis.value(c.Cell)
			}) {
				s.cells = append(s.cells, c)
			}
		}
	}
	list = slices.DeleteFunc(list, func(s series) bool { return len(s.cells) < 2 })
	for i := range list {
		s := &list[i]
		slices.SortFunc(s.cells, func(a, b *bench.CellReport) int {
			return cmp.Compare(s.axis.value(a.Cell), s.axis.value(b.Cell))
		})
		s.what = common(s.cells)
	}
	return list
}

// same reports whether two cells differ only along the axis.
func same(axis axis, a, b bench.Cell) bool {
	a, b = axis.without(a.Traffic()), axis.without(b.Traffic())
	a.Name, b.Name = "", ""
	return reflect.DeepEqual(a, b)
}

// common returns the parts that the descriptions of all cells share.
func common(cells []*bench.CellReport) string {
	parts := strings.Split(cells[0].Cell.String(), ", ")
	for _, c := range cells[1:] {
		others := strings.Split(c.Cell.String(), ", ")
		parts = slices.DeleteFunc(parts, func(part string) bool { return !slices.Contains(others, part) })
	}
	if len(parts) == 0 || !strings.HasPrefix(cells[0].Cell.String(), parts[0]) {
		parts = slices.Insert(parts, 0, string(cells[0].Cell.Workload))
	}
	return strings.Join(parts, ", ")
}

// metrics are those that are shown along the series.
func (s series) metrics() []bench.Metric {
	switch cell := s.cells[0].Cell; {
	case cell.Workload == load.Idle:
		return []bench.Metric{bench.MetricUserPerConn, bench.MetricKernelConn}
	case cell.Share > 0: // the rate was given
		return []bench.Metric{bench.MetricCPU, bench.MetricP99}
	}
	return []bench.Metric{bench.MetricCPU, bench.MetricThroughput, bench.MetricP99}
}

// plot draws a metric along the series, a line for each target with its medians,
// least and greatest rounds; nil if no target has two points.
func (s series) plot(m bench.Metric, looks map[string]look, targets []bench.Target, size vg.Length) (*plot.Plot, error) {
	p := newPlot(size)
	least, most := math.Inf(1), 0.0
	var values []float64
	for i := len(targets) - 1; i >= 0; i-- {
		points, bars := s.points(m, targets[i].Name)
		if len(points) < 2 {
			continue
		}
		look := looks[targets[i].Name]
		if err := addLine(p, look, points, points); err != nil {
			return nil, err
		}
		errorBars, err := plotter.NewYErrorBars(struct {
			plotter.XYs
			plotter.YErrors
		}{points, bars})
		if err != nil {
			return nil, err
		}
		errorBars.LineStyle.Color, errorBars.LineStyle.Width, errorBars.CapWidth = look.line.Color, 0.7, 4
		p.Add(errorBars)
		for n, point := range points {
			least, most = min(least, point.Y-bars[n].Low), max(most, point.Y+bars[n].High)
			values = append(values, point.X)
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	slices.Sort(values)
	values = slices.Compact(values)
	scaleY(p, m, least, most)
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max = values[0], values[len(values)-1]
	p.X.Tick.Marker = valueTicks(values, s.axis.label)
	p.X.Label.Text = s.axis.name
	return p, nil
}

// points returns a target's medians along the series, and how far its rounds
// are from them.
func (s series) points(m bench.Metric, target string) (points plotter.XYs, bars plotter.YErrors) {
	for _, c := range s.cells {
		if spread, ok := figure(c, target, m); ok {
			points = append(points, plotter.XY{X: s.axis.value(c.Cell), Y: spread.Median})
			bars = append(bars, struct{ Low, High float64 }{spread.Median - spread.Min, spread.Max - spread.Median})
		}
	}
	return points, bars
}

// title is of the plot of a metric.
func (s series) title(m bench.Metric) string {
	return fmt.Sprintf("%s against %s", capital(plain(m)), s.axis.name)
}

// figure returns what the rounds of a target come to, if that is known.
func figure(c *bench.CellReport, target string, m bench.Metric) (bench.Spread, bool) {
	for _, s := range c.Summaries {
		if spread, ok := s.Metrics[m]; ok && s.Target == target {
			return spread, true
		}
	}
	return bench.Spread{}, false
}
